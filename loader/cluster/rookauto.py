"""Names that a bundle leaves open, found in the cluster: where Rook's operator is, which CephCluster there is.

A patch of phase ``rook`` whose target has no namespace is for the operator's (Deployment labelled
``app=rook-ceph-operator``), of CephCluster and toolbox for the CephCluster's; the name ``auto`` is for the only
CephCluster. The signed body never changes (docs/decisions/0008).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

from loader.bundle.errors import ClusterError
from loader.bundle.manifest import Document, Target
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import objects_in, text
from loader.cluster.wishes import Pair

AUTO = "auto"
OPERATORS = "/apis/apps/v1/deployments?labelSelector=app%3Drook-ceph-operator"
CLUSTERS = "/apis/ceph.rook.io/v1/cephclusters"

Place = tuple[str, str]


def named(kubectl: Kubectl, documents: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return ``documents`` with every open name filled in; nothing is read where none is open.

    Raises ``ClusterError`` where a name is open and the cluster has none or several that fit.
    """
    pairs = tuple(documents)
    if not any(is_open(document) for document, _ in pairs):
        return pairs
    finder = _Finder(kubectl)
    return tuple((_named(document, finder) if is_open(document) else document, parsed) for document, parsed in pairs)


def is_open(document: Document) -> bool:
    """Tell whether the target of ``document`` is to be found."""
    target = document.target
    return document.phase == "rook" and target is not None and (target.namespace is None or _any_cluster(target))


def of_cluster(target: Target) -> bool:
    """Tell whether ``target`` lives with the CephCluster, not with the operator."""
    return target.kind == "CephCluster" or (target.kind, target.name) == ("Deployment", "rook-ceph-tools")


def _any_cluster(target: Target) -> bool:
    return target.kind == "CephCluster" and target.name == AUTO


def _named(document: Document, finder: _Finder) -> Document:
    target = document.target
    if target is None:
        raise RuntimeError(f"{document.path} has no target")
    if not of_cluster(target):
        return _placed(document, target, finder.operator()[0], target.name)
    namespace, name = finder.cluster(target)
    return _placed(document, target, namespace, name if _any_cluster(target) else target.name)


def _placed(document: Document, target: Target, namespace: str, name: str) -> Document:
    return dataclasses.replace(document, target=dataclasses.replace(target, namespace=namespace, name=name))


class _Finder:
    """Looks once for each."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._seen: dict[str, tuple[Place, ...]] = {}

    def operator(self) -> Place:
        return _only(self._places(OPERATORS), "Rook operator", lambda place: True, "rook.operatorNamespace")

    def cluster(self, target: Target) -> Place:
        def fits(place: Place) -> bool:
            here = target.namespace in {None, place[0]}
            return here and (target.kind != "CephCluster" or target.name in {AUTO, place[1]})

        return _only(self._places(CLUSTERS), "CephCluster", fits, "rook.clusterNamespace and rook.cephCluster")

    def _places(self, path: str) -> tuple[Place, ...]:
        if path not in self._seen:
            items = objects_in(self._kubectl.get_raw(path), "items")
            self._seen[path] = tuple(sorted(_place(item) for item in items))
        return self._seen[path]


def _place(item: Mapping[str, Any]) -> Place:
    return text(item, "metadata", "namespace"), text(item, "metadata", "name")


def _only(places: Iterable[Place], what: str, fits: Callable[[Place], bool], fields: str) -> Place:
    found: list[Place] = [place for place in places if fits(place)]
    first: Optional[Place] = found[0] if len(found) == 1 else None
    if first is None:
        names = ", ".join("/".join(place) for place in found)
        raise ClusterError(
            f"the bundle leaves open which {what} it is for, and the cluster has {len(found) or 'none'}",
            why=names or f"no {what} that fits is on this cluster",
            hint=f"name it in the bundle's config ({fields}), or leave Rook out: --only mirrors",
        )
    return first
