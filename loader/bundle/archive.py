"""Read an archive by member through its predicted layout; every byte handed out was checked.

The content of a member is checked against the SHA-256 of the signed manifest. A second read of a
big member is tied to the first, piece by piece (1 MiB, or a zstd frame), by secret tags kept from the
first (docs/decisions/0022): a medium that changes between the two reads is caught before the bytes of
the changed piece are used.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Optional, Protocol, Union

from loader.bundle import frames
from loader.bundle.errors import BundleError, FormatError, TrustError
from loader.bundle.frames import FrameDecoder
from loader.bundle.limits import FRAME
from loader.bundle.pieces import BlockStream, Buffers, Kept, RunningDigests, Tags, Tie, parts
from loader.bundle.tarlayout import END, Layout, Span, padding

Counting = Callable[[int], None]
# (offset, size) in the archive -> whether those bytes can be read in a better way than they were.
Doubt = Callable[[int, int], bool]


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


class Archive:
    """An archive whose head was verified; ``expected[i]`` is the SHA-256 of ``layout.members[i]``.

    Raises ``FormatError`` when the seek table or the length is not the predicted one. With ``told`` nothing is read
    of the end before :meth:`check_end`: a medium in one drive is read from its beginning. It has the stored sizes of
    ``zstd`` frames that are known already; the others are found as they are read, and added to it.
    """

    def __init__(
        self,
        source: ByteSource,
        layout: Layout,
        expected: Sequence[str],
        decoder: FrameDecoder,
        *,
        told: Optional[dict[int, int]] = None,
        tie: Optional[Tie] = None,
    ) -> None:
        self.source = source
        self._decoder = decoder
        self._tie = tie
        self._lock = threading.Lock()
        self._kept: dict[int, Kept] = {}
        self.layout = layout
        self.expected = tuple(expected)
        self.told = {} if told is None else told
        self._offsets = self._place_frames() if told is None else [0]
        self._buffers = Buffers(self._largest_read())
        self._rooms = Buffers(FRAME)

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
        unplaced = any(frame.stored != "raw" for frame in self.layout.frames[len(self._offsets) - 1 :])
        return max(frames.raw_size(frames.PIECE), *decoded, frames.MAX_ZSTD_FRAME if unplaced else 0)

    def offset(self, index: int) -> int:
        """Where frame ``index`` begins; one past the last is where the frames end."""
        while len(self._offsets) <= index:
            if not self._step():
                with self._buffers.taken() as buffer:
                    self._walk(len(self._offsets) - 1, buffer)
        return self._offsets[index]

    def ends(self, span: Span) -> Iterator[tuple[int, int, bool]]:
        """Yield (where it ends, bytes of content, True) of each piece; at the latest, and False, where that is open."""
        end = self.offset(span.first)
        for index in range(span.first, span.stop):
            frame, start = self.layout.frames[index], end
            known = index + 1 < len(self._offsets) or (index + 1 == len(self._offsets) and self._step())
            end = self._offsets[index + 1] if known else start + frames.most_stored(frame)
            if frame.stored == "raw":
                for first, stop, at, length in frames.raw_pieces(frame.size):
                    yield start + at + length, stop - first, known
            else:
                yield end, frame.size, known

    def _step(self) -> bool:
        """Place the end of the last frame that has a place, if its length is known without reading it."""
        number = len(self._offsets) - 1
        frame = self.layout.frames[number]
        size = frames.raw_size(frame.size) if frame.stored == "raw" else self.told.get(number, 0)
        if frames.is_possible(frame, size):
            self._offsets.append(self._offsets[-1] + size)
            return True
        return False

    def _walk(self, number: int, buffer: memoryview) -> memoryview:
        """Read the last frame that has a place, forward only: its own blocks say where it ends."""
        start = self._offsets[number]

        def fill(first: int, stop: int) -> None:
            if self.source.read_into(start + first, buffer[first:stop]) != stop - first:
                raise FormatError(f"{self.source.name} is truncated", why=f"in frame {number} at byte {start}")

        with naming(self.source, f"frame {number} at byte {start}"):
            size = frames.walk_zstd_frame(buffer, self.layout.frames[number].size, fill)
        self.told[number] = size
        self._offsets.append(start + size)
        return buffer[:size]

    def consult_table(self) -> None:
        """Take the places of all frames from the seek table: one that can't be read hides where the next begins."""
        self._offsets = self._place_frames()

    def check_end(self) -> None:
        """Require that the seek table says of every frame what was found, and that nothing follows."""
        self.offset(len(self.layout.frames))
        if self._offsets != self._place_frames():
            raise FormatError(f"{self.source.name} has another seek table than its frames", why="their lengths differ")

    def _stored(self, index: int, buffer: memoryview) -> memoryview:
        """A zstd frame as it is stored, in ``buffer``."""
        offset = self.offset(index)
        if index + 1 < len(self._offsets) or self._step():
            return read_exact(self.source, offset, self._offsets[index + 1] - offset, buffer)
        return self._walk(index, buffer)

    def _pieces(self, first: int, stop: int, buffer: memoryview) -> Iterator[list[memoryview]]:
        """Yield the content of frames ``first`` to ``stop`` in pieces, each a list of blocks valid until the next."""
        for number in range(first, stop):
            frame, offset = self.layout.frames[number], self.offset(number)
            where = f"frame {number} at byte {offset}"
            if frame.stored == "raw":
                for start, end, at, length in frames.raw_pieces(frame.size):
                    data = read_exact(self.source, offset + at, length, buffer)
                    with naming(self.source, where):
                        blocks = frames.raw_blocks(data, frame.size, start, end)
                    yield blocks
                continue
            data = self._stored(number, buffer)
            with self._rooms.taken() as room:
                with naming(self.source, where):
                    content = self._decoded(data, room[: frame.size])
                yield [content]

    def _decoded(self, stored: memoryview, room: memoryview) -> memoryview:
        """The content of a zstd frame that is as long as ``room``."""
        frames.check_zstd_frame(stored, len(room))
        return self._decoder.decode(stored, room)

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
            data = bytes(read_exact(self.source, self.offset(number) + where, length))
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
            proven = self._again(index, pieces, first) if index in self._kept else self._hashed(index, pieces)
            yield from parts(proven, start - first * FRAME, stop - first * FRAME)

    def _hashed(self, index: int, pieces: Iterator[list[memoryview]]) -> Iterator[list[memoryview]]:
        """Pass the ``pieces`` of a member on, the last once all have its SHA-256; keep what ties a later reading."""
        member = self.layout.members[index]
        step = frames.PIECE if member.stored == "raw" else FRAME
        kept = RunningDigests(step) if self._tie is None else Tags(self._tie, index, step)
        running, position = hashlib.sha256(), 0
        for blocks in pieces:
            for block in blocks:
                running.update(block)
                position += len(block)
            kept.note(position, blocks, running)
            if position == member.size:
                self.check_hash(index, running)
            yield blocks
        with self._lock:
            self._kept[index] = kept

    def _again(self, index: int, pieces: Iterator[list[memoryview]], first: int) -> Iterator[list[memoryview]]:
        """Pass the ``pieces`` of a member on, from frame ``first``, each once it is proven what it was before."""
        is_same, position = self._kept[index].again(first), first * FRAME
        for blocks in pieces:
            position += sum(map(len, blocks))
            if not is_same(position, blocks):
                raise TrustError(
                    f"{self.source.name} changed while it was read",
                    why=f"what ends at byte {position} of {self.layout.members[index].path} is not what was verified",
                    hint="copy the bundle to a disk you trust and start again",
                )
            yield blocks

    def check_hash(self, index: int, running: hashlib._Hash) -> None:
        """Raise ``TrustError`` naming the member unless ``running`` is its signed SHA-256."""
        if running.hexdigest() != self.expected[index]:
            raise TrustError(
                f"{self.layout.members[index].path} does not match its SHA-256",
                why=f"expected {self.expected[index]}, got {running.hexdigest()}",
                hint="the bundle is damaged or was changed: get another copy",
            )

    def prove_span(
        self, span: Span, on_bytes: Callable[[int], None], stopped: Callable[[], bool], doubt: Optional[Doubt]
    ) -> None:
        """Do as ``check_span``, and once more if ``doubt``, told where it was wrong, says that can be read better."""
        start, stop = self.offset(span.first), self.offset(span.stop)
        # The same content can be written in many ways in zstd frames: it proves itself, not every bit of them.
        doubted = doubt is not None and self._is_zstd(span) and doubt(start, stop - start)
        try:
            self.check_span(span, on_bytes, stopped)
        except BundleError:
            if doubted or doubt is None or not doubt(start, stop - start):
                raise
            self.check_span(span, _untold, stopped)

    def _is_zstd(self, span: Span) -> bool:
        return span.member >= 0 and self.layout.members[span.member].stored == "zstd"

    def check_span(
        self,
        span: Span,
        on_bytes: Callable[[int], None],
        stopped: Callable[[], bool],
        on_small: Optional[Callable[[int, bytes], None]] = None,
    ) -> None:
        """Read and check one span in full, headers and padding included, telling ``on_bytes`` of each block.

        ``on_small`` gets (member, content) of each small one once its hash matched.
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
            self._check_glue(span, buffer, on_bytes, on_small)

    def _check_glue(
        self,
        span: Span,
        buffer: memoryview,
        on_bytes: Callable[[int], None],
        on_small: Optional[Callable[[int, bytes], None]],
    ) -> None:
        pieces = self._pieces(span.first, span.stop, buffer)
        stream = BlockStream(self._told(pieces, on_bytes))
        for index, due in self._glue_pieces(span):
            if due is None:
                content = stream.take(self.layout.members[index].size)
                self.check_hash(index, hashlib.sha256(content))
                if on_small is not None:
                    on_small(index, content)
            elif stream.take(len(due)) != due:
                where = self.layout.members[index].path if index < len(self.layout.members) else "the end of the tar"
                raise FormatError(
                    f"{self.source.name}: the tar header or padding at {where} is not as predicted",
                    why="a bundle is written in one way alone, and nothing hides between its files",
                )

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


def _untold(_: int) -> None:
    return
