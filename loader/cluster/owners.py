"""Who owns Rook's objects beside us: Helm, or an operator of OLM that puts every patch back; pure.

A patch of either's object would hold until its owner looks again, so it is not made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from loader.cluster.failures import printable
from loader.cluster.finding import Finding
from loader.cluster.objects import MANAGED_BY, JsonObject, Key, field, labels_of, objects_in, text
from loader.cluster.rollout import images_of
from loader.cluster.rookrange import parse_version

_RELEASE = "meta.helm.sh/release-"
_CHART = re.compile(r"([a-z-]+)-(v[0-9].*)")
# What ODF's operators make of a StorageCluster, they make again.
_CATALOG = frozenset({"ClusterServiceVersion", "StorageCluster", "OCSInitialization"})
_OF_CLUSTER = frozenset({"CephCluster", "rook-ceph-tools"})


@dataclass(frozen=True)
class Release:
    """A Helm release, the chart it is of, that chart's version (empty: not to be seen) and the object it owns."""

    name: str
    namespace: str
    chart: str
    version: str
    owned: str


def release_of(key: Key, present: Optional[JsonObject]) -> Optional[Release]:
    """Return the Helm release that ``present`` belongs to, None where it belongs to none."""
    if present is None:
        return None
    name = text(present, "metadata", "annotations", f"{_RELEASE}name")
    if not name and labels_of(present).get(MANAGED_BY) != "Helm":
        return None
    chart = "rook-ceph-cluster" if key.kind in _OF_CLUSTER or key.name in _OF_CLUSTER else "rook-ceph"
    namespace = text(present, "metadata", "annotations", f"{_RELEASE}namespace") or key.namespace or ""
    match = _CHART.fullmatch(labels_of(present).get("helm.sh/chart", ""))
    version = match[2] if match and match[1] == chart else ""
    return Release(printable(name or chart), printable(namespace), chart, printable(version), str(key))


def catalog_of(present: Optional[JsonObject]) -> str:
    """Return the OLM or ODF object that owns ``present`` as ``Kind/name``, an empty string where there is none."""
    for owner in objects_in(present, "metadata", "ownerReferences"):
        if text(owner, "kind") in _CATALOG:
            return printable(f"{text(owner, 'kind')}/{text(owner, 'name')}")
    return ""


class RookOwners:
    """Decides which changes of Rook are left to someone else; ``releases`` and ``findings`` are what that leads to."""

    def __init__(self, current: Mapping[Key, JsonObject]) -> None:
        is_operator = ("Deployment", "rook-ceph-operator")
        found = [(key, item) for key, item in current.items() if (key.kind, key.name) == is_operator]
        self._operator = found[0] if len(found) == 1 else None
        self.releases: list[Release] = []
        self.findings: list[Finding] = []

    @property
    def operator_version(self) -> str:
        """The version in the operator's tag; empty where it has none. Before any daemon runs nothing else tells."""
        if self._operator is None:
            return ""
        tag = images_of(self._operator[1]).get("rook-ceph-operator", "").rpartition("/")[2].partition(":")[2]
        return tag if parse_version(tag) else ""

    def reason_against(self, key: Key, present: Optional[JsonObject], body: JsonObject) -> str:
        """Return why the change ``body`` of ``key`` is not made here, an empty string where it may be."""
        catalog = self._catalog(key, present)
        if catalog:
            return f"{catalog} owns it"
        release = release_of(key, present)
        if present is None and key.kind == "ConfigMap" and self._operator is not None:
            # Charts up to Rook v1.8.2 make none: their operator has the images in its environment.
            release = release_of(*self._operator)
            if release is not None and _in_environment(self._operator[1], body):
                return f"Helm's release {release.name} has it in the operator's environment"
        if release is not None:
            known = {(each.name, each.namespace) for each in self.releases}
            if (release.name, release.namespace) not in known:
                self.releases.append(release)
            return f"Helm's release {release.name} owns it"
        return "after helm upgrade" if self.releases else ""

    def _catalog(self, key: Key, present: Optional[JsonObject]) -> str:
        owned = [(key, present), *([self._operator] if self._operator else [])]
        for place, item in owned:
            owner = catalog_of(item)
            if owner and not self.findings:
                text_ = f"{place} belongs to {owner}, and OLM puts every patch back: Rook is not patched"
                hint = "ODF is updated by its catalog: `load --only mirrors`"
                self.findings.append(Finding("blocker", text_, hint))
            if owner:
                return owner
        return ""


def _in_environment(operator: JsonObject, body: JsonObject) -> bool:
    containers = objects_in(field(operator, "spec", "template", "spec"), "containers")
    has = {text(item, "name"): text(item, "value") for each in containers for item in objects_in(each, "env")}
    wanted = field(body, "data")
    return isinstance(wanted, Mapping) and all(has.get(name) == value for name, value in wanted.items())
