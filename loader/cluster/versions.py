"""What an OpenShift version means for mirrors and nodes; pure.

Kinds are chosen by discovery; only what no API tells is looked up here by version. Sources: release branches of
openshift/machine-config-operator.
"""

from __future__ import annotations

import re
from typing import Optional

Version = tuple[int, int, int]
NEWEST: Version = (4, 999, 0)
_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:[-+.].*)?")

REBOOTS_BELOW: Version = (4, 7, 0)
ALWAYS_DRAINS_BELOW: Version = (4, 8, 0)
# Bug 2056442: an unchanged entry that is not for digests alone counted as a new one.
DRAINS_FOR_OLD_ENTRIES_BELOW: Version = (4, 10, 0)
PER_MIRROR_FLAG: Version = (4, 13, 0)
# Before, a DaemonSet of the image registry brings CAs to the nodes, and notes nothing.
HANDS_OUT_AUTHORITIES: Version = (4, 14, 0)
CHECKS_FORMAT: Version = (4, 16, 0)
# Machine Config Operator #3995 and #4027: before these, one ICSP beside an IDMS or ITMS stopped every rollout.
_MIXES_FROM = {(4, 13): (4, 13, 26), (4, 14): (4, 14, 2)}


def parse_openshift(version: Optional[str]) -> Version:
    """Return the three numbers of ``4.14.8``; a version nobody tells counts as the newest."""
    match = _VERSION.fullmatch(version or "")
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else NEWEST


def refuses_mixing(version: Version) -> bool:
    """Tell whether this version rolls nothing out while an ICSP and an IDMS or ITMS exist together."""
    fixed = _MIXES_FROM.get(version[:2])
    return fixed is not None and version < fixed
