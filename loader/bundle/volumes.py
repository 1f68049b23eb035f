"""An archive's bytes in the volumes of a media set, read at any offset by any thread.

A chunk is used only after its hash in the signed index matched. A read error and a wrong hash
are the same: a known erasure, healed from parity where enough of the stripe is left.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Optional, Union

from loader.bundle import mediaset, parity
from loader.bundle.archive import ByteSource
from loader.bundle.discs import Disc, DiscSet
from loader.bundle.errors import BundleError, MissingVolume, StorageError, TrustError
from loader.bundle.mediaset import CHUNK, HASH, MediaSet, Volume
from loader.bundle.pieces import Buffers

MISSING = "missing"
Buffer = Union[bytes, bytearray]
_CACHED = 16  # chunks: two readers each keep what overlaps their next frame of 4 MiB


class VolumeReader:
    """One volume, from every disc that carries it; ``first`` is the number of its first chunk in the index."""

    def __init__(self, volume: Volume, copies: tuple[Disc, ...], index: memoryview) -> None:
        self.volume = volume
        self.copies = copies
        self.damage: dict[int, str] = {}
        self.proven: Collection[int] = ()  # chunks of the first copy whose hash matched before
        self._index = index
        self._starts = list(accumulate((segment.size for segment in volume.segments), initial=0))
        self._open: dict[tuple[int, int], ByteSource] = {}
        self._lock = threading.Lock()

    def size_of(self, chunk: int) -> int:
        """Bytes of a chunk: the last one may be short, and beyond it there is none."""
        return max(0, min(CHUNK, self.volume.size - chunk * CHUNK))

    def segment_of(self, chunk: int) -> str:
        """Name of the segment that a chunk stands in."""
        return self.volume.segments[bisect_right(self._starts, chunk * CHUNK) - 1].name

    def is_right(self, chunk: int, data: memoryview | bytes) -> bool:
        """Whether ``data`` is the chunk of the signed index."""
        return hashlib.sha256(data).digest() == self._index[chunk * HASH : (chunk + 1) * HASH]

    def read(self, chunk: int, view: memoryview) -> bool:
        """Fill ``view`` with a chunk whose hash matched, or say False and keep the reason in ``damage``."""
        why = MISSING
        for number in range(len(self.copies)):
            why = self._read_copy(number, chunk, view)
            if not why:
                return True
        if self.copies:
            self.damage[chunk] = why
        return False

    def read_unchecked(self, chunk: int, skip: int, view: memoryview) -> bool:
        """Fill ``view`` from ``skip`` bytes into a chunk, from the first disc that has it; False where that failed."""
        return bool(self.copies) and not self._take(0, chunk, skip, view)

    def _read_copy(self, number: int, chunk: int, view: memoryview) -> str:
        why = self._take(number, chunk, 0, view)
        if why or (number == 0 and chunk in self.proven):
            return why
        return "" if self.is_right(chunk, view) else "wrong hash"

    def _take(self, number: int, chunk: int, skip: int, view: memoryview) -> str:
        """Fill ``view``; return why not, in the words that ``damage`` keeps."""
        segment = bisect_right(self._starts, chunk * CHUNK) - 1
        try:
            got = self._source(number, segment).read_into(chunk * CHUNK + skip - self._starts[segment], view)
        except (BundleError, StorageError) as error:
            return error.why or error.message
        return "" if got == len(view) else "cut off"

    def _source(self, number: int, segment: int) -> ByteSource:
        with self._lock:
            source = self._open.get((number, segment))
            if source is None:
                source = self.copies[number].open(self.volume.segments[segment].name)
                self._open[number, segment] = source
            return source


class MediaSource:
    """The archive out of its volumes. Raises ``MissingVolume`` where a byte is neither readable nor healable."""

    def __init__(self, discs: DiscSet) -> None:
        media = discs.media
        self.media: MediaSet = media
        self.name = media.archive.name
        self.size = media.archive.size
        self.notes = discs.notes
        first = media.first_chunks
        index = memoryview(discs.index)
        self.volumes = [
            VolumeReader(volume, discs.copies.get(volume.name, ()), index[start * HASH : stop * HASH])
            for volume, start, stop in zip(media.volumes, first, first[1:])
        ]
        self.data, self.parity = self.volumes[: media.k], self.volumes[media.k :]
        self.healed: dict[str, set[int]] = {}
        self._starts = list(accumulate((reader.volume.size for reader in self.data), initial=0))
        self._cache: OrderedDict[tuple[int, int], Buffer] = OrderedDict()
        self._lock = threading.Lock()
        self._healing = threading.Lock()
        self._buffers = Buffers(CHUNK)
        self._proven_later = False
        self._doubted: set[tuple[int, int]] = set()

    @contextlib.contextmanager
    def proven_by_content(self) -> Iterator[None]:
        """Hand bytes out unchecked while the block lasts: to a reader who proves them all, and doubts them if not so.

        The hash of a file proves its bytes as well as those of the chunks that it stands in do, and costs as much.
        """
        self._proven_later = True
        try:
            yield
        finally:
            self._proven_later = False

    def doubt(self, offset: int, size: int) -> bool:
        """Check from now on the chunks of ``size`` bytes at ``offset``; False if they were checked all along."""
        for number, start in enumerate(self._starts[:-1]):
            first, last = max(offset - start, 0), min(offset + size - start, self.data[number].volume.size)
            self._doubted.update((number, chunk) for chunk in range(first // CHUNK, -(-last // CHUNK)))
        return self._proven_later

    def start(self, number: int) -> int:
        """Where a data disc begins in the archive."""
        return self._starts[number]

    def require_enough(self) -> None:
        """Raise ``MissingVolume`` when more discs are missing than parity discs are here to stand in."""
        gone = [reader for reader in self.data if not reader.copies]
        here = [reader for reader in self.parity if reader.copies]
        if len(gone) > len(here):
            names = ", ".join(reader.volume.name for reader in gone)
            more = len(gone) - len(here)
            raise MissingVolume(
                f"disc {names} of {self.media.name} is not here",
                why=f"{len(gone)} missing, {len(here)} parity here to stand in{self._noted()}",
                hint=f"insert or name {more} more of: {self._absent()}",
            )

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset`` with bytes whose chunks were checked; fewer only at the end."""
        length = max(0, min(len(view), self.size - offset))
        done = 0
        while done < length:
            number = bisect_right(self._starts, offset + done) - 1
            inside = offset + done - self._starts[number]
            chunk, skip = divmod(inside, CHUNK)
            part = min(self.data[number].size_of(chunk) - skip, length - done)
            target = view[done : done + part]
            if not self._read_through(number, chunk, skip, target):
                target[:] = memoryview(self._chunk(number, chunk))[skip : skip + part]
            done += part
        return length

    def _read_through(self, number: int, chunk: int, skip: int, target: memoryview) -> bool:
        """Read a whole chunk into its place, unless it was healed before; a part of one too if it is proven later."""
        reader = self.data[number]
        if chunk in reader.damage:
            return False
        if self._proven_later and (number, chunk) not in self._doubted:
            return reader.read_unchecked(chunk, skip, target)
        return len(target) == reader.size_of(chunk) and reader.read(chunk, target)

    def _chunk(self, number: int, chunk: int) -> Buffer:
        """A whole chunk, from the cache where an earlier read left it."""
        with self._lock:
            found = self._cache.get((number, chunk))
            if found is not None:
                self._cache.move_to_end((number, chunk))
                return found
        data = bytearray(self.data[number].size_of(chunk))
        if self._fill(self.data[number], chunk, memoryview(data)):
            self._keep({(number, chunk): data})
            return data
        with self._healing:
            healed = self._heal(number, chunk)
        self._keep(healed)
        return healed[number, chunk]

    def _keep(self, chunks: Mapping[tuple[int, int], Buffer]) -> None:
        with self._lock:
            self._cache.update(chunks)
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)

    def _heal(self, wanted: int, chunk: int) -> dict[tuple[int, int], Buffer]:
        """Rebuild every lost chunk of a stripe from parity, each checked against the signed index."""
        with contextlib.ExitStack() as stack:
            data, rows = self._stripe(chunk, stack)
            lost = [number for number, part in enumerate(data) if part is None]
            if len(rows) < len(lost):
                raise self._beyond(wanted, chunk)
            rebuilt = parity.rebuild(data, rows, {number: self.data[number].size_of(chunk) for number in lost})
        found: dict[tuple[int, int], Buffer] = {}
        for number, part in rebuilt.items():
            reader = self.data[number]
            if not reader.is_right(chunk, part):
                raise TrustError(
                    f"chunk {chunk} of {reader.volume.name} rebuilt from parity does not match its hash",
                    why="every chunk it was made of matched: the set was written with wrong parity",
                    hint=f"a readable copy of disc {reader.volume.name} is needed",
                )
            # A chunk that is read again is rebuilt again, and is one all the same.
            self.healed.setdefault(reader.volume.name, set()).add(chunk)
            found[number, chunk] = part
        return found

    def _stripe(
        self, chunk: int, stack: contextlib.ExitStack
    ) -> tuple[list[Optional[memoryview]], dict[int, memoryview]]:
        """The data chunks of a stripe and as many parity chunks by row as are lost, in buffers that ``stack`` keeps."""

        def part(reader: VolumeReader) -> Optional[memoryview]:
            view = stack.enter_context(self._buffers.taken())[: reader.size_of(chunk)]
            return view if self._fill(reader, chunk, view) else None

        data = [part(reader) for reader in self.data]
        rows: dict[int, memoryview] = {}
        for row, reader in enumerate(self.parity):
            if len(rows) == data.count(None):
                break
            found = part(reader)
            if found is not None:
                rows[row] = found
        return data, rows

    @staticmethod
    def _fill(reader: VolumeReader, chunk: int, view: memoryview) -> bool:
        """Fill ``view`` with a checked chunk; it is empty beyond the volume's end (zeros to the code)."""
        return not view or (chunk not in reader.damage and reader.read(chunk, view))

    def survey(self, readers: Sequence[VolumeReader], on_bytes: Callable[[int], None]) -> None:
        """Read every chunk of ``readers``, as far as they are at hand, so that their ``damage`` is known in full."""
        buffer = memoryview(bytearray(CHUNK))
        for reader in readers:
            for chunk in range(reader.volume.chunks if reader.copies else 0):
                size = reader.size_of(chunk)
                reader.read(chunk, buffer[:size])
                on_bytes(size)

    def tell_all(self) -> None:
        """Read every disc at hand and raise one ``MissingVolume`` with all that is lost, if it is too much."""
        self.survey(self.volumes, _ignore)
        self.require_healable()

    def require_healable(self) -> None:
        """Raise ``MissingVolume`` with all that is lost, disc by disc, when any stripe has more than parity replaces.

        What was not read counts as good: call ``survey`` before.
        """
        struck = {chunk for reader in self.volumes for chunk in reader.damage}
        beyond = [chunk for chunk in sorted(struck) if len(self._lost(chunk)) > self.media.m]
        if not beyond:
            return
        worst = max(len(self._lost(chunk)) for chunk in beyond) - self.media.m
        counts = "; ".join(
            f"disc {reader.volume.name}: {len(reader.damage)} of {reader.volume.chunks} chunks unreadable"
            if reader.copies
            else f"disc {reader.volume.name}: not here"
            for reader in self.volumes
            if reader.damage or not reader.copies
        )
        absent = self._absent()
        damaged = ", ".join(reader.volume.name for reader in self.data if reader.damage)
        raise MissingVolume(
            f"{self.media.name} can't be read in full: {len(beyond)} stripes are beyond repair with the discs here",
            why=f"{counts}{self._noted()}",
            hint=f"insert or name {worst} more of: {absent}" if absent else f"get another copy of disc {damaged}",
        )

    def _lost(self, chunk: int) -> list[tuple[str, str]]:
        """(disc, why) of each chunk of a stripe that can't be read."""
        return [
            (reader.volume.name, reader.damage.get(chunk, MISSING))
            for reader in self.volumes
            if reader.size_of(chunk) and (not reader.copies or chunk in reader.damage)
        ]

    def _beyond(self, number: int, chunk: int) -> MissingVolume:
        reader = self.data[number]
        name = reader.volume.name
        what = f"chunk {chunk} of disc {name} ({reader.segment_of(chunk)}) can't be read"
        lost = ", ".join(f"{disc} {why}" for disc, why in self._lost(chunk))
        count = len(self._lost(chunk)) - self.media.m
        absent = self._absent()
        return MissingVolume(
            what if reader.copies else f"disc {name} of {self.media.name} is not here",
            why=f"{self.media.m} parity can't replace, in this stripe: {lost}{self._noted()}",
            hint=f"insert or name {count} more of: {absent}" if absent else f"get another copy of disc {name}",
        )

    def _absent(self) -> str:
        return ", ".join(
            f"{reader.volume.name} ({mediaset.label(self.media.bundle, reader.volume.name)})"
            for reader in self.volumes
            if not reader.copies
        )

    def _noted(self) -> str:
        return f"; {'; '.join(self.notes)}" if self.notes else ""


def _ignore(_: int) -> None:
    return
