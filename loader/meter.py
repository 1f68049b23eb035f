"""What a long step tells of its bytes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Meter(Protocol):
    """Takes bytes done, and what one blob has of its own; called from any thread."""

    def __call__(self, size: int, /) -> None:
        """Count ``size`` more bytes of the whole."""
        ...

    def item(self, name: str, done: int, size: int) -> None:
        """Say that blob ``name`` has ``done`` of ``size`` bytes; all of them ends its line."""
        ...


# Opens the meter of a step: its name, and the bytes of the whole.
Progress = Callable[[str, int], AbstractContextManager[Meter]]
