"""``--timeout D``: a time as oc and kubectl take it."""

from __future__ import annotations

import re
from typing import Annotated, Optional

import typer

from loader.bundle.errors import ConfigError

Timeout = Annotated[
    Optional[str],
    typer.Option("--timeout", metavar="D", help="longest time for each wait, as 90s, 30m or 1h30m"),
]
_DURATION = re.compile(r"(?:([0-9]{1,4})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s?)?")


def seconds(text: Optional[str]) -> Optional[float]:
    """Return the seconds of ``1h30m``, ``30m``, ``90s`` or ``90``; None for None; ``ConfigError`` else."""
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise ConfigError(f"--timeout {text[:40]} is no time", why="a number with h, m or s", hint="for example 30m")
    hours, minutes, rest = (float(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + rest
