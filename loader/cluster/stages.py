"""A plan cut where something has to be waited for; pure.

The order within Rook (docs/decisions/0007): operator and CSI images are changed back to back, and only then waited
for. The operator's Deployment is ``Recreate``: the old one ends, and the new one starts on the new CSI images. From
v1.20 the CSI images come after the operator, because a v1.19 operator writes its own once more just before it ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loader.cluster.authoritywait import AuthorityWait
from loader.cluster.cephwait import CephWait
from loader.cluster.csiwait import CsiWait, ImageSetWait, roles_of
from loader.cluster.mirrorsets import ITMS
from loader.cluster.objects import field, objects_in, text
from loader.cluster.plan import Change
from loader.cluster.poolwait import PoolWait, table_of
from loader.cluster.rollout import RolloutWait
from loader.cluster.waits import Wait
from loader.cluster.watchers import Trace
from loader.cluster.wishes import Wish

# What the operator's roll-out does not have to be waited for first.
TOGETHER = frozenset({("Deployment", "ceph-csi-controller-manager"), ("ConfigMap", "rook-ceph-operator-config")})


@dataclass(frozen=True)
class Stage:
    """Changes made one after the other, and what is waited for before the next stage."""

    changes: tuple[Change, ...]
    waits: tuple[Wait, ...]


def stages(changes: Sequence[Change], rook: str = "") -> tuple[Stage, ...]:
    """Cut ``changes``, which are in the order they are made; ``rook`` is the version that Rook's daemons get."""
    groups = [tuple(group) for _, group in itertools.groupby(changes, lambda c: (c.document, c.kind == "Driver"))]
    result: list[Stage] = []
    waits_of = _Waits(rook)
    for number, group in enumerate(groups):
        poked = number + 1 < len(groups) and groups[number + 1][0].kind == "Driver"
        if group[0].kind == "Driver":
            # The csi-operator acts on these; what it shall reach stands in the document's other change.
            waits = tuple(wait for change in groups[number - 1] for wait in waits_of.after(change)) if number else ()
        else:
            waits = tuple(wait for change in group for wait in waits_of.after(change, poked=poked))
        if result and _goes_with(group, result[-1]):
            before = result.pop()
            result.append(Stage((*before.changes, *group), (*before.waits, *waits)))
        else:
            result.append(Stage(group, waits))
    return tuple(result)


def _goes_with(group: tuple[Change, ...], before: Stage) -> bool:
    if not before.waits:
        return True
    if group[0].phase == before.changes[-1].phase == "mirrors":
        return True  # within the few seconds that the machine-config operator waits: one roll-out, not one for each
    rolls = all(isinstance(wait, RolloutWait) for wait in before.waits)
    return rolls and all((change.kind, change.name) in TOGETHER for change in group)


class _Waits:
    """Tells what to wait for after a change; all waits of one load share what they learn of the cluster."""

    def __init__(self, rook: str) -> None:
        self._rook = rook
        self._trace = Trace()

    def after(self, change: Change, *, poked: bool = False) -> list[Wait]:
        """Return the waits; with ``poked`` only for what must be there before the csi-operator is."""
        wish = change.wish
        if wish is None or wish.document.wait is None:
            return []
        if wish.document.phase == "mirrors":
            return [_of_nodes(wish, change)]
        path, made = wish.document.path, change.before is None
        if wish.document.wait == "rollout":
            return [RolloutWait(path, wish.key, _images(wish.body), made=made, trace=self._trace)]
        if wish.document.wait == "ceph":
            image = text(wish.body, "spec", "cephVersion", "image")
            return [CephWait(path, wish.key, image, rook=self._rook, made=made, trace=self._trace)]
        images, namespace = _roles(wish.body.get("data")), wish.key.namespace or ""
        return [(ImageSetWait if poked else CsiWait)(path, namespace, images)]


def _of_nodes(wish: Wish, change: Change) -> Wait:
    path = wish.document.path
    if wish.document.wait == "authority":
        return AuthorityWait(path, wish.body["data"])
    if wish.method == "login":
        return PoolWait(path, {}, logins=wish.body)
    now, former = (table_of(wish.key.kind, state) for state in (change.after, change.before))
    return PoolWait(path, now, former, tags=wish.key.kind == ITMS)


def _roles(data: object) -> dict[str, str]:
    return roles_of(data) if isinstance(data, Mapping) else {}


def _images(body: Mapping[str, Any]) -> dict[str, str]:
    containers = objects_in(field(body, "spec", "template", "spec"), "containers")
    return {text(container, "name"): text(container, "image") for container in containers}
