"""A media set in one drive, in one pass: data discs ascending, each once; what can't be read is healed at the end."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable
from typing import Any

from loader.bundle.errors import MissingVolume
from loader.bundle.mediaset import CHUNK
from loader.bundle.verify import Complete, OnePass
from loader.media.chunkstore import Key
from loader.media.drive import Drive, NotInserted, disc_word
from loader.media.drivesource import DriveSource
from loader.media.healing import MAX_HEALED, Healing, told
from loader.units import counted

Take = Callable[[int], None]


class OneDrive:
    """The pass over a bundle that passed steps 1 to 5; ``one`` knows which spans are still to be checked."""

    def __init__(self, drive: Drive, source: DriveSource, one: OnePass) -> None:
        self.drive = drive
        self.one = one
        self._source = source
        self._healing = Healing(drive, source.store, source.damage)

    def begin(self) -> None:
        """Keep no more of what is read from now on."""
        self._source.keeping = False

    def run(self, numbers: Iterable[int], take: Take) -> None:
        """Have ``take`` read each span of ``numbers``, ascending, and those with bad chunks again when they are healed.

        Raises ``MissingVolume`` when nobody inserts what is needed, or parity can't replace what is lost.
        """
        waiting = [number for number in numbers if not self._try(number, take)]
        while waiting:
            group = self._group(waiting)
            waiting = waiting[len(group) :]
            self._heal(group, take)

    def complete(self, waived: Collection[int] = ()) -> Complete:
        """The proof, when every span was read but those of which nothing is used."""
        return self.one.complete(waived)

    def parts(self, number: int) -> tuple[int, ...]:
        """Bytes of a span's content by disc: a new part begins with the first frame that ends on another one.

        Nothing when it stands on one disc. A frame of which that is not sure is a part of its own.
        """
        stops, found = self._source.boundaries(), list(self.one.frames(number))
        before = first = bisect_right(stops, self.one.start(number))
        frames = [(min(bisect_left(stops, end), len(stops) - 1), size, sure) for end, size, sure in found]
        if all(disc == first for disc, _, _ in frames):
            return ()
        parts: list[int] = []
        for disc, size, sure in frames:
            if not parts or disc != before or not sure:
                parts.append(0)
            before = disc
            parts[-1] += size
        return tuple(parts)

    def document(self) -> dict[str, Any]:
        """What a verdict says of the discs: what could not be read of each was made from parity."""
        media, damage = self.drive.media, self._source.damage
        volumes = [
            {
                "badChunks": sorted(damage.get(volume.name, {})),
                "chunks": volume.chunks,
                "fromParity": len(damage.get(volume.name, {})),
                "here": True,
                "name": volume.name,
            }
            for volume in media.volumes
        ]
        return {
            "healable": True if any(damage.values()) else None,
            "media": {"discs": volumes, "notes": [], "setId": media.set_id},
        }

    def _try(self, number: int, take: Take) -> bool:
        try:
            take(number)
        except NotInserted:
            raise
        except MissingVolume:
            rebuilt = len(self._source.store.chunks)
            start, stop = self._range(number)
            bad = self._bad(start, stop)
            if not bad and len(self._source.store.chunks) > rebuilt:
                return self._try(number, take)  # what hid the table was in here as well
            if not bad:
                raise
            # What comes before was read; what follows may be bad as well, and is asked for once, for all of it.
            for _ in self._source.scan(self._source.offset(bad[0]), stop):
                pass
            return False
        return True

    def _range(self, number: int) -> tuple[int, int]:
        """Where a span begins and ends; a frame that can't be read may hide where the next one begins."""
        if number == self.one.end:
            return self.one.start(number), self._source.size
        if not all(sure for _, _, sure in self.one.frames(number)):
            self._consult_table()
        return self.one.start(number), self.one.start(number + 1)

    def _consult_table(self) -> None:
        try:
            self.one.consult_table()
        except NotInserted:
            raise
        except MissingVolume:
            # The table stands at the end: what is known to be bad last is what hides it.
            bad = self._bad(0, self._source.size)[-MAX_HEALED:]
            if not bad:
                raise
            self._healing.heal(bad)
            self._consult_table()

    def _bad(self, start: int, stop: int) -> list[Key]:
        """The bad chunks in a range of the archive that were not rebuilt yet."""
        found = []
        for volume, offset in self._source.places():
            for chunk in self._source.damage.get(volume, {}):
                begins = offset + chunk * CHUNK
                if begins < stop and start < begins + CHUNK and self._source.store.get(volume, chunk) is None:
                    found.append((volume, chunk))
        return found

    def _group(self, waiting: list[int]) -> list[int]:
        """As many of the waiting spans as can be healed in one go: each disc is asked for once for all of them."""
        group: list[int] = []
        keys: set[Key] = set()
        for number in waiting:
            more = {*keys, *self._bad(*self._range(number))}
            if group and len(more) > MAX_HEALED:
                break
            keys = more
            group.append(number)
        if len(keys) > MAX_HEALED:
            counts: dict[str, int] = {}
            for name, _ in keys:
                counts[name] = counts.get(name, 0) + 1
            raise MissingVolume(
                f"too much to heal in memory: {told(counts)}",
                why=f"at most {MAX_HEALED} MiB are rebuilt without copying the discs",
                hint="run the same command with --stage DIR: the discs are copied, and parity may stand in for any",
            )
        return group

    def _heal(self, group: list[int], take: Take) -> None:
        keys = {key for number in group for key in self._bad(*self._range(number))}
        self._healing.heal(keys)
        words = ", ".join(disc_word(name) for name in sorted({name for name, _ in keys}))
        self.drive.say(
            "media", f"healed: {counted(len(keys), 'chunk')} of disc {words}; the blobs around them come next"
        )
        for number in group:
            take(number)
        for key in keys:
            del self._source.store.chunks[key]


def heal_head(drive: Drive, source: DriveSource) -> bool:
    """Rebuild what can't be read of the archive's head, before anything is known of it; False with nothing to do."""
    keys = {(name, chunk) for name, found in source.damage.items() for chunk in found}
    keys -= source.store.chunks.keys()
    if not keys:
        return False
    Healing(drive, source.store, source.damage).heal(keys)
    return True
