"""Waiting for what a cluster does with an object: one loop, many predicates.

A predicate looks and says how it stands; the loop decides how often to look, how long a bad state may last and
what a person is told. An API server that goes away meanwhile (its own node restarts) is waited for as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Optional, Protocol

from loader.bundle.errors import ClusterError, Pending
from loader.cluster.failures import printable
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key

Found = Mapping[Key, JsonObject]

DONE, WAITING, FAILING, FAILED, PAUSED = "done", "waiting", "failing", "failed", "paused"
# Never more than one look a second; a roll-out of an hour is looked at every ten seconds.
FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 1.0, 10.0, 1.5
# Operators retry: a reconcile that failed once is no failure yet.
GRACE = 120.0


@dataclass(frozen=True)
class Verdict:
    """How it stands: done, waiting, failing (may pass), failed (will not) or paused (by a person), and why."""

    state: str
    text: str
    hint: str = ""


@dataclass(frozen=True)
class Waited:
    """One wait as the report keeps it: what for, for which document, seconds, and how it ended."""

    name: str
    document: str
    seconds: float
    state: str
    text: str


class Wait(Protocol):
    """One thing to wait for."""

    name: str
    document: str

    @property
    def keys(self) -> tuple[Key, ...]:
        """Return the objects it looks at, which are read in one call."""
        ...

    def look(self, kubectl: Kubectl, found: Found, waited: float, /) -> Verdict:
        """Judge what was ``found`` of ``keys``, ``waited`` seconds after the first look."""
        ...

    def limit(self) -> float:
        """Return the seconds after which waiting is given up where nobody says otherwise."""
        ...


class Clock:
    """Sleeping and telling seconds; passed in, so that tests need not wait."""

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        time.sleep(seconds)

    def now(self) -> float:
        """Return seconds that only grow."""
        return time.monotonic()


@dataclass(frozen=True)
class Patience:
    """How to wait: ``limit`` in seconds for each wait (None: its own), who hears of every new state and of the end."""

    clock: Clock
    limit: Optional[float] = None
    note: Callable[[str], None] = lambda text: None
    ended: Callable[[Waited], None] = lambda waited: None


def await_done(wait: Wait, kubectl: Kubectl, patience: Patience, seen: Found | None = None) -> Waited:
    """Look at ``wait`` until it is done and return how it went; ``seen`` is what was read of its keys just now.

    Raises ``Pending`` where it is paused or its time is up, ``ClusterError`` where it failed or kept failing for two
    minutes; ``patience.ended`` has heard of it by then, after Ctrl-C too.
    """
    return _Loop(wait, kubectl, patience, seen).run()


class _Loop:
    def __init__(self, wait: Wait, kubectl: Kubectl, patience: Patience, seen: Found | None) -> None:
        self._wait = wait
        self._kubectl = kubectl
        self._patience = patience
        self._seen = seen
        self._started = patience.clock.now()
        self._bad_since: Optional[float] = None
        self._let_in = False
        self._last = Verdict(WAITING, "not looked at yet")

    def run(self) -> Waited:
        pause = FIRST_PAUSE
        try:
            while True:
                verdict = self._looked()
                if verdict.state == DONE:
                    return self._ended(DONE)
                self._give_up(verdict)
                self._patience.clock.sleep(pause)
                pause = min(pause * GROWTH, LONGEST_PAUSE)
        except KeyboardInterrupt:
            self._ended("interrupted")
            raise

    def _looked(self) -> Verdict:
        try:
            found = self._kubectl.read(self._wait.keys) if self._seen is None else self._seen
            self._seen = None
            verdict = self._wait.look(self._kubectl, found, self._waited())
            self._let_in = True
        except ClusterError as error:
            if error.retryable:
                verdict = Verdict(WAITING, f"the API server does not answer ({error.why})", error.hint)
            elif self._let_in:
                # One that has just come back knows neither logins nor roles for a while.
                verdict = Verdict(FAILING, f"the API server refuses ({error.why or error.message})", error.hint)
            else:
                self._ended(FAILED)
                raise
        verdict = Verdict(verdict.state, printable(verdict.text), verdict.hint)
        # Kept before it is told: Ctrl-C at that very line must find it in the report.
        last, self._last = self._last, verdict
        if verdict.text != last.text and verdict.state != DONE:
            self._patience.note(f"{self._wait.name}: {verdict.text}")
        return verdict

    def _give_up(self, verdict: Verdict) -> None:
        """Raise where waiting on makes no sense."""
        now = self._patience.clock.now()
        if verdict.state != FAILING:
            self._bad_since = None
        elif self._bad_since is None:
            self._bad_since = now
        limit = self._patience.limit if self._patience.limit is not None else self._wait.limit()
        late = self._waited() >= limit
        # What still fails when the time is up has failed: it is not merely unfinished.
        if verdict.state == FAILED or (self._bad_since is not None and (late or now - self._bad_since >= GRACE)):
            self._ended(FAILED)
            raise ClusterError(f"{self._wait.name} failed", why=verdict.text, hint=verdict.hint)
        if verdict.state == PAUSED:
            self._ended(PAUSED)
            raise Pending(f"the wait for {self._wait.name} is held up", why=verdict.text, hint=_again(verdict.hint))
        if late:
            self._ended("timeout")
            raise Pending(
                f"{self._wait.name} is not finished after {limit:.0f} s", why=verdict.text, hint=_again(verdict.hint)
            )

    def _waited(self) -> float:
        return self._patience.clock.now() - self._started

    def _ended(self, state: str) -> Waited:
        waited = Waited(self._wait.name, self._wait.document, self._waited(), state, self._last.text)
        self._patience.ended(waited)
        return waited


def _again(hint: str) -> str:
    again = "the same command goes on from here"
    return f"{hint}; then {again}" if hint else again
