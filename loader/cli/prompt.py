"""Asking for a disc: a line on the terminal, then the change of the medium or Enter, whichever comes first."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import select
import sys
import termios
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader.cli.console import Console

if TYPE_CHECKING:
    from loader.media.drive import DrivePorts
    from loader.opening import DriveOptions

NoPrompt = Annotated[
    bool, typer.Option("--no-prompt", help="never ask for another disc: end with exit code 5 where one is needed")
]
_POLL = 0.5
"""Seconds between two looks at the drive."""
_SETTLE = 2
"""Looks in a row that have to show a changed medium: a mount takes a moment."""
_OURS = ("loader", "typer", "rich", "urllib3", "tomli")
_LOADED: list[str] = []


def drive_ports(console: Console, *, no_prompt: bool) -> DrivePorts:
    """How the verbs ask for discs: not at all with ``no_prompt``, or where stdin is no terminal."""
    from loader.media.drive import DrivePorts

    def ask(line: str, changed: Callable[[], bool]) -> bool:
        if no_prompt or not sys.stdin.isatty():
            return False
        load_everything()
        with console.paused():
            return _wait(line, changed)

    return DrivePorts(ask, console.note)


def drive_options(console: Console, *, no_prompt: bool, folder: Optional[Path] = None) -> DriveOptions:
    """``drive_ports``, and the progress kept below the state ``folder`` if given."""
    from loader.media.savedpass import SavedPass
    from loader.opening import DriveOptions

    saved = SavedPass(folder / "media", time.monotonic) if folder is not None else None
    return DriveOptions(drive_ports(console, no_prompt=no_prompt), saved)


def can_ask(*, no_prompt: bool) -> bool:
    """Tell whether there is anybody who could change a disc."""
    return not no_prompt and sys.stdin.isatty()


def _wait(line: str, changed: Callable[[], bool]) -> bool:
    # What was typed before the question is no answer to it.
    termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)
    typer.echo(f"{line} (Enter if the change is not noticed): ", err=True, nl=False)
    seen = 0
    while seen < _SETTLE:
        if select.select([sys.stdin], [], [], _POLL)[0]:
            return sys.stdin.readline() != ""
        seen = seen + 1 if changed() else 0
    typer.echo(err=True)
    return True


def load_everything() -> None:
    """Import every module that may be needed later: a loader started from the medium loses its own file with it."""
    if _LOADED:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _load_packages()


def _load_packages() -> None:
    for name in _OURS:
        try:
            package = importlib.import_module(name)
        except ImportError:
            continue
        _LOADED.append(name)
        for found in pkgutil.walk_packages(getattr(package, "__path__", ()), f"{name}.", onerror=lambda _: None):
            if not found.name.endswith("__main__"):
                _import_quietly(found.name)


def _import_quietly(name: str) -> None:
    # An extra of a library, for what is not installed here, fails as it likes; nothing of ours needs it.
    with contextlib.suppress(Exception):
        importlib.import_module(name)
