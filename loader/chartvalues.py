"""The values files for Rook's charts that a bundle carries: where they stand, and the line that says which chart."""

from __future__ import annotations

import re
from collections.abc import Mapping

FOLDER = "documents/helm/"
_FIRST = re.compile(rb"# chart ([a-z-]{1,40}) (v[0-9A-Za-z.-]{1,60})\n")


def first_line(chart: str, version: str) -> str:
    """Return the line of a values file that says which chart it is for."""
    return f"# chart {chart} {version}"


def values_by_chart(contents: Mapping[str, bytes]) -> dict[str, tuple[str, str]]:
    """Return chart -> (path, version) of the values files among ``contents``, which are documents by path."""
    found = [(path, _FIRST.match(content)) for path, content in contents.items() if path.startswith(FOLDER)]
    return {match[1].decode(): (path, match[2].decode()) for path, match in found if match}
