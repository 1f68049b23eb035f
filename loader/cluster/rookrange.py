"""Ranges of Rook versions as documents carry them: ``>=v1.4.0 <v1.6.0``; pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Optional

from loader.bundle.errors import FormatError

Version = tuple[int, int, int]

CSI_OPERATOR = range(15, 1000)
"""Minor releases with a ceph-csi-operator: by choice from v1.15 on, and always from v1.18."""
_VERSION = re.compile(r"v?([0-9]{1,4})\.([0-9]{1,4})\.([0-9]{1,4})(?:[-+.][0-9A-Za-z.+-]*)?")
_BOUND = re.compile(r"(>=|<=|>|<|=)?(v?[0-9].*)")
_COMPARE: Mapping[str, Callable[[Version, Version], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}


def parse_version(text: str) -> Optional[Version]:
    """Return the three numbers of ``v1.5.0`` or ``v1.5.0-12-gabcdef``; None for a name without them (``master``)."""
    match = _VERSION.fullmatch(text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def in_range(version: Version, text: str) -> bool:
    """Tell whether ``version`` fulfils every bound of ``text``; raise ``FormatError`` where it is no range."""
    bounds = text.split(" ")
    return all(_fulfils(version, bound, text) for bound in bounds)


def _fulfils(version: Version, bound: str, text: str) -> bool:
    match = _BOUND.fullmatch(bound)
    limit = parse_version(match[2]) if match else None
    if match is None or limit is None:
        raise FormatError("a document's range of Rook versions cannot be read", why=ascii(text[:80]))
    return _COMPARE[match[1] or "="](version, limit)
