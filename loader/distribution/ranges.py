"""``Range`` of one blob (RFC 9110 section 14)."""

from __future__ import annotations

import re
from typing import Optional

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


class Unsatisfiable(Exception):
    """No byte of the blob is in the range: 416."""


def wanted_range(header: str, size: int) -> Optional[tuple[int, int]]:
    """Return (start, stop) of a ``Range`` header, None where the whole is to be sent.

    Several ranges and what is no range at all mean the whole, as the RFC allows; ``Unsatisfiable`` for a range that
    begins behind the end.
    """
    match = _RANGE.fullmatch(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        start, stop = max(size - int(match[2]), 0), size
    else:
        start, stop = int(match[1]), min(int(match[2] or size) + bool(match[2]), size)
        if match[2] and int(match[2]) < start:
            return None
    if start >= stop:
        raise Unsatisfiable
    return start, stop
