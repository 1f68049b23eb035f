"""Our clock against the registries': a bundle's sequence and dates rest on it; pure."""

from __future__ import annotations

import email.utils
from collections.abc import Iterator, Mapping

from loader.units import counted

_DAY = 86_400


def clock_warnings(dates: Mapping[str, str], now: float) -> Iterator[str]:
    """Yield a line for each registry whose ``Date`` (RFC 9110) is a day or more off ``now``, in epoch seconds."""
    for host, text in sorted(dates.items()):
        try:
            theirs = email.utils.parsedate_to_datetime(text).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
        off = now - theirs
        if abs(off) >= _DAY:
            days = counted(int(abs(off) // _DAY), "day")
            yield (
                f"this machine's clock is {days} {'ahead of' if off > 0 else 'behind'} {host} ({text}): the bundle's "
                "sequence and dates come from it; set the clock, or give sequence in the config"
            )
