"""The story up to the first write: look at the cluster, read, plan, ask for permission, let the server preview."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from loader.cluster.apply import read_current
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, key_of, resource_version
from loader.cluster.permissions import check_permissions
from loader.cluster.plan import Change, Plan, make_plan, with_preview
from loader.cluster.survey import Survey, survey
from loader.cluster.wishes import Pair, group_versions, keys_to_read, rook_namespaces


def prepare(kubectl: Kubectl, documents: Iterable[Pair], *, mirrors: str = "cluster") -> tuple[Survey, Plan]:
    """Return what the cluster is and what would change, writing nothing.

    Blockers are in ``plan.findings``; a missing permission, an ownership conflict and an unreachable server are
    ``ClusterError``, a document that does not fit its entry is ``FormatError``.
    """
    pairs = tuple(documents)
    found = survey(kubectl, group_versions(pairs), rook_namespaces(pairs))
    current = read_current(kubectl, keys_to_read(pairs, found))
    plan = make_plan(pairs, found, current, mirrors=mirrors)
    check_permissions(kubectl, plan.changes, found)
    return found, preview(kubectl, plan, current)


def preview(kubectl: Kubectl, plan: Plan, current: Mapping[Key, JsonObject]) -> Plan:
    """Return ``plan`` with the API server's own word on every object that is there and would be applied.

    One dry run per document. Only the server knows its defaults, other spellings of a value, and which fields of an
    earlier version of the same document fall away.
    """
    previewed: dict[Key, JsonObject] = {}
    for document in dict.fromkeys(change.document for change in plan.changes):
        wishes = [c.wish for c in plan.changes if c.document == document and _known(c, current) and c.wish]
        if wishes:
            versions = [resource_version(current[wish.key]) for wish in wishes]
            bodies = [wish.body for wish in wishes]
            answers = kubectl.apply(bodies, versions, f"{document} (dry run)", dry_run=True)
            previewed.update({key_of(item, f"an answer to {document}"): item for item in answers})
    return dataclasses.replace(plan, changes=tuple(_refined(c, current, previewed) for c in plan.changes))


def _known(change: Change, current: Mapping[Key, JsonObject]) -> bool:
    return change.patch_type == "apply" and change.wish is not None and change.wish.key in current


def _refined(change: Change, current: Mapping[Key, JsonObject], previewed: Mapping[Key, JsonObject]) -> Change:
    if not _known(change, current) or change.wish is None or change.wish.key not in previewed:
        return change
    return with_preview(change, current[change.wish.key], previewed[change.wish.key])
