"""Bad chunks made again from the set's other discs, each inserted once more, in any order; no other chunk is read.

Parity is a sum, so each disc's share is added as the disc comes: memory is one chunk for each one that is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from loader.bundle import parity
from loader.bundle.errors import MissingVolume, TrustError
from loader.bundle.mediaset import CHUNK, MediaSet, label
from loader.bundle.volumes import MediaSource, VolumeReader
from loader.media.chunkstore import ChunkStore, Key
from loader.media.drive import Drive, disc_word, insert_line
from loader.units import counted

MAX_HEALED = 64
"""Chunks that are rebuilt at a time: they stay in memory, 1 MiB each."""

Damage = dict[str, dict[int, str]]


@dataclass(frozen=True)
class _Stripe:
    """The columns of the data discs that are lost in a stripe, and the rows of the parity discs that stand in."""

    lost: tuple[int, ...]
    rows: tuple[int, ...]


class Healing:
    """Rebuilds chunks into ``store``; further bad chunks that it meets are added to ``damage``."""

    def __init__(self, drive: Drive, store: ChunkStore, damage: Damage) -> None:
        self._drive = drive
        self._store = store
        self._damage = damage
        self._media: MediaSet = drive.media
        self._sums: dict[tuple[int, int], int] = {}

    def heal(self, wanted: Collection[Key]) -> None:
        """Ask for the discs it takes until each chunk of ``wanted``, at most ``MAX_HEALED``, is in the store.

        Raises ``MissingVolume`` when parity can't replace them, ``TrustError`` when the set's parity is wrong.
        """
        while True:
            stripes = self._stripes([key for key in wanted if key not in self._store.chunks])
            if not stripes:
                return
            needed = self._needed(stripes)
            self._drive.say("media", plea(stripes_lost(stripes, self._media), needed))
            self._sums = {(chunk, row): 0 for chunk, stripe in stripes.items() for row in stripe.rows}
            if self._collect(needed, stripes):
                self._finish(stripes)

    def _stripes(self, keys: Collection[Key]) -> dict[int, _Stripe]:
        """Every stripe that ``keys`` are in, with all that is known to be lost of it."""
        columns = [volume.name for volume in self._media.volumes[: self._media.k]]
        rows = [volume.name for volume in self._media.volumes[self._media.k :]]
        stripes = {}
        for chunk in sorted({chunk for _, chunk in keys}):
            lost = tuple(
                column
                for column, name in enumerate(columns)
                if (name, chunk) in keys or chunk in self._damage.get(name, {})
            )
            whole = [row for row, name in enumerate(rows) if chunk not in self._damage.get(name, {})]
            stripes[chunk] = _Stripe(lost, tuple(whole[: len(lost)]))
        self._require_healable(stripes)
        return stripes

    def _require_healable(self, stripes: Mapping[int, _Stripe]) -> None:
        beyond = {chunk: stripe for chunk, stripe in stripes.items() if len(stripe.rows) < len(stripe.lost)}
        if not beyond:
            return
        counts = stripes_lost(beyond, self._media)
        why = f"the set has {counted(self._media.m, 'parity disc')}" if self._media.m else "the set has no parity discs"
        worst = max(len(stripe.lost) for stripe in beyond.values())
        copies = ", ".join(f"{disc_word(name)} ({label(self._media.bundle, name)})" for name in counts)
        raise MissingVolume(
            f"{self._media.name} can't be read in full: {told(counts)}",
            why=f"{why}, and of one stripe {counted(worst, 'chunk')} can't be read",
            hint=f"get another copy of disc {copies}; the same command then reads what is missing",
        )

    def _needed(self, stripes: Mapping[int, _Stripe]) -> dict[str, list[int]]:
        """Disc -> the chunks of it that go into the sums."""
        needed: dict[str, list[int]] = {}
        volumes, k = self._media.volumes, self._media.k
        for chunk, stripe in stripes.items():
            for column, volume in enumerate(volumes[:k]):
                if column not in stripe.lost and chunk < volume.chunks:
                    needed.setdefault(volume.name, []).append(chunk)
            for row in stripe.rows:
                needed.setdefault(volumes[k + row].name, []).append(chunk)
        return needed

    def _collect(self, needed: Mapping[str, list[int]], stripes: Mapping[int, _Stripe]) -> bool:
        """Add up what each disc has; False when one of them turned out to be bad in one of these stripes too."""
        left = dict(needed)
        clean = True
        while left:
            names = in_words_order(left)
            self._drive.fetch(names, insert_line(self._media, names[0], names[1:]))
            readers = {reader.volume.name: reader for reader in MediaSource(self._drive.discs).volumes}
            for name in [name for name in names if name in self._drive.here]:
                rest = self._add(readers[name], left.pop(name), stripes)
                clean = clean and not readers[name].damage
                if rest:
                    left[name] = rest
                    self._drive.change(names, f"{insert_line(self._media, name)} again: it was taken out")
                    break
        return clean

    def _add(self, reader: VolumeReader, chunks: list[int], stripes: Mapping[int, _Stripe]) -> list[int]:
        """Add a disc's share to the sums; return what is left to read when the disc was taken out."""
        name = reader.volume.name
        column = [volume.name for volume in self._media.volumes].index(name)
        for position, chunk in enumerate(chunks):
            data = bytearray(reader.size_of(chunk))
            if not reader.read(chunk, memoryview(data)):
                if self._drive.is_gone():
                    reader.damage.clear()
                    return chunks[position:]
                self._damage.setdefault(name, {}).update(reader.damage)
                continue
            for row in stripes[chunk].rows:
                if column < self._media.k:
                    self._sums[chunk, row] ^= parity.share(row, column, data)
                elif column == self._media.k + row:
                    self._sums[chunk, row] ^= int.from_bytes(data, "little")
        return []

    def _finish(self, stripes: Mapping[int, _Stripe]) -> None:
        readers = MediaSource(self._drive.discs).data
        for chunk, stripe in stripes.items():
            rows = {row: self._sums.pop((chunk, row)).to_bytes(CHUNK, "little") for row in stripe.rows}
            data = [None if column in stripe.lost else b"" for column in range(self._media.k)]
            sizes = {column: readers[column].size_of(chunk) for column in stripe.lost}
            for column, part in parity.rebuild(data, rows, sizes).items():
                name = self._media.volumes[column].name
                if not readers[column].is_right(chunk, part):
                    raise TrustError(
                        f"chunk {chunk} of {name} rebuilt from parity does not match its hash",
                        why="every chunk it was made of matched: the set was written with wrong parity",
                        hint=f"a readable copy of disc {disc_word(name)} is needed",
                    )
                self._store.chunks[name, chunk] = part


def in_words_order(names: Collection[str]) -> list[str]:
    """Parity discs first, as people are asked for them."""
    return sorted(names, key=lambda name: (name[0] == "v", name))


def stripes_lost(stripes: Mapping[int, _Stripe], media: MediaSet) -> dict[str, int]:
    """How many chunks of each data disc are lost in ``stripes``."""
    counts: dict[str, int] = {}
    for stripe in stripes.values():
        for column in stripe.lost:
            name = media.volumes[column].name
            counts[name] = counts.get(name, 0) + 1
    return counts


def plea(counts: Mapping[str, int], needed: Mapping[str, Sequence[int]]) -> str:
    """``disc 3: 14 chunks unreadable; to heal insert P1, 1, 2, 4, 5 once more, any order (14 MiB each)``."""
    most = max(len(chunks) for chunks in needed.values())
    words = ", ".join(map(disc_word, in_words_order(needed)))
    return f"{told(counts)}; to heal insert {words} once more, any order ({most} MiB each)"


def told(counts: Mapping[str, int]) -> str:
    """``disc 3: 14 chunks unreadable; disc 5: 1 chunk unreadable``."""
    return "; ".join(f"disc {disc_word(name)}: {counted(count, 'chunk')} unreadable" for name, count in counts.items())
