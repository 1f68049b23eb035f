"""Frames that several clients want at about the same time are read and checked once, one ahead of being sent."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Optional

from loader.bundle.limits import FRAME

# (digest, start, stop) -> the checked bytes, in blocks that are valid until the next.
ReadPart = Callable[[str, int, int], Iterator[memoryview]]
KEPT = 4
"""Frames kept for clients that are a little behind: nodes that start together pull the same layers."""
_WORKERS = 2


class _Frame:
    """A frame on its way or there; ``users`` are those that send it, ``kept`` whether others may still ask for it."""

    loaded: Future[memoryview]

    def __init__(self) -> None:
        self.buffer: Optional[bytearray] = None
        self.users = 0
        self.kept = True

    def failed(self) -> bool:
        """Tell whether it could not be read."""
        return self.loaded.done() and self.loaded.exception() is not None


class SharedFrames:
    """The last few frames of blobs, each read for the first who asks; ``part`` raises for a wrong byte.

    Their memory is used again: fetched anew from the system it costs as much as half of the hashing.
    """

    def __init__(self, read: ReadPart, *, kept: int = KEPT) -> None:
        self._read = read
        self._most = kept
        self._lock = threading.Lock()
        self._frames: OrderedDict[tuple[str, int], _Frame] = OrderedDict()
        self._spare: list[bytearray] = []
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="frames")

    def part(self, digest: str, start: int, stop: int, size: int) -> Iterator[memoryview]:
        """Yield bytes ``start`` to ``stop`` of a blob of ``size`` bytes, out of whole frames that were checked.

        Each block is valid until the next.
        """
        held: deque[_Frame] = deque()
        try:
            for first in range(start - start % FRAME, stop, FRAME):
                if not held:
                    held.append(self._asked(digest, first, size))
                frame = held[0].loaded.result()
                # While this one is sent, the next is read and checked.
                if first + FRAME < stop:
                    held.append(self._asked(digest, first + FRAME, size))
                yield frame[max(start - first, 0) : stop - first]
                self._let_go(held.popleft())
        finally:
            for one in held:
                self._let_go(one)

    def _asked(self, digest: str, first: int, size: int) -> _Frame:
        key = digest, first
        with self._lock:
            found = self._frames.get(key)
            # What went wrong is asked for anew by the next client: a medium may recover.
            if found is None or found.failed():
                found = _Frame()
                found.loaded = self._pool.submit(self._load, found, digest, first, min(first + FRAME, size))
            self._frames[key] = found
            self._frames.move_to_end(key)
            found.users += 1
            while len(self._frames) > self._most:
                _, oldest = self._frames.popitem(last=False)
                oldest.kept = False
                self._reuse(oldest)
        return found

    def _let_go(self, frame: _Frame) -> None:
        with self._lock:
            frame.users -= 1
            self._reuse(frame)

    def _reuse(self, frame: _Frame) -> None:
        """Take the memory back of a frame that nobody sends and nobody can ask for."""
        if frame.buffer is not None and not frame.users and not frame.kept and frame.loaded.done():
            self._spare.append(frame.buffer)
            frame.buffer = None

    def _load(self, frame: _Frame, digest: str, first: int, last: int) -> memoryview:
        with self._lock:
            frame.buffer = self._spare.pop() if self._spare else bytearray(FRAME)
        view, place = memoryview(frame.buffer), 0
        for block in self._read(digest, first, last):
            view[place : place + len(block)] = block
            place += len(block)
        return view[:place]
