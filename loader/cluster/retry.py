"""The same request again while no API server answers: the node it runs on may be restarting.

Every write of ours may be made twice: a patch carries the resourceVersion it was computed for, an object that is
there already is read and decided anew, and server-side apply says what it wants and not what to change.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from loader.bundle.errors import ClusterError
from loader.cluster.waits import FIRST_PAUSE, GRACE, GROWTH, LONGEST_PAUSE, Patience

_T = TypeVar("_T")


class Retry:
    """Repeats what met no API server for two minutes, less where a person said less; any other failure is final.

    ``met`` counts the requests that nobody answered: of each it is not known whether it was carried out.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._limit = GRACE if patience.limit is None else min(GRACE, patience.limit)
        self.met = 0

    def __call__(self, request: Callable[[], _T]) -> _T:
        """Return the answer to ``request``, or raise its last ``ClusterError``."""
        clock = self._patience.clock
        started, pause = clock.now(), FIRST_PAUSE
        while True:
            try:
                return request()
            except ClusterError as error:
                if not error.retryable or clock.now() - started + pause > self._limit:
                    raise
                self.met += 1
                self._patience.note(f"the API server does not answer ({error.why}): trying again")
            clock.sleep(pause)
            pause = min(pause * GROWTH, LONGEST_PAUSE)
