"""What is read of an archive at a time: buffers, streams of blocks, and what ties a second reading to the first."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

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


class Tie(Protocol):
    """Tags what is read, cheaper than a hash, under a secret that no medium can know: made anew by each process."""

    def tag(self, member: int, number: int, blocks: Sequence[memoryview]) -> bytes:
        """Return the tag of piece ``number`` of a member; equal for equal content alone."""
        ...


class Kept(Protocol):
    """What is kept of a member's first reading, piece by piece, to tie every later one to it."""

    def note(self, position: int, blocks: Sequence[memoryview], running: hashlib._Hash) -> None:
        """Keep what proves ``blocks``, the next piece, which ends at ``position``; ``running`` has hashed it."""
        ...

    def again(self, first: int) -> Callable[[int, Sequence[memoryview]], bool]:
        """Begin a reading at frame ``first``: tells of each (position, blocks) in order whether it is the same."""
        ...


class Tags:
    """A tag for each piece of ``step`` bytes."""

    def __init__(self, tie: Tie, member: int, step: int) -> None:
        self._tie = tie
        self._member = member
        self._step = step
        self._tags = bytearray()

    def note(self, position: int, blocks: Sequence[memoryview], running: hashlib._Hash) -> None:
        """See :class:`Kept`."""
        self._tags += self._tie.tag(self._member, self._number(position), blocks)

    def again(self, first: int) -> Callable[[int, Sequence[memoryview]], bool]:
        """See :class:`Kept`; each piece stands for itself."""
        return self._is_same

    def _is_same(self, position: int, blocks: Sequence[memoryview]) -> bool:
        number = self._number(position)
        tag = self._tie.tag(self._member, number, blocks)
        return self._tags.startswith(tag, number * len(tag))

    def _number(self, position: int) -> int:
        return (position - 1) // self._step


class RunningDigests:
    """The member's hash after each piece of ``step`` bytes; its state, to go on from, after each frame."""

    def __init__(self, step: int) -> None:
        self._step = step
        self._digests = bytearray()
        self._states = [hashlib.sha256()]

    def note(self, position: int, blocks: Sequence[memoryview], running: hashlib._Hash) -> None:
        """See :class:`Kept`."""
        self._digests += running.digest()
        if position % FRAME == 0:
            self._states.append(running.copy())

    def again(self, first: int) -> Callable[[int, Sequence[memoryview]], bool]:
        """See :class:`Kept`; a piece is proven by all in front of it."""
        running = self._states[first].copy()

        def is_same(position: int, blocks: Sequence[memoryview]) -> bool:
            for block in blocks:
                running.update(block)
            digest = running.digest()
            return self._digests.startswith(digest, (position - 1) // self._step * len(digest))

        return is_same
