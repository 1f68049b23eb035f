"""Read an archive by member through its predicted layout; every byte handed out was checked.

The content of a member is checked against the SHA-256 of the signed manifest. A second read of a
big member is tied to the first, frame by frame, by the running hashes kept from the first
(docs/decisions/0002): a medium that changes between the two reads is caught before the bytes of
the changed frame are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Optional, Protocol

from loader.bundle import frames
from loader.bundle.errors import FormatError, TrustError
from loader.bundle.frames import FrameDecoder
from loader.bundle.limits import FRAME
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


class BlockStream:
    """Blocks as one stream, taken in pieces of any size; whoever takes knows that there is enough."""

    def __init__(self, blocks: Iterator[memoryview]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def parts(self, size: int) -> Iterator[memoryview]:
        """Yield the next ``size`` bytes in parts, each valid until the next."""
        while size:
            if not self._rest:
                self._rest = next(self._blocks)
            part = self._rest[:size]
            self._rest = self._rest[len(part) :]
            size -= len(part)
            yield part

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        return b"".join(bytes(part) for part in self.parts(size))


def read_exact(source: ByteSource, offset: int, size: int, buffer: Optional[bytearray] = None) -> memoryview:
    """Return exactly ``size`` bytes at ``offset``, in ``buffer`` if given, or raise ``FormatError``."""
    view = memoryview(bytearray(size) if buffer is None else buffer)[:size]
    got = source.read_into(offset, view)
    if got != size:
        raise FormatError(f"{source.name} is truncated", why=f"needed {size} bytes at {offset}, found {got}")
    return view


def _part(blocks: Sequence[memoryview], start: int, stop: int) -> Iterator[memoryview]:
    """Yield what ``blocks`` have of bytes ``start`` to ``stop`` of the frame that they are."""
    for block in blocks:
        if start < len(block) and stop > 0:
            yield block[max(start, 0) : stop]
        start -= len(block)
        stop -= len(block)


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
        self._source = source
        self._decoder = decoder
        self._lock = threading.Lock()
        self._states: dict[int, list[hashlib._Hash]] = {}
        self.layout = layout
        self.expected = tuple(expected)
        self._offsets = self._place_frames()

    @property
    def size(self) -> int:
        """Length of the archive in bytes."""
        return self._source.size

    def _place_frames(self) -> list[int]:
        table_size = frames.seek_table_size(len(self.layout.frames))
        smallest = sum(frames.raw_size(f.size) for f in self.layout.frames if f.stored == "raw") + table_size
        if self._source.size < smallest:
            raise FormatError(
                f"{self._source.name} is truncated", why=f"{self._source.size} bytes; at least {smallest} are due"
            )
        table = bytes(read_exact(self._source, self._source.size - table_size, table_size))
        with naming(self._source):
            offsets = [0, *accumulate(frames.parse_seek_table(table, self.layout.frames))]
        if offsets[-1] + table_size != self._source.size:
            raise FormatError(
                f"{self._source.name} does not have the predicted length",
                why=f"{self._source.size} bytes; {offsets[-1] + table_size} are due",
            )
        return offsets

    def _buffer(self, span: Span) -> bytearray:
        """A buffer for any frame of ``span`` as it is stored."""
        return bytearray(max(self._offsets[n + 1] - self._offsets[n] for n in range(span.first, span.stop)))

    def _frame(self, index: int, buffer: bytearray) -> list[memoryview]:
        offset = self._offsets[index]
        data = read_exact(self._source, offset, self._offsets[index + 1] - offset, buffer)
        frame = self.layout.frames[index]
        with naming(self._source, f"frame {index} at byte {offset}"):
            if frame.stored == "raw":
                return frames.raw_blocks(data, frame.size)
            frames.check_zstd_frame(data, frame.size)
            return [memoryview(self._decoder.decode(data, frame.size))]

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
            data = bytes(read_exact(self._source, self._offsets[number] + where, length))
            with naming(self._source, f"frame {number}"):
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

        A block is valid until the next one is asked for. The last frame's blocks come only after the whole SHA-256
        matched; ``TrustError`` at the first wrong frame. Of a big member a part can be had once the whole was read.
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
        states = self._states.get(index)
        if states is None and (start, stop) != (0, whole):
            raise RuntimeError(f"{self.layout.members[index].path} was not read in full yet")
        first, last = start // FRAME, (stop - 1) // FRAME
        running = states[first - 1].copy() if states is not None and first else hashlib.sha256()
        seen: list[hashlib._Hash] = []
        buffer = self._buffer(span)
        for number in range(first, last + 1):
            blocks = self._frame(span.first + number, buffer)
            for block in blocks:
                running.update(block)
            if span.first + number + 1 == span.stop:
                self.check_hash(index, running)
            elif states is None:
                seen.append(running.copy())
            elif running.digest() != states[number].digest():
                raise self._changed(index, span.first + number)
            yield from _part(blocks, start - number * FRAME, stop - number * FRAME)
        if states is None:
            with self._lock:
                self._states[index] = seen

    def _changed(self, index: int, number: int) -> TrustError:
        return TrustError(
            f"{self._source.name} changed while it was read",
            why=f"frame {number} of {self.layout.members[index].path} is not what was verified",
            hint="copy the bundle to a disk you trust and start again",
        )

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
            for block in self.content(span.member):
                on_bytes(len(block))
                if stopped():
                    return
            return
        buffer = self._buffer(span)
        numbers = range(span.first, span.stop)
        stream = BlockStream(chain.from_iterable(self._glue_frame(number, buffer, on_bytes) for number in numbers))
        for index, due in self._glue_pieces(span):
            if due is None:
                running = hashlib.sha256()
                for part in stream.parts(self.layout.members[index].size):
                    running.update(part)
                self.check_hash(index, running)
            elif stream.take(len(due)) != due:
                where = self.layout.members[index].path if index < len(self.layout.members) else "the end of the tar"
                raise FormatError(f"{self._source.name}: the tar header or padding at {where} is not as predicted")

    def _glue_frame(self, number: int, buffer: bytearray, on_bytes: Callable[[int], None]) -> list[memoryview]:
        blocks = self._frame(number, buffer)
        on_bytes(self.layout.frames[number].size)
        return blocks

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
