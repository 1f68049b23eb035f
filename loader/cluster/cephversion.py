"""Versions of Ceph as tags, labels and a CephCluster's status have them; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Optional

from loader.cluster.objects import JsonObject, field, text

Numbers = tuple[int, ...]

_CEPH = re.compile(
    r"(?:ceph version )?"
    r"(?:v(?P<tag>[0-9]{1,4}(?:\.[0-9]{1,4}){0,2})|(?P<whole>[0-9]{1,4}(?:\.[0-9]{1,4}){2}))(?![0-9.])"
)


def ceph_numbers(said: str) -> Numbers:
    """Return the numbers of ``v15.2.4-20200630``, ``15.2.4-0`` or ``ceph version 15.2.4 (…)``; none where it has none.

    A tag such as ``v15`` has one: it says no more. Other people's images have numbers of their own, as ``5-499`` of
    ``rhceph-5-rhel8`` (Ceph 16): what is neither whole nor begins with a v is none of Ceph's.
    """
    match = _CEPH.match(said)
    return tuple(int(number) for number in (match["tag"] or match["whole"]).split(".")) if match else ()


def newest_running(cluster: Optional[JsonObject]) -> Numbers:
    """Return the newest version among a CephCluster's daemons, none where its status tells of none."""
    overall = field(cluster, "status", "ceph", "versions", "overall")
    counted = [ceph_numbers(str(name)) for name in overall] if isinstance(overall, Mapping) else []
    return max([*counted, ceph_numbers(text(cluster, "status", "version", "version"))])


def is_older(version: Numbers, than: Numbers) -> bool:
    """Tell whether ``version`` is older, as far as both say."""
    shared = min(len(version), len(than))
    return version[:shared] < than[:shared]


def dotted(version: Numbers) -> str:
    """Return ``15.2.4``."""
    return ".".join(str(number) for number in version)
