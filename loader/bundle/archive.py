"""Read an archive by member through its predicted layout; every byte handed out was checked.

The content of a member is checked against the SHA-256 of the signed manifest. A second read of a
big member is tied to the first, piece by piece (1 MiB, or a zstd frame), by the running hashes kept
from the first (docs/decisions/0002): a medium that changes between the two reads is caught before the
bytes of the changed piece are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Optional, Protocol, Union

from loader.bundle import frames
from loader.bundle.errors import FormatError, TrustError
from loader.bundle.frames import FrameDecoder
from loader.bundle.limits import FRAME
from loader.bundle.pieces import BlockStream, Buffers, Kept, parts
from loader.bundle.tarlayout import END, Layout, Span, padding


class ByteSource(Protocol):
    """Random access to an archive: a file, or the volumes of a media set. Threads may read at once."""

    size: int
    name: str

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset`` and return how many bytes there were (fewer only at the end)."""
        ...


@contextlib.contextmanager
def naming(source: ByteSource, where: str = "") -> Iterator[None]:
    """Name the archive, and the place in it, in errors about its bytes."""
    try:
        yield
    except FormatError as error:
        if error.message.startswith(source.name):
            raise
        why = f"{where}: {error.why}" if where and error.why else where or error.why
        raise FormatError(f"{source.name}: {error.message}", why=why, hint=error.hint) from error


def read_exact(
    source: ByteSource, offset: int, size: int, buffer: Union[bytearray, memoryview, None] = None
) -> memoryview:
    """Return exactly ``size`` bytes at ``offset``, in ``buffer`` if given, or raise ``FormatError``."""
    view = memoryview(bytearray(size) if buffer is None else buffer)[:size]
    got = source.read_into(offset, view)
    if got != size:
        raise FormatError(f"{source.name} is truncated", why=f"needed {size} bytes at {offset}, found {got}")
    return view


@dataclass(frozen=True)
class Expected:
    """What the signed manifest says of a member's content."""

    sha256: str
    size: int


