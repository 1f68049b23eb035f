"""The values files for Rook's charts that a bundle carries: where they stand, and the line that says which chart."""

from __future__ import annotations

import re
from collections.abc import Mapping

from loader.cluster.rookrange import Version, parse_version

FOLDER = "documents/helm/"
OPERATOR_CHART = "rook-ceph"
WITHOUT_DRIVERS = (
    "from v1.20 on Rook runs no CSI driver without the chart ceph-csi-drivers: upgrade or install it as well"
)
_DRIVERS_SINCE: Version = (1, 20, 0)
_FIRST = re.compile(rb"# chart ([a-z-]{1,40}) (v[0-9A-Za-z.-]{1,60})\n")


def first_line(chart: str, version: str) -> str:
    """Return the line of a values file that says which chart it is for."""
    return f"# chart {chart} {version}"


def needs_drivers(version: str) -> bool:
    """Tell whether the operator's chart of that release leaves the CSI drivers to a chart of their own."""
    found = parse_version(version)
    return found is not None and found >= _DRIVERS_SINCE


def values_by_chart(contents: Mapping[str, bytes]) -> dict[str, tuple[str, str]]:
    """Return chart -> (path, version) of the values files among ``contents``, which are documents by path."""
    found = [(path, _FIRST.match(content)) for path, content in contents.items() if path.startswith(FOLDER)]
    return {match[1].decode(): (path, match[2].decode()) for path, match in found if match}
