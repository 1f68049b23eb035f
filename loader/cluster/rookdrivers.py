"""The csi-operator's poke: it does not watch the ConfigMap its images are in, only its Driver objects.

Source: ceph/ceph-csi-operator ``internal/controller`` at v0.1.0 to v1.0.4: any update of a Driver counts, an
annotation too; Rook v1.18 and v1.19 keep it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping

from loader.cluster.objects import POKE, JsonObject, Key, field, text
from loader.cluster.plan import Change, Plan, decide
from loader.cluster.survey import Survey
from loader.cluster.wishes import Pair, Wish

DRIVERS_PLACE = ("csi.ceph.io", "drivers")
DRIVERS = ".".join(reversed(DRIVERS_PLACE))
GROUP_VERSIONS = ("csi.ceph.io/v1", "csi.ceph.io/v1alpha1")


def driver_versions(documents: Iterable[Pair]) -> tuple[str, ...]:
    """Return the group-versions to look for Drivers in: none where no document changes CSI images."""
    return GROUP_VERSIONS if any(document.wait == "csi" for document, _ in documents) else ()


def driver_kinds(documents: Iterable[Pair], found: Survey) -> tuple[tuple[str, str], ...]:
    """Return the kind to list, by the first of the group-versions that is served; none where it is not needed."""
    served = (api for api in driver_versions(documents) if found.resource(api, "Driver"))
    return tuple((api, "Driver") for api in itertools.islice(served, 1))


def with_pokes(plan: Plan, drivers: Iterable[JsonObject]) -> Plan:
    """Return ``plan`` with each Driver annotated right after the change of the images it is to take; pure.

    The annotation is a hash of the images: a second run changes nothing.
    """
    present = tuple(drivers)
    changes: list[Change] = []
    for change in plan.changes:
        changes.append(change)
        if _is_csi(change):
            changes += [
                _poke(change, item) for item in present if text(item, "metadata", "namespace") == change.namespace
            ]
    return dataclasses.replace(plan, changes=tuple(changes))


def _poke(change: Change, driver: JsonObject) -> Change:
    if change.wish is None:
        raise RuntimeError(f"{change} has no wish")
    key = Key(text(driver, "apiVersion"), "Driver", change.namespace, text(driver, "metadata", "name"))
    body = {"metadata": {"annotations": {POKE: _hash(change.wish.body)}}}
    return decide(Wish(change.wish.document, key, "merge", body), driver)[0]


def _hash(body: Mapping[str, object]) -> str:
    data = json.dumps(field(body, "data"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(data.encode()).hexdigest()[:16]


def _is_csi(change: Change) -> bool:
    return change.wish is not None and change.wish.document.wait == "csi" and change.kind == "ConfigMap"
