"""When a registry is asked again, how long we wait, and how often."""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass
from typing import Callable, Optional

from loader.oci.messages import printable

RETRYABLE_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses by which a server says "later"; 401, 403, 404 and all others are an answer."""
AWAY_STATUSES = frozenset({502, 503, 504})
"""Statuses by which a proxy, or a registry that starts, says that nobody is behind it."""
_SECONDS = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential back-off, half of it jitter; the sleeper, the dice and the clock are passed in.

    ``sleep`` takes seconds and returns true where there is nothing left to wait for, ``random`` gives 0 to 1, ``now``
    is seconds since the epoch (for dates in Retry-After). ``patience``: attempts while a registry that answered before
    is away. ``trace`` is told of every pause and its reason.
    """

    sleep: Callable[[float], Optional[bool]]
    random: Callable[[], float]
    now: Callable[[], float]
    attempts: int = 4
    patience: int = 8
    first: float = 0.5
    longest: float = 20.0
    longest_asked: float = 120.0
    trace: Callable[[str], None] = lambda _: None

    def start(self) -> Backoff:
        """Begin the attempts of one operation."""
        return Backoff(self)

    def seconds_asked(self, retry_after: str) -> Optional[float]:
        """Return the seconds that a Retry-After header asks for (RFC 9110 section 10.2.3), or ``None``."""
        if _SECONDS.fullmatch(retry_after):
            return float(retry_after)
        try:
            when = email.utils.parsedate_to_datetime(retry_after)
            return max(0.0, when.timestamp() - self.now())
        except (ValueError, TypeError, OverflowError, IndexError):
            return None


class Backoff:
    """The attempts of one operation."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._failed = 0

    def wait(self, retry_after: str = "", why: str = "", *, patient: bool = False) -> bool:
        """Count an attempt that failed for ``why`` and sleep before the next; ``False`` when there is to be none.

        There is none where ``retry_after`` asks for more than all the pauses that are left could be.
        """
        self._failed += 1
        policy = self._policy
        attempts = policy.patience if patient else policy.attempts
        if self._failed >= attempts:
            return False
        longest = min(policy.longest, policy.first * 2 ** (self._failed - 1))
        seconds = longest * (0.5 + policy.random() / 2)
        asked = policy.seconds_asked(retry_after) if retry_after else None
        if asked is not None and asked > policy.longest_asked * (attempts - self._failed):
            return False
        pause = seconds if asked is None else min(max(asked, seconds), policy.longest_asked)
        policy.trace(f"again in {pause:.1f} s (attempt {self._failed + 1} of {attempts}): {printable(why)}")
        return not policy.sleep(pause)

    def progress(self) -> None:
        """Forget past failures: bytes moved since, so the next failure is a first one again."""
        self._failed = 0
