"""What nodes and Rook will do when objects are put back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loader.cluster.csiwait import workload_keys
from loader.cluster.finding import Finding
from loader.cluster.kubectl import Kubectl
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.nodeeffect import PoolEffect
from loader.cluster.nodeside import PULL_SECRET, read_nodes
from loader.cluster.objects import JsonObject, Key
from loader.cluster.patches import merge_patch
from loader.cluster.prediction import predict, unread_findings
from loader.cluster.restore import Step
from loader.cluster.rookeffect import RookEffect, Turn, rook_effects
from loader.cluster.survey import Survey


def nodes_after(
    kubectl: Kubectl, found: Survey, steps: Sequence[Step], present: Mapping[Key, JsonObject]
) -> tuple[tuple[PoolEffect, ...], tuple[Finding, ...]]:
    """Return the effect of ``steps`` per pool, and what makes it unsure; nothing is read where no node is concerned."""
    concerned = [step for step in steps if step.writes and _reaches_nodes(step.undo.key)]
    if not concerned:
        return (), ()
    deleted = [step.undo.key for step in concerned if step.action == "delete"]
    kept = [step for step in concerned if step.action != "delete"]
    after = [merge_patch(present.get(step.undo.key), step.body or {}) for step in kept]
    named = [{**step.undo.key.stub(), **item} for step, item in zip(kept, after)]
    login = any(step.undo.key == PULL_SECRET for step in concerned)
    side = read_nodes(kubectl, found)
    prediction = predict(side, named, removed=deleted, new_login=login)
    return prediction.pools, (*unread_findings(side), *prediction.findings)


def rook_after(
    kubectl: Kubectl, steps: Sequence[Step], present: Mapping[Key, JsonObject], tags: Mapping[str, str]
) -> tuple[RookEffect, ...]:
    """Return what Rook does with the images put back; its CSI workloads are read where theirs are among them.

    ``tags`` are the tags of known digests.
    """
    concerned = [step for step in steps if step.action == "restore" and step.undo.of_rook]
    turns = [
        Turn(step.undo.key, present.get(step.undo.key), merge_patch(present.get(step.undo.key), step.body or {}))
        for step in concerned
    ]
    namespaces = [turn.key.namespace for turn in turns if turn.key.kind == "ConfigMap" and turn.key.namespace]
    keys = [key for namespace in dict.fromkeys(namespaces) for key in workload_keys(namespace)]
    return rook_effects(turns, kubectl.get_all(keys) if keys else (), tags, 0)


def _reaches_nodes(key: Key) -> bool:
    return key.kind in MIRROR_LISTS or key == PULL_SECRET
