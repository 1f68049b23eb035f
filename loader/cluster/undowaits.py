"""What to wait for while objects are put back; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Optional

from loader.cluster.authoritywait import AuthorityWait
from loader.cluster.cephwait import CephWait
from loader.cluster.csiwait import CsiWait, roles_of
from loader.cluster.imageconfig import AUTHORITY
from loader.cluster.mirrorsets import ITMS, MIRROR_LISTS
from loader.cluster.nodeside import PULL_SECRET, auths_in
from loader.cluster.objects import field, text
from loader.cluster.poolwait import PoolWait, table_of
from loader.cluster.restore import Step
from loader.cluster.rollout import RolloutWait, images_of
from loader.cluster.undo import Undo
from loader.cluster.waits import Wait


def waits_after(done: Sequence[Step], coming: Sequence[Step]) -> tuple[Wait, ...]:
    """Return what to wait for after the last of ``done``.

    CSI images and operator go back one right after the other, as they came: they are waited for together. So is all
    that nodes get, in one roll-out.
    """
    if not done or (coming and _together(done[-1], coming[0])):
        return ()
    block = [done[-1]]
    for step in reversed(done[:-1]):
        if not _together(step, block[-1]):
            break
        block.append(step)
    return tuple(wait for step in block if step.writes or step.again for wait in [_wait(step)] if wait is not None)


def needs_restart(steps: Sequence[Step]) -> bool:
    """Tell whether the operator's ConfigMap loses keys while the operator itself goes on.

    From v1.15.9 and v1.16.5 Rook copies the keys to its environment and never takes one out again.
    """
    writes = [step for step in steps if step.writes]
    restarts = any(step.undo.key.name == "rook-ceph-operator" for step in writes)
    lost = [
        step for step in writes if step.undo.of_rook and step.undo.key.kind == "ConfigMap" and _loses_keys(step.body)
    ]
    return bool(lost) and not restarts


def _loses_keys(body: object) -> bool:
    data = field(body, "data")
    return isinstance(data, dict) and None in data.values()


def _together(one: Step, next_one: Step) -> bool:
    return (_is_rook(one) and _is_rook(next_one)) or (one.undo.of_mirrors and next_one.undo.of_mirrors)


def _is_rook(step: Step) -> bool:
    return step.undo.of_rook and step.undo.key.kind in {"Deployment", "ConfigMap", "Driver"}


def _wait(step: Step) -> Optional[Wait]:
    undo, document = step.undo, step.undo.documents[-1]
    if undo.of_mirrors:
        return _of_nodes(undo, document)
    if not undo.of_rook or undo.before is None:
        return None
    if undo.key.kind == "CephCluster":
        return CephWait(document, undo.key, text(undo.before, "spec", "cephVersion", "image"))
    if undo.key.kind == "Deployment":
        return RolloutWait(document, undo.key, images_of(undo.before))
    images = roles_of(field(undo.before, "data") or {})
    return CsiWait(document, undo.key.namespace or "", images) if undo.key.kind == "ConfigMap" and images else None


def _of_nodes(undo: Undo, document: str) -> Optional[Wait]:
    if undo.key.kind in MIRROR_LISTS:
        again, former = (table_of(undo.key.kind, state) for state in (undo.before, undo.after))
        return PoolWait(document, again, former, tags=undo.key.kind == ITMS)
    if undo.key == PULL_SECRET:
        return PoolWait(document, {}, logins=_put_back(auths_in(undo.before), auths_in(undo.after)))
    if document == AUTHORITY and undo.key.kind == "ConfigMap":
        changed = _put_back(field(undo.before, "data"), field(undo.after, "data"))
        return AuthorityWait(document, {entry: None for entry, pem in changed.items() if pem is None})
    return None


def _put_back(before: Optional[Mapping[str, object]], after: Optional[Mapping[str, object]]) -> dict[str, object]:
    """Return what ``before`` has where ``after`` has something else; None for what was not there."""
    old, new = before or {}, after or {}
    return {name: old.get(name) for name in {*old, *new} if old.get(name) != new.get(name)}
