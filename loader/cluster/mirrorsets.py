"""Mirror objects: which kind a cluster takes, and our table joined with what our object already holds; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from loader.cluster.objects import MANAGED_BY, MANAGER, JsonObject, labels_of, objects_in, text
from loader.cluster.versions import Version, refuses_mixing
from loader.mirrors import NEVER_CONTACT

# Kind -> the list in its spec.
MIRROR_LISTS: Mapping[str, str] = {
    "ImageDigestMirrorSet": "imageDigestMirrors",
    "ImageContentSourcePolicy": "repositoryDigestMirrors",
    "ImageTagMirrorSet": "imageTagMirrors",
}
# Two spellings of one thing, the preferred first: ICSP is deprecated from OpenShift 4.13, where IDMS begins.
IDMS, ICSP = DIGEST_KINDS = ("ImageDigestMirrorSet", "ImageContentSourcePolicy")
ITMS = "ImageTagMirrorSet"
MODES = ("cluster", "manual", "none")


@dataclass(frozen=True)
class MirrorWay:
    """Who sets the mirrors (``cluster``, ``manual``, ``none``), and what may happen to an earlier bundle's object.

    ``migrate``: an ImageContentSourcePolicy of ours becomes an ImageDigestMirrorSet; ``prune``: entries that this
    bundle does not have go, which drains nodes.
    """

    mode: str = "cluster"
    migrate: bool = False
    prune: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise RuntimeError(f"no such mirror mode: {self.mode}")


@dataclass(frozen=True)
class DigestKind:
    """The kind that takes the digest mirrors, None where none is served; ``reason`` is against the others."""

    kind: Optional[str]
    reason: str
    old: Optional[JsonObject] = None
    """Our ImageContentSourcePolicy that this load empties."""


def choose_kind(
    name: str, served: Iterable[str], present: Iterable[JsonObject], version: Version, way: MirrorWay
) -> DigestKind:
    """Choose among the ``served`` digest kinds for our object ``name``; ``present`` are the cluster's mirror objects.

    The newer kind, unless an earlier bundle of ours uses the older one, or this version rolls out no mixture of both.
    """
    kinds = [kind for kind in DIGEST_KINDS if kind in set(served)]
    if len(kinds) < 2:
        return DigestKind(kinds[0] if kinds else None, f"{kinds[0]} alone is served" if kinds else "")
    there = [item for item in present if text(item, "kind") in DIGEST_KINDS]
    old = [item for item in there if text(item, "kind") == ICSP]
    ours = {text(item, "kind"): item for item in there if text(item, "metadata", "name") == name and is_ours(item)}
    used = {kind: item for kind, item in ours.items() if _entries(kind, item)}
    if old and refuses_mixing(version):
        return DigestKind(ICSP, f"{ICSP} is in use, and this version of OpenShift rolls out nothing with both kinds")
    if ICSP in used and IDMS not in used and not way.migrate:
        return DigestKind(ICSP, f"{ICSP} is in use by an earlier bundle, and --migrate-icsp was not given")
    return DigestKind(IDMS, f"{IDMS} is served and preferred", used.get(ICSP) if way.migrate else None)


def converted(icsp: JsonObject, idms: JsonObject) -> dict[str, Any]:
    """Return ``idms`` with the mirrors that only ``icsp`` has: the same, written another way."""
    entries = _added(_entries(IDMS, idms), _entries(ICSP, icsp))
    return {**idms, "spec": {**idms["spec"], MIRROR_LISTS[IDMS]: entries}}


def emptied(icsp: JsonObject) -> dict[str, Any]:
    """Return ``icsp`` without entries: it says nothing any more, and its name stays ours for a way back."""
    return {**icsp, "spec": {MIRROR_LISTS[ICSP]: []}}


def never_contacts(item: JsonObject) -> bool:
    """Tell whether a mirror object says NeverContactSource, which an ImageContentSourcePolicy cannot."""
    kind = text(item, "kind")
    return any(text(entry, "mirrorSourcePolicy") == NEVER_CONTACT for entry in _entries(kind, item))


def is_ours(item: JsonObject) -> bool:
    """Tell whether this loader made ``item``: only then may it be changed."""
    return labels_of(item).get(MANAGED_BY) == MANAGER


def labelled(item: JsonObject) -> dict[str, Any]:
    """Return ``item`` with the label that says who made it."""
    metadata = dict(item["metadata"])
    metadata["labels"] = {**labels_of(item), MANAGED_BY: MANAGER}
    return {**item, "metadata": metadata}


def joined(kind: str, current: JsonObject, desired: JsonObject, *, exact: bool = False) -> list[Any]:
    """Return the spec list of ``desired`` plus what only ``current`` has, sorted by source.

    Of a source both have, our mirrors come first. Nothing is dropped: what earlier bundles brought may be in their
    mirrors alone, and what leaves registries.conf drains every node (machine-config-operator,
    isSafeContainerRegistryConfChanges). So removing is a decision of its own: ``exact``.
    """
    ours, held = _entries(kind, desired), _entries(kind, current)
    result = ours if exact else _added(ours, held)
    # The API server keeps the order; an order of its own would be a change without meaning.
    return held if _as_set(held) == _as_set(result) else sorted(result, key=_source)


def _added(ours: Sequence[Mapping[str, Any]], held: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return ``ours``, each with the mirrors behind its own that its source has in ``held``, and the other sources."""
    result: dict[str, Any] = {_source(entry): dict(entry) for entry in ours}
    for entry in held:
        mine = result.setdefault(_source(entry), dict(entry))
        mine["mirrors"] = [*dict.fromkeys([*(mine.get("mirrors") or ()), *(entry.get("mirrors") or ())])]
    return list(result.values())


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
