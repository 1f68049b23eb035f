"""What is read of an archive at a time: buffers, streams of blocks, and what ties a second reading to the first."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Iterator

from loader.bundle.limits import FRAME


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


class Buffers:
    """Buffers of one size, used again and again: touching fresh memory costs as much as reading into it.

    Anonymous maps: what no read reached costs nothing, and malloc keeps none of it in a thread's arena.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._spare: list[memoryview] = []

    @contextlib.contextmanager
    def taken(self) -> Iterator[memoryview]:
        """Lend a buffer that nobody else uses."""
        try:
            buffer = self._spare.pop()
        except IndexError:
            buffer = memoryview(mmap.mmap(-1, self._size))
        try:
            yield buffer
        finally:
            self._spare.append(buffer)


def parts(pieces: Iterator[list[memoryview]], start: int, stop: int) -> Iterator[memoryview]:
    """Yield what ``pieces`` have of bytes ``start`` to ``stop``."""
    for blocks in pieces:
        for block in blocks:
            if start < len(block) and stop > 0:
                yield block[max(start, 0) : stop]
            start -= len(block)
            stop -= len(block)


class Kept:
    """The running hash of a member after each piece of ``step`` bytes; its state, to go on from, after each frame."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._digests = bytearray()
        self._states: list[hashlib._Hash] = []

    def note(self, position: int, running: hashlib._Hash) -> None:
        """Keep ``running`` as it is at ``position``, the end of the next piece."""
        self._digests += running.digest()
        if position % FRAME == 0:
            self._states.append(running.copy())

    def agrees(self, position: int, running: hashlib._Hash) -> bool:
        """Tell whether ``running`` is what was kept at ``position``."""
        digest = running.digest()
        return self._digests.startswith(digest, (position // self._step - 1) * len(digest))

    def state(self, first: int) -> hashlib._Hash:
        """The hash of everything before frame ``first``."""
        return self._states[first - 1].copy() if first else hashlib.sha256()
