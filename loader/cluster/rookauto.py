"""Names that a bundle leaves open, found in the cluster: where Rook's operator is, which CephCluster there is.

A patch of phase ``rook`` whose target has no namespace is for the operator's (Deployment labelled
``app=rook-ceph-operator``), of CephCluster and toolbox for the CephCluster's; the name ``auto`` is for the only
CephCluster. Whoever runs the load may name another CephCluster. The signed body never changes (docs/decisions/0008).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

from loader.bundle.errors import ClusterError, ConfigError
from loader.bundle.manifest import AUTO, Document, Target
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import objects_in, text
from loader.cluster.wishes import Pair

# RFC 1123, as the API server has it for namespaces; a CephCluster's name may have dots.
_LABEL = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
OPERATOR, TOOLBOX = "rook-ceph-operator", "rook-ceph-tools"
OPERATORS = "/apis/apps/v1/deployments?labelSelector=app%3Drook-ceph-operator"
CLUSTERS = "/apis/ceph.rook.io/v1/cephclusters"

Place = tuple[str, str]


def named(kubectl: Kubectl, documents: Iterable[Pair], chosen: Optional[Place] = None) -> tuple[Pair, ...]:
    """Return ``documents`` with every open name filled in; nothing is read where none is open.

    ``chosen`` is the namespace and name of the CephCluster, whatever the bundle says. Raises
    ``ClusterError`` where a name is open and the cluster has none or several that fit.
    """
    pairs = tuple((at_place(document, chosen), parsed) for document, parsed in documents)
    if not any(is_open(document) for document, _ in pairs):
        return pairs
    finder = _Finder(kubectl, chosen)
    return tuple((_named(document, finder) if is_open(document) else document, parsed) for document, parsed in pairs)


def is_open(document: Document) -> bool:
    """Tell whether the target of ``document`` is to be found."""
    target = document.target
    return document.phase == "rook" and target is not None and (target.namespace is None or _any_cluster(target))


def parse_place(said: str, option: str) -> Place:
    """Return the namespace and name of ``NS/NAME``; ``ConfigError`` names ``option`` where it is neither."""
    namespace, slash, name = said.partition("/")
    if not slash or not all(_LABEL.fullmatch(part) for part in (namespace, name)):
        raise ConfigError(
            f"{option} {said[:80]!a} is not NS/NAME",
            why="a namespace and a name, with one slash between",
            hint="oc get cephclusters -A shows both",
        )
    return namespace, name


def of_cluster(target: Target) -> bool:
    """Tell whether ``target`` lives with the CephCluster, not with the operator."""
    return target.kind == "CephCluster" or (target.kind, target.name) == ("Deployment", TOOLBOX)


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


def at_place(document: Document, chosen: Optional[Place]) -> Document:
    """Return ``document`` for the CephCluster ``chosen``, if one was chosen and it is for a CephCluster."""
    target = document.target
    if chosen is None or document.phase != "rook" or target is None or not of_cluster(target):
        return document
    return _placed(document, target, chosen[0], chosen[1] if target.kind == "CephCluster" else target.name)


class _Finder:
    """Looks once for each."""

    def __init__(self, kubectl: Kubectl, chosen: Optional[Place]) -> None:
        self._kubectl = kubectl
        self._chosen = chosen
        self._seen: dict[str, tuple[Place, ...]] = {}

    def operator(self) -> Place:
        places = self._places(OPERATORS)
        # Of several operators the one beside the CephCluster that was chosen.
        beside = [place for place in places if self._chosen is not None and place[0] == self._chosen[0]]
        return _only(beside or places, "Rook operator", lambda place: True, "rook.operatorNamespace")

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
            hint=f"name it: --ceph-cluster NS/NAME, or the config's {fields}; or leave Rook out: --only mirrors",
        )
    return first
