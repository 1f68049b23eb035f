"""Platforms as OCI's image-spec names them: ``os/architecture[/variant]`` (Go's GOOS and GOARCH); pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FORM = re.compile(r"[a-z0-9]{1,20}/[a-z0-9_]{1,20}(?:/[a-z0-9.]{1,20})?")
# arm64 has one variant, which most indexes leave out.
_ONLY_VARIANT = {"arm64": "v8"}


def is_platform(text: str) -> bool:
    """Tell whether ``text`` is ``os/architecture[/variant]``."""
    return _FORM.fullmatch(text) is not None


def matches(platform: str, wanted: Sequence[str]) -> bool:
    """Tell whether ``platform`` is one of ``wanted``; a wanted one without variant takes every variant."""
    return any(_parts(platform)[: len(parts)] == parts for parts in map(_parts, wanted))


def _parts(platform: str) -> list[str]:
    parts = platform.split("/")
    if len(parts) == 3 and _ONLY_VARIANT.get(parts[1]) == parts[2]:
        return parts[:2]
    return parts
