"""Mirror objects: which kind a cluster takes, and our table joined with what our object already holds; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loader.cluster.objects import MANAGED_BY, MANAGER, JsonObject, labels_of, objects_in

# Kind -> the list in its spec.
MIRROR_LISTS: Mapping[str, str] = {
    "ImageDigestMirrorSet": "imageDigestMirrors",
    "ImageContentSourcePolicy": "repositoryDigestMirrors",
    "ImageTagMirrorSet": "imageTagMirrors",
}
# Two spellings of one thing, the preferred first: ICSP is deprecated from OpenShift 4.13, where IDMS begins.
DIGEST_KINDS = ("ImageDigestMirrorSet", "ImageContentSourcePolicy")


def is_ours(item: JsonObject) -> bool:
    """Tell whether this loader made ``item``: only then may it be changed."""
    return labels_of(item).get(MANAGED_BY) == MANAGER


def labelled(item: JsonObject) -> dict[str, Any]:
    """Return ``item`` with the label that says who made it."""
    metadata = dict(item["metadata"])
    metadata["labels"] = {**labels_of(item), MANAGED_BY: MANAGER}
    return {**item, "metadata": metadata}


def joined(kind: str, current: JsonObject, desired: JsonObject) -> list[Any]:
    """Return the spec list of ``desired`` plus the entries only ``current`` has, sorted by source.

    Ours win for a source both have. Nothing is dropped: a source that leaves registries.conf drains every node
    (machine-config-operator, isSafeContainerRegistryConfChanges), so removing is a decision of its own.
    """
    ours = _entries(kind, desired)
    sources = {_source(entry) for entry in ours}
    kept = [entry for entry in _entries(kind, current) if _source(entry) not in sources]
    held = _entries(kind, current)
    result = [*ours, *kept]
    # The API server keeps the order; an order of its own would be a change without meaning.
    return held if _as_set(held) == _as_set(result) else sorted(result, key=_source)


def _entries(kind: str, item: JsonObject) -> list[Any]:
    return list(objects_in(item, "spec", MIRROR_LISTS[kind]))


def _source(entry: Mapping[str, Any]) -> str:
    return str(entry.get("source", ""))


def _as_set(entries: list[Any]) -> set[tuple[str, tuple[str, ...], str]]:
    return {
        (
            _source(entry),
            tuple(str(mirror) for mirror in entry.get("mirrors") or ()),
            str(entry.get("mirrorSourcePolicy") or "AllowContactingSource"),
        )
        for entry in entries
    }
