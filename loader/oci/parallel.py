"""A few threads over an ordered list of work, where the first error decides."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Optional, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Raised by work that sees ``stop``: another worker failed, and its error is the one to show."""


@contextlib.contextmanager
def _set_on_error(stop: threading.Event) -> Iterator[None]:
    with contextlib.ExitStack() as armed:
        armed.callback(stop.set)
        yield
        armed.pop_all()


class Lanes:
    """So many may send at once; whoever has to wait can do something useful before."""

    def __init__(self, count: int) -> None:
        self._free = threading.Semaphore(count)

    def lane(self) -> Lane:
        """One to enter when its turn comes."""
        return Lane(self._free)


class Lane:
    """One thread's place among those who send."""

    def __init__(self, free: threading.Semaphore) -> None:
        self._free = free
        self._inside = False

    def enter(self, timeout: Optional[float] = None) -> bool:
        """Wait for a free lane, at most ``timeout`` seconds; tell whether there was one."""
        self._inside = self._free.acquire(timeout=timeout)
        return self._inside

    def leave(self) -> None:
        """Make room for another; more than once does no harm."""
        if self._inside:
            self._inside = False
            self._free.release()


def in_parallel(
    action: Callable[[T], None], items: Iterable[T], jobs: int, stop: Optional[threading.Event] = None
) -> None:
    """Run ``action`` for every item, started in order by ``jobs`` threads; the first error stops and is raised."""
    stop = stop or threading.Event()
    lock = threading.Lock()
    waiting = iter(items)

    def work() -> None:
        while not stop.is_set():
            with lock:
                item = next(waiting, stop)
            if item is stop:
                return
            with _set_on_error(stop):
                action(item)  # type: ignore[arg-type] # not the sentinel

    with ThreadPoolExecutor(jobs) as pool:
        workers = [pool.submit(work) for _ in range(jobs)]
        with _set_on_error(stop):
            errors = [error for error in (worker.exception() for worker in workers) if error is not None]
    # A worker that was told to stop raises Stopped; the error that told it is the one to show.
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error
