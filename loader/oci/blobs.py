"""Reading a blob, or a part of one: the right bytes from the right place, resumed where a line breaks."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Callable, Optional

from loader.bundle.errors import RegistryError
from loader.oci.answer import Answer
from loader.oci.messages import Request, printable, shown_url
from loader.oci.retry import Backoff

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_SKIP = 2**20
_STEP = 2**18
"""Bytes asked of a connection at once: http.client drops what came of them where it breaks before the last."""
OpenAt = Callable[[int, int, Backoff], Answer]
"""Opens bytes from an offset to an end (exclusive); ``RegistryError`` once the back-off allows no more attempts."""


def range_request(url: str, start: int, end: int, size: int) -> Request:
    """Return the GET for bytes ``start`` to ``end`` (exclusive) of ``size``; the whole is asked for without Range."""
    headers = {} if (start, end) == (0, size) or start == end else {"Range": f"bytes={start}-{end - 1}"}
    return Request("GET", url, headers)


def position(answer: Answer, start: int, end: int, size: int, what: str) -> None:
    """Check that ``answer`` is the part asked for, and read off what comes before it when Range was ignored.

    The part may end early: a server may give less than it was asked for (RFC 9110 section 14.2). ``RegistryError`` when
    lengths do not fit.
    """
    length = answer.length()
    if answer.status == 206:
        match = _CONTENT_RANGE.fullmatch(answer.header("Content-Range"))
        fits = match is not None and int(match[1]) == start < int(match[2]) + 1 <= end
        if match is None or not fits or match[3] not in {str(size), "*"}:
            raise _wrong(answer, what, f"asked for {start}-{end - 1}/{size}, got {answer.header('Content-Range')!a}")
        expected = int(match[2]) + 1 - start
    elif answer.status == 200:
        expected = size
    else:
        raise _wrong(answer, what, f"HTTP {answer.status}")
    if length is not None and length != expected:
        raise _wrong(answer, what, f"Content-Length is {length}, not {expected}")
    left = start if answer.status == 200 else 0
    skipped = memoryview(bytearray(min(left, _SKIP)))
    while left:
        got = answer.readinto(skipped[:left])
        if not got:
            raise _wrong(answer, what, f"it ended {left} bytes before the part asked for", retryable=True)
        left -= got


def _end_of(answer: Answer) -> Optional[int]:
    """Return where a part that was checked ends (exclusive), None where all that is left was to come."""
    match = _CONTENT_RANGE.fullmatch(answer.header("Content-Range")) if answer.status == 206 else None
    return None if match is None else int(match[2]) + 1


class BlobReader:
    """``read`` and ``readinto`` over bytes ``start`` to ``end`` of a blob; a context manager.

    When the connection breaks ``open_at`` is asked again, as often as ``backoff`` allows without progress. The bytes
    are not hashed here: the reader's user knows the digest.
    """

    def __init__(self, open_at: OpenAt, *, start: int, end: int, size: int, backoff: Backoff, what: str) -> None:
        self._open_at = open_at
        self._position = start
        self._end = end
        self._size = size
        self._backoff = backoff
        self._what = what
        self._answer: Optional[Answer] = open_at(start, end, backoff)
        self._part = _end_of(self._answer)

    def read(self, size: int = -1, /) -> bytes:
        """Return up to ``size`` bytes, ``b""`` at the end; ``RegistryError`` for too few or too many bytes."""
        # At the end there is room for one byte, which shows that nothing follows.
        limit = max(self._end - self._position, 1)
        buffer = bytearray(limit if size < 0 else min(size, limit))
        view, done = memoryview(buffer), 0
        while done < len(buffer):
            got = self.readinto(view[done:])
            if not got:
                break
            done += got
        return bytes(view[:done])

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer`` as far as bytes come; 0 at the end. ``RegistryError`` for too few or too many bytes."""
        wanted = buffer[: min(self._end - self._position, _STEP)]
        if not wanted:
            if buffer:
                self._finish()
            return 0
        while True:
            try:
                got = self._standing().readinto(wanted)
                if not got:
                    left = self._end - self._position
                    raise RegistryError(
                        f"{self._what} came too short", why=f"it ended {left} bytes before its size", retryable=True
                    )
            except RegistryError as error:
                self.close()
                if not (error.retryable and self._backoff.wait(why=str(error))):
                    raise
                continue
            self._backoff.progress()
            self._position += got
            return got

    def take_whole(self) -> bool:
        """Go on to the end of the blob if the server ignored Range and sends all of it; tell whether it does."""
        if self._answer is None or self._answer.status != 200 or self._end == self._size:
            return False
        self._end = self._size
        return True

    def close(self) -> None:
        """Give up what is not read yet; a connection on which nothing is left is kept for the next request."""
        if self._answer is None:
            return
        answer, self._answer = self._answer, None
        # A body without Content-Length ends when its server hangs up: nothing to keep, and not worth the wait.
        whole = answer.status == 206 or self._end == self._size
        if self._position in {self._end, self._part} and whole and answer.length() is not None:
            answer.close()
        else:
            answer.abort()

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def _standing(self) -> Answer:
        if self._position == self._part:
            self.close()
        if self._answer is None:
            self._answer = self._open_at(self._position, self._end, self._backoff)
            self._part = _end_of(self._answer)
        return self._answer

    def _finish(self) -> None:
        if self._answer is None:
            return
        answer, self._answer = self._answer, None
        if answer.status == 200 and self._end < self._size:
            # The server ignored Range: what follows our part is not wanted, and not worth reading.
            answer.abort()
            return
        with answer:
            if answer.readinto(memoryview(bytearray(1))):
                raise RegistryError(f"{self._what} came too long", why="more bytes than were asked for")


def _wrong(answer: Answer, what: str, why: str, *, retryable: bool = False) -> RegistryError:
    where = shown_url(answer.url)
    answer.abort()
    return RegistryError(
        f"{what} came wrong from {where}", status=answer.status, why=printable(why), retryable=retryable
    )