class Archive:
    """An archive whose head was verified; ``expected[i]`` belongs to ``layout.members[i]``.

    Raises ``FormatError`` when the seek table or the length is not the predicted one.
    """

    def __init__(self, source: ByteSource, layout: Layout, expected: Sequence[Expected], decoder: FrameDecoder) -> None:
        self.source = source
        self._decoder = decoder
        self._lock = threading.Lock()
        self._kept: dict[int, Kept] = {}
        self.layout = layout
        self.expected = tuple(expected)
        self._offsets = self._place_frames()
        self._buffers = Buffers(self._largest_read())

    @property
    def size(self) -> int:
        """Length of the archive in bytes."""
        return self.source.size

    def _place_frames(self) -> list[int]:
        table_size = frames.seek_table_size(len(self.layout.frames))
        smallest = sum(frames.raw_size(f.size) for f in self.layout.frames if f.stored == "raw") + table_size
        if self.source.size < smallest:
            raise FormatError(
                f"{self.source.name} is truncated", why=f"{self.source.size} bytes; at least {smallest} are due"
            )
        table = bytes(read_exact(self.source, self.source.size - table_size, table_size))
        with naming(self.source):
            offsets = [0, *accumulate(frames.parse_seek_table(table, self.layout.frames))]
        if offsets[-1] + table_size != self.source.size:
            raise FormatError(
                f"{self.source.name} does not have the predicted length",
                why=f"{self.source.size} bytes; {offsets[-1] + table_size} are due",
            )
        return offsets

    def _largest_read(self) -> int:
        stored = zip(self.layout.frames, self._offsets, self._offsets[1:])
        decoded = (stop - start for frame, start, stop in stored if frame.stored != "raw")
        return max(frames.raw_size(frames.PIECE), *decoded, 0)

    def _pieces(self, first: int, stop: int, buffer: memoryview) -> Iterator[list[memoryview]]:
        """Yield the content of frames ``first`` to ``stop`` in pieces, each a list of blocks valid until the next."""
        for number in range(first, stop):
            frame, offset = self.layout.frames[number], self._offsets[number]
            where = f"frame {number} at byte {offset}"
            if frame.stored == "raw":
                for start, end, at, length in frames.raw_pieces(frame.size):
                    data = read_exact(self.source, offset + at, length, buffer)
                    with naming(self.source, where):
                        blocks = frames.raw_blocks(data, frame.size, start, end)
                    yield blocks
                continue
            data = read_exact(self.source, offset, self._offsets[number + 1] - offset, buffer)
            with naming(self.source, where):
                content = self._decoded(data, frame.size)
            yield [content]

    def _decoded(self, stored: memoryview, size: int) -> memoryview:
        """The content of a zstd frame of ``size`` bytes."""
        frames.check_zstd_frame(stored, size)
        return memoryview(self._decoder.decode(stored, size))

    def read_small(self, index: int) -> bytes:
        """Return the whole content of a member that stands in glue, checked against its SHA-256."""
        member = self.layout.members[index]
        start = self.layout.content_offset(index)
        data = self._glue(start, start + member.size)
        self.check_hash(index, hashlib.sha256(data))
        return data

    def _glue(self, start: int, stop: int) -> bytes:
        parts = []
        number = self._frame_at(start)
        while start < stop:
            frame = self.layout.frames[number]
            end = min(stop, frame.offset + frame.size)
            inner = (start - frame.offset, end - frame.offset)
            where, length = frames.raw_range(frame.size, *inner)
            data = bytes(read_exact(self.source, self._offsets[number] + where, length))
            with naming(self.source, f"frame {number}"):
                parts.append(frames.strip_blocks(data, frame.size, *inner))
            start = end
            number += 1
        return b"".join(parts)

    def _frame_at(self, offset: int) -> int:
        low, high = 0, len(self.layout.frames)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.layout.frames[middle].offset <= offset else (low, middle)
        return low

    def content(self, index: int, start: int = 0, stop: Optional[int] = None) -> Iterator[memoryview]:
        """Yield the content of a member in order, or bytes ``start`` to ``stop`` of it, in blocks.

        A block is valid until the next one is asked for. The last piece's blocks come only after the whole SHA-256
        matched; ``TrustError`` at the first wrong piece. Of a big member a part can be had once the whole was read.
        """
        whole = self.layout.members[index].size
        stop = whole if stop is None else min(stop, whole)
        span = self.layout.frame_of.get(index)
        if span is None:
            data = memoryview(self.read_small(index))[start:stop]
            if data:
                yield data
            return
        if start >= stop:
            return
        if index not in self._kept and (start, stop) != (0, whole):
            raise RuntimeError(f"{self.layout.members[index].path} was not read in full yet")
        first, last = start // FRAME, (stop - 1) // FRAME
        with self._buffers.taken() as buffer:
            pieces = self._pieces(span.first + first, span.first + last + 1, buffer)
            yield from parts(self._tied(index, pieces, first), start - first * FRAME, stop - first * FRAME)

    def _tied(self, index: int, pieces: Iterator[list[memoryview]], first: int) -> Iterator[list[memoryview]]:
        """Pass ``pieces`` on from a member's frame ``first``, each once it is proven; keep what ties a later read."""
        member = self.layout.members[index]
        kept = self._kept.get(index)
        noted = kept or Kept(frames.PIECE if member.stored == "raw" else FRAME)
        running, position = noted.state(first), first * FRAME
        for blocks in pieces:
            for block in blocks:
                running.update(block)
                position += len(block)
            if position == member.size:
                self.check_hash(index, running)
            elif kept is None:
                noted.note(position, running)
            elif not kept.agrees(position, running):
                raise TrustError(
                    f"{self.source.name} changed while it was read",
                    why=f"what ends at byte {position} of {member.path} is not what was verified",
                    hint="copy the bundle to a disk you trust and start again",
                )
            yield blocks
        if kept is None:
            with self._lock:
                self._kept[index] = noted

    def check_hash(self, index: int, running: hashlib._Hash) -> None:
        """Raise ``TrustError`` naming the member unless ``running`` is its signed SHA-256."""
        if running.hexdigest() != self.expected[index].sha256:
            raise TrustError(
                f"{self.layout.members[index].path} does not match its SHA-256",
                why=f"expected {self.expected[index].sha256}, got {running.hexdigest()}",
                hint="the bundle is damaged or was changed: get another copy",
            )

    def check_span(self, span: Span, on_bytes: Callable[[int], None], stopped: Callable[[], bool]) -> None:
        """Read and check one span in full, headers and padding included, telling ``on_bytes`` of each block.

        Returns early, having proved nothing, once ``stopped()`` is true: another worker met an error.
        """
        if span.member >= 0:
            untold = 0
            for block in self.content(span.member):
                untold += len(block)
                ended = stopped()
                if ended or untold >= frames.PIECE:
                    on_bytes(untold)
                    untold = 0
                if ended:
                    return
            on_bytes(untold)
            return
        with self._buffers.taken() as buffer:
            self._check_glue(span, buffer, on_bytes)

    def _check_glue(self, span: Span, buffer: memoryview, on_bytes: Callable[[int], None]) -> None:
        pieces = self._pieces(span.first, span.stop, buffer)
        stream = BlockStream(self._told(pieces, on_bytes))
        for index, due in self._glue_pieces(span):
            if due is None:
                running = hashlib.sha256()
                for part in stream.parts(self.layout.members[index].size):
                    running.update(part)
                self.check_hash(index, running)
            elif stream.take(len(due)) != due:
                where = self.layout.members[index].path if index < len(self.layout.members) else "the end of the tar"
                raise FormatError(f"{self.source.name}: the tar header or padding at {where} is not as predicted")

    @staticmethod
    def _told(pieces: Iterator[list[memoryview]], on_bytes: Callable[[int], None]) -> Iterator[memoryview]:
        for blocks in pieces:
            on_bytes(sum(map(len, blocks)))
            yield from blocks

    def _glue_pieces(self, span: Span) -> Iterator[tuple[int, Optional[bytes]]]:
        """Yield (member, bytes due) for a run of glue; None is the content of a small member."""
        layout = self.layout
        start, last = layout.frames[span.first].offset, layout.frames[span.stop - 1]
        index = layout.member_at(start)
        if layout.starts[index] < start:
            yield index, bytes(padding(layout.members[index].size))
            index += 1
        while index < len(layout.members) and layout.starts[index] < last.offset + last.size:
            member = layout.members[index]
            yield index, layout.literal_header(index)
            if member.link_to is None and not member.is_big:
                yield index, None
                yield index, bytes(padding(member.size))
            index += 1
        if last.offset + last.size == layout.end:
            yield index, END
