"""Fewer requests a second for a server that says there are too many: its limit is found by trying, and kept below.

Waiting before another attempt alone does not help where a proxy allows so many requests a second and no more: all
threads come back together.
"""

from __future__ import annotations

import threading
from typing import Callable

CROWDED_STATUSES = frozenset({429, 503})
"""Statuses of a limit on requests: 429, and 503 as nginx has it (``limit_req_status``)."""
_FIRST = 0.02
_LONGEST = 1.0
"""Seconds between two requests, after the first refusal and at the most."""
_EASED_AFTER = 8
_EASED_BY = 0.75
"""After how many answers in a row the gap becomes smaller again, and how much of it is left."""


class Pace:
    """Spaces the requests to one host; thread-safe. Nobody waits before something was refused.

    ``clock`` is monotonic seconds, ``sleep`` takes seconds.
    """

    def __init__(self, *, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._gap = 0.0
        self._last = 0.0
        self._refusals = 0
        self._well = 0

    def turn(self) -> int:
        """Return when the next request may go, with a number for ``told``."""
        if not self._gap:
            return self._refusals
        with self._lock:
            number, now = self._refusals, self._clock()
            start = self._last = max(now, self._last + self._gap)
        if start > now:
            self._sleep(start - now)
        return number

    def told(self, number: int, status: int) -> None:
        """Take note of the answer to the request whose ``turn`` gave ``number``."""
        if status not in CROWDED_STATUSES and not self._gap:
            return
        with self._lock:
            if status not in CROWDED_STATUSES:
                self._ease()
            elif number == self._refusals:
                # What was on its way before the gap grew says nothing of the new one.
                self._refusals += 1
                self._gap = min(max(2 * self._gap, _FIRST), _LONGEST)
                self._last = max(self._last, self._clock())
                self._well = 0

    def _ease(self) -> None:
        self._well += 1
        if self._well >= _EASED_AFTER:
            self._well = 0
            self._gap = self._gap * _EASED_BY if self._gap > _FIRST else 0.0
