"""``--limit-rate``: bytes per second over all connections together."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

from loader.bundle.errors import ConfigError
from loader.oci.blobs import BlobReader, OpenAt
from loader.oci.messages import Upload
from loader.oci.retry import Backoff

_RATE = re.compile(r"([0-9]{1,15})([kKmMgG]?)")
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_LARGEST_SLICE = 64 * 2**10
_SLICES_A_SECOND = 8
"""Small enough pieces that no pause looks like a dead line to a watchdog, on either side."""
_BURST = 0.25
"""Seconds of the rate that may be caught up on after a pause."""


def parse_rate(text: str) -> int:
    """Return bytes per second of ``500k``, ``10M``, ``1g`` (powers of 1024, as curl's); ``ConfigError`` for others."""
    match = _RATE.fullmatch(text)
    rate = int(match[1]) * _UNITS[match[2].lower()] if match else 0
    if rate < 1:
        raise ConfigError(
            f"--limit-rate {text[:40]!a} is not a rate",
            why="it is bytes per second, a whole number with k, M or G behind it if need be",
            hint="--limit-rate 500k, --limit-rate 10M",
        )
    return rate


class RateLimit:
    """A bucket that ``rate`` bytes per second drip into; thread-safe.

    ``clock`` is monotonic seconds. Each taker reserves its place, then sleeps until it has come.
    """

    def __init__(self, rate: int, *, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._paid_until = clock()
        self.slice = max(1, min(_LARGEST_SLICE, rate // _SLICES_A_SECOND))

    def take(self, size: int) -> None:
        """Return when ``size`` bytes may have been moved."""
        with self._lock:
            now = self._clock()
            self._paid_until = max(self._paid_until, now - _BURST) + size / self._rate
            pause = self._paid_until - now
        if pause > 0:
            self._sleep(pause)

    def paced(self, body: Upload) -> Upload:
        """Return ``body`` in slices, each of them paid for before it is sent."""

        @contextmanager
        def opened() -> Iterator[Iterator[memoryview]]:
            with body.open() as chunks:
                yield self._slices(chunks)

        return Upload(body.size, opened)

    def _slices(self, chunks: Iterator[memoryview]) -> Iterator[memoryview]:
        for chunk in chunks:
            for start in range(0, len(chunk), self.slice):
                piece = chunk[start : start + self.slice]
                self.take(len(piece))
                yield piece


class PacedReader(BlobReader):
    """A blob that is read no faster than ``limit`` allows."""

    def __init__(
        self,
        open_at: OpenAt,
        *,
        start: int,
        end: int,
        size: int,
        backoff: Backoff,
        what: str,
        limit: RateLimit,
    ) -> None:
        super().__init__(open_at, start=start, end=end, size=size, backoff=backoff, what=what)
        self._limit = limit

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer`` by one slice at most, and wait until it is paid for; 0 at the end."""
        got = super().readinto(buffer[: self._limit.slice])
        self._limit.take(got)
        return got
