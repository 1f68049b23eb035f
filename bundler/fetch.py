"""Blobs read in archive order, several ranges at once, in bounded memory.

A blob is cut into ranges of 20 MiB (with 12 MiB the server takes 1.2 times the processor, with 4 MiB twice), a
range into chunks of 4 MiB, each of which becomes one frame; chunks of uncompressed layers are compressed in the
thread that fetched them. Output order is the order of the blobs whatever arrives first. A server that
ignores Range is found out by a blob's first range, which then becomes all of it: nothing is sent twice.
"""

from __future__ import annotations

import io
import mmap
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Optional, Protocol

import zstandard

from bundler.pack import Chunk
from loader.bundle.errors import AirgapError, RegistryError
from loader.bundle.limits import FRAME, MIB

RANGE = 20 * MIB
# Frames fetched ahead of the writer; with the small blobs' window and one zstd output a worker all of the memory.
WINDOW = 40 * MIB // FRAME
# Blobs up to this size do not take a frame's place: a slow one among hundreds would stop all that come after it.
SMALL = MIB // 4
SMALL_WINDOW = 4 * MIB
LEVEL = 3
_LEAVE = 1.0  # seconds that threads get to end once nobody needs what they fetch


class _Buffers:
    """Buffers of one frame, used again and again: touching fresh memory costs as much as receiving into it.

    Anonymous maps, because malloc keeps freed buffers of this size in every thread's arena.
    """

    def __init__(self) -> None:
        self._spare: list[mmap.mmap] = []

    def take(self, size: int) -> memoryview:
        """Return the first ``size`` bytes of a buffer that nobody uses."""
        try:
            buffer = self._spare.pop()
        except IndexError:
            buffer = mmap.mmap(-1, FRAME, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return memoryview(buffer)[:size]

    def give_back(self, content: memoryview) -> None:
        """Let the buffer under ``content`` be taken again."""
        self._spare.append(content.obj)  # type: ignore[arg-type] # our own mmap


class BlobBody(Protocol):
    """An open range of a blob."""

    def readinto(self, view: memoryview, /) -> int:
        """Fill ``view`` with what is there, 0 at the end."""
        ...

    def take_whole(self) -> bool:
        """Go on to the blob's end where the server sends all of it whatever was asked; tell whether it does."""
        ...


class HeldBody(io.BytesIO):
    """A part of a blob that is at hand."""

    def take_whole(self) -> bool:
        """There is no server that could send more than it was asked for."""
        return False


class BlobSource(Protocol):
    """Where blobs come from: a repository of a registry, a dir layout."""

    def open_blob(
        self, digest: str, size: int, *, start: int = 0, length: Optional[int] = None
    ) -> AbstractContextManager[BlobBody]:
        """Open ``length`` bytes of the blob from ``start``."""
        ...


class BlobRequest(NamedTuple):  # as many as members
    """A blob to fetch from byte ``start`` on, and whether its chunks become compressed frames."""

    source: BlobSource
    digest: str
    size: int
    compress: bool
    start: int = 0


class _Range:
    """One range in flight: chunks ready, or the error that ended it. Guarded by the fetcher's condition."""

    def __init__(self, request: BlobRequest, start: int, length: int) -> None:
        self.request = request
        self.start = start
        self.length = length
        self.frames = -(-length // FRAME)
        self.ready: deque[Chunk] = deque()
        self.done = False
        self.claimed = self.frames
        self.is_small = length == request.size <= SMALL

    @property
    def is_first(self) -> bool:
        """Whether the blob is asked for from here on."""
        return self.start == self.request.start


class Fetcher:
    """Fetches ``requests`` with ``jobs`` threads; iterate :meth:`blobs` once, in order.

    An error in any worker is raised to the reader as soon as a chunk it needs is not there, whichever range it
    belongs to.
    """

    def __init__(self, requests: Sequence[BlobRequest], *, jobs: int) -> None:
        self._requests = requests
        # Many jobs get smaller ranges: all but one fit into the window, and that one begins while another ends.
        self._ranges = _cut(requests, min(RANGE, max(WINDOW // max(jobs - 1, 1), 1) * FRAME))
        self._next = next(self._ranges, None)
        self._begun: deque[_Range] = deque()
        self._changed = threading.Condition()
        self._free = WINDOW
        self._free_small = SMALL_WINDOW
        self._in_parts: set[int] = set()
        self._error: Optional[BaseException] = None
        self._closed = False
        self._buffers = _Buffers()
        self._threads = [threading.Thread(target=self._work, name=f"fetch-{n}", daemon=True) for n in range(jobs)]

    def __enter__(self) -> Fetcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        # One that waits for a server that does not go on is left: nobody needs what it waits for.
        until = time.monotonic() + _LEAVE
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def blobs(self) -> Iterator[tuple[BlobRequest, Iterator[Chunk]]]:
        """Yield each request with its chunks, which must be taken before the next request.

        A chunk's content is valid until the next one is asked for.
        """
        for request in self._requests:
            yield request, self._chunks(request)

    def _chunks(self, request: BlobRequest) -> Iterator[Chunk]:
        end = request.start
        while True:
            with self._changed:
                self._changed.wait_for(self._has_news)
                part = self._begun[0] if self._begun else None
                if part is None or not (part.ready or part.done):
                    # What came before an error is written all the same: another build goes on from it.
                    raise self._error or RuntimeError("nothing is fetched any more")
                if not part.ready:
                    self._begun.popleft()
                    end += part.length
                    if end >= request.size:
                        return
                    continue
                chunk = part.ready.popleft()
            yield chunk
            self._give_back(part, chunk)

    def _has_news(self) -> bool:
        """Tell whether the reader can go on."""
        return self._error is not None or bool(self._begun and (self._begun[0].ready or self._begun[0].done))

    def _give_back(self, part: _Range, chunk: Chunk) -> None:
        if not part.is_small:
            self._buffers.give_back(chunk.content)
        with self._changed:
            if part.is_small:
                self._free_small += part.length
            else:
                self._free += 1
            self._changed.notify_all()

    def _take(self) -> Optional[_Range]:
        """The next range in order, once the window has room for all of it; None when there is nothing to do."""
        with self._changed:
            while self._next is not None and not self._closed and self._error is None:
                part = self._next
                # Later ranges of a source's first blob wait until it is known that it has ranges.
                known = part.is_first or id(part.request.source) in self._in_parts
                if known and self._claimed(part):
                    self._begun.append(part)
                    self._next = next(self._ranges, None)
                    return part
                self._changed.wait()
        return None

    def _claimed(self, part: _Range) -> bool:
        """Take room for all of ``part``, if there is that much."""
        if part.is_small:
            fits = self._free_small >= part.length
            self._free_small -= part.length if fits else 0
        else:
            fits = self._free >= part.frames
            self._free -= part.frames if fits else 0
        return fits

    def _work(self) -> None:
        engine = compressor()
        part = self._take()
        while part is not None:
            try:
                self._fetch(part, engine)
            except (AirgapError, OSError, RuntimeError, ValueError, MemoryError) as error:
                with self._changed:
                    self._error = self._error or error
                    self._changed.notify_all()
                return
            part = self._take()

    def _fetch(self, part: _Range, engine: Any) -> None:
        request = part.request
        with request.source.open_blob(request.digest, request.size, start=part.start, length=part.length) as body:
            self._learn(part, body)
            left = part.length
            while left and not self._closed:
                content = self._buffer(part, min(FRAME, left))
                _fill(body, content, request.digest)
                left -= len(content)
                frame = engine.compress(content) if request.compress else None
                with self._changed:
                    part.ready.append(Chunk(content, frame))
                    self._changed.notify_all()
        with self._changed:
            part.done = True
            self._changed.notify_all()

    def _learn(self, part: _Range, body: BlobBody) -> None:
        """See whether the source of ``part`` has ranges; one that sends the whole blob gets the whole blob taken."""
        left = part.request.size - part.start
        if not part.is_first or part.length == left or id(part.request.source) in self._in_parts:
            return
        whole = body.take_whole()
        with self._changed:
            if whole:
                part.length = left
                while self._next is not None and self._next.request is part.request:
                    self._next = next(self._ranges, None)
            else:
                self._in_parts.add(id(part.request.source))
            self._changed.notify_all()

    def _buffer(self, part: _Range, size: int) -> memoryview:
        """Return a buffer for the next chunk of ``part``."""
        if part.is_small:
            return memoryview(bytearray(size))
        self._claim(part)
        return self._buffers.take(size)

    def _claim(self, part: _Range) -> None:
        """Claim a buffer for the next chunk: of those the range came with, or a free one.

        The one chunk that a reader waits for is fetched even where later ranges hold the whole window.
        """
        with self._changed:
            if part.claimed:
                part.claimed -= 1
                return
            while self._free <= 0 and part.ready and not self._closed and self._error is None:
                self._changed.wait()
            self._free -= 1


def _cut(requests: Sequence[BlobRequest], step: int) -> Iterator[_Range]:
    """Yield every range in order, each when it is due: there may be as many as members."""
    for request in requests:
        for start in range(request.start, max(request.size, 1), step):
            yield _Range(request, start, min(step, request.size - start))


def _fill(body: BlobBody, view: memoryview, digest: str) -> None:
    while view:
        got = body.readinto(view)
        if not got:
            raise RegistryError(f"blob {digest} is too short", why=f"{len(view)} bytes of a chunk did not come")
        view = view[got:]


def compressor() -> zstandard.ZstdCompressor:
    """Return what makes frames: level 3 with a checksum, in the one form the format allows, up to 4 MiB of content."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL, window_log=22, write_checksum=True, write_content_size=True, write_dict_id=False
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def libzstd_version() -> str:
    """The version of libzstd that makes ``zstd`` members, for ``builder``."""
    return ".".join(str(part) for part in zstandard.ZSTD_VERSION)
