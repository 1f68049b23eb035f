"""Frames that several clients want at about the same time are read and checked once, one ahead of being sent."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from loader.bundle.limits import FRAME

# (digest, start, stop) -> the checked bytes, in blocks that are valid until the next.
ReadPart = Callable[[str, int, int], Iterator[memoryview]]
KEPT = 4
"""Frames kept for clients that are a little behind: nodes that start together pull the same layers."""
_WORKERS = 2


class SharedFrames:
    """The last few frames of blobs, each read for the first who asks; ``read`` raises for a wrong byte."""

    def __init__(self, read: ReadPart, *, kept: int = KEPT) -> None:
        self._read = read
        self._most = kept
        self._lock = threading.Lock()
        self._frames: OrderedDict[tuple[str, int], Future[bytearray]] = OrderedDict()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="frames")

    def part(self, digest: str, start: int, stop: int, size: int) -> Iterator[memoryview]:
        """Yield bytes ``start`` to ``stop`` of a blob of ``size`` bytes, out of whole frames that were checked."""
        firsts = range(start - start % FRAME, stop, FRAME)
        coming = self._asked(digest, firsts[0], size) if firsts else None
        for first in firsts:
            if coming is None:
                return
            frame = coming.result()
            # While this one is sent, the next is read and checked.
            coming = self._asked(digest, first + FRAME, size) if first + FRAME < stop else None
            yield memoryview(frame)[max(start - first, 0) : stop - first]

    def _asked(self, digest: str, first: int, size: int) -> Future[bytearray]:
        key = digest, first
        with self._lock:
            found = self._frames.get(key)
            # What went wrong is asked for anew by the next client: a medium may recover.
            if found is None or (found.done() and found.exception() is not None):
                found = self._pool.submit(self._load, digest, first, min(first + FRAME, size))
            self._frames[key] = found
            self._frames.move_to_end(key)
            while len(self._frames) > self._most:
                self._frames.popitem(last=False)
        return found

    def _load(self, digest: str, first: int, last: int) -> bytearray:
        frame, place = bytearray(last - first), 0
        for block in self._read(digest, first, last):
            frame[place : place + len(block)] = block
            place += len(block)
        return frame
