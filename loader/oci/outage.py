"""When a registry, or one repository of it, is not asked any more: each further blob would fail after its waits."""

from __future__ import annotations

from typing import Callable, Optional

from loader.bundle.errors import RegistryError
from loader.oci.retry import AWAY_STATUSES

_DEAD_AFTER = 3
"""Failures in a row for want of an answer, each after all its retries."""
_DEAD_EVERYWHERE = 5
"""Repositories among them that mean the registry, though it answers when it is asked whether it is there."""


class Outage:
    """What failed last; to be told of every blob. Threads may call it: a lost count costs one more failure.

    ``everywhere`` is the error of a registry that does not answer any more: it is not ``alive``, which asks it once, or
    its last failures were of many repositories. Else the one repository has a trouble of its own.
    """

    def __init__(self, alive: Callable[[], bool]) -> None:
        self._alive = alive
        self.everywhere: Optional[RegistryError] = None
        self._of_one: dict[str, RegistryError] = {}
        self._in_a_row: list[str] = []

    def error(self, repository: str) -> Optional[RegistryError]:
        """Return why ``repository`` is not asked any more, if so."""
        return self.everywhere or self._of_one.get(repository)

    def worked(self) -> None:
        """Count an answer: what is only remembered is none."""
        self._in_a_row = []

    def failed(self, repository: str, error: RegistryError) -> None:
        """Count a failure; one that says something is an answer."""
        if not (error.retryable and (error.status == 0 or error.status in AWAY_STATUSES)):
            self.worked()
            return
        self._in_a_row = [*self._in_a_row, repository]
        if len(self._in_a_row) < _DEAD_AFTER:
            return
        if len(set(self._in_a_row)) >= _DEAD_EVERYWHERE or not self._alive():
            self.everywhere = error
        else:
            self._of_one[repository] = error
