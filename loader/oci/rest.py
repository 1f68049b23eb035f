"""A body that is sent in several requests, each of which takes what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loader.bundle.errors import RegistryError
from loader.oci.messages import Upload


class Rest:
    """What is left of a body; taken in pieces that can't be taken twice."""

    def __init__(self, chunks: Iterator[memoryview]) -> None:
        self._chunks = chunks
        self._waiting = memoryview(b"")

    def wait(self) -> None:
        """Have the next bytes at hand: this is where the source may pause."""
        if not self._waiting:
            self._waiting = next(self._chunks, self._waiting)

    def take(self, size: int) -> Upload:
        """The next ``size`` bytes as a request's body."""
        taken = iter([self._take(size)])

        @contextmanager
        def opened() -> Iterator[Iterator[memoryview]]:
            body = next(taken, None)
            if body is None:
                raise RegistryError("a part of a blob had to be sent again", why="the login ran out", retryable=True)
            yield body

        return Upload(size, opened)

    def _take(self, size: int) -> Iterator[memoryview]:
        while size:
            self.wait()
            chunk, self._waiting = self._waiting[:size], self._waiting[size:]
            size -= len(chunk)
            if not chunk:
                return
            yield chunk

    def end(self) -> None:
        """Read past the last byte: there the source checks the whole."""
        self.wait()
