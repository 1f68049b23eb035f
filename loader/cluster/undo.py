"""A report turned into what puts a cluster back: which objects, in which order, and what must stay; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Optional

from loader.bundle.errors import FormatError, TrustError
from loader.cluster.cephversion import ceph_numbers, dotted
from loader.cluster.csiwait import IMAGE_SET, ROLES
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.objects import MANAGED_BY, POKE, JsonObject, Key, field, key_of, labels_of, text
from loader.cluster.revert import changed_paths

MIRRORS, ROOK, MANIFESTS = "documents/mirrors/", "documents/rook/", "documents/manifests/"
# What no document but an option asks for: the registry's CA and login on the nodes.
_ON_REQUEST: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("--cluster-ca", "ConfigMap"): ("data",),
    ("--cluster-ca", "Image"): ("spec", "additionalTrustedCA"),
    ("--cluster-auth", "Secret"): ("data", ".dockerconfigjson"),
}
_NODES_CONFIG = "openshift-config"
_DEPLOYMENTS = frozenset({"rook-ceph-operator", "ceph-csi-controller-manager", "rook-ceph-tools"})
_CONFIG_MAPS: Mapping[str, frozenset[str]] = {
    "rook-ceph-operator-config": frozenset(ROLES),
    IMAGE_SET: frozenset(ROLES.values()),
}
_LABEL = ("metadata", "labels", MANAGED_BY)
_CUSTOM: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "CephCluster": (("spec", "cephVersion", "image"),),
    "Driver": (("metadata", "annotations", POKE),),
}


@dataclass(frozen=True)
class Written:
    """One write of a load, as its report has it."""

    document: str
    key: Key
    before: Optional[dict[str, Any]]
    after: Optional[dict[str, Any]]
    uid: Optional[str]
    ceph_version: Optional[str]


@dataclass(frozen=True)
class Undo:
    """One object to put back: what it was before the first write to it (None: not there) and after the last one."""

    key: Key
    documents: tuple[str, ...]
    before: Optional[dict[str, Any]]
    after: dict[str, Any]
    uid: Optional[str]
    ceph_version: Optional[str]

    @property
    def of_mirrors(self) -> bool:
        """Tell whether this is a mirror object, or what nodes need to use the mirrors."""
        return self.documents[0].startswith((MIRRORS, "--cluster-"))

    @property
    def of_rook(self) -> bool:
        """Tell whether one of the bundle's Rook documents changed it."""
        return any(document.startswith(ROOK) for document in self.documents)


def undos(written: Sequence[Written]) -> tuple[Undo, ...]:
    """Return the objects in the order to put them back: the last written first.

    Raises ``TrustError`` for a write that no document of ours makes. Drivers follow the images they are to take.
    """
    found: dict[Key, Undo] = {}
    for write in written:
        check_ours(write)
        earlier = found.get(write.key)
        if earlier is None:
            found[write.key] = Undo(
                write.key, (write.document,), write.before, write.after or {}, write.uid, write.ceph_version
            )
        else:
            documents = (*earlier.documents, write.document)
            found[write.key] = replace(earlier, documents=documents, after=write.after or {})
    ordered = list(reversed(found.values()))
    drivers = [undo for undo in ordered if undo.key.kind == "Driver"]
    rest = [undo for undo in ordered if undo.key.kind != "Driver"]
    place = max((number for number, undo in enumerate(rest, 1) if undo.key.name in _CONFIG_MAPS), default=0)
    return (*rest[:place], *drivers, *rest[place:])


def check_ours(write: Written) -> None:
    """Raise ``TrustError`` unless a document of ours can have made ``write``.

    A manifest may hold any object; what the builder renders itself has few kinds and fewer fields.
    """
    for state in (write.before, write.after):
        if state is not None and _key_of(write, state) != write.key:
            raise _foreign(write, "its states are of another object")
    if write.after is None:
        raise _foreign(write, "it does not say what was written")
    if re.fullmatch(rf"{MANIFESTS}[A-Za-z0-9._-]+", write.document):
        return
    rule = _allowed(write)
    if rule is None or (write.before is None and write.key.kind not in {*MIRROR_LISTS, "ConfigMap"}):
        raise _foreign(write, "no document of a bundle does this")
    stub = write.key.stub() if write.before is None else write.before
    odd = [path for path in changed_paths(stub, write.after) if not any(_fits(path, one) for one in rule)]
    if odd:
        raise _foreign(write, f"no document of a bundle changes {'.'.join(odd[0])}")


def _key_of(write: Written, state: dict[str, Any]) -> Key:
    try:
        return key_of({**state}, "a state of the report")
    except FormatError as error:
        raise _foreign(write, f"{error.message}: {error.why}") from error


def _allowed(write: Written) -> Optional[tuple[tuple[str, ...], ...]]:
    """Return the paths that the builder's documents for this object may change; None where they change no such."""
    key, folder = write.key, write.document
    if folder.startswith(MIRRORS) and key.kind in MIRROR_LISTS and key.namespace is None:
        return (("spec", MIRROR_LISTS[key.kind]), _LABEL)
    if not folder.startswith(ROOK):
        rule = _ON_REQUEST.get((folder, key.kind)) if key.namespace in {_NODES_CONFIG, None} else None
        return None if rule is None else (rule, _LABEL)
    if key.kind == "ConfigMap" and key.name in _CONFIG_MAPS:
        return (*(("data", name) for name in sorted(_CONFIG_MAPS[key.name])), _LABEL)
    if key.kind == "Deployment" and key.name in _DEPLOYMENTS:
        return (("spec", "template", "spec", "containers", "*", "image"),)
    return _CUSTOM.get(key.kind)


def _fits(path: tuple[str, ...], rule: tuple[str, ...]) -> bool:
    return path[: len(rule)] == rule


def _foreign(write: Written, why: str) -> TrustError:
    return TrustError(
        f"the report is not one of this loader's: {write.key} of {write.document[:80]!a}",
        why=why,
        hint="find out who wrote it; nothing was changed",
    )


def ceph_stays(undo: Undo, present: Optional[JsonObject], daemons: Iterable[JsonObject]) -> str:
    """Return why the CephCluster must not go back, or an empty string: Ceph never goes to an older version."""
    if present is None or undo.before is None:
        return ""
    image = text(present, "status", "version", "image")
    overall = field(present, "status", "ceph", "versions", "overall")
    said = [str(name) for name in overall] if isinstance(overall, Mapping) else []
    said += [labels_of(item).get("ceph-version", "") for item in daemons]
    running = [*filter(None, map(ceph_numbers, said))] or [ceph_numbers(text(present, "status", "version", "version"))]
    before = ceph_numbers(undo.ceph_version or "")
    if not before:
        acted = image == text(undo.after, "spec", "cephVersion", "image")
        return "which Ceph ran before is not on record, and Rook has acted on the new image" if acted else ""
    newest = max(running)
    if newest > before:
        return f"daemons run Ceph {dotted(newest)}, before it was {dotted(before)}: Ceph cannot be downgraded"
    return ""


def staying(all_undos: Sequence[Undo], ceph: Undo) -> frozenset[Key]:
    """Return what stays with a Ceph that stays: Rook, what was applied before it, and the mirrors of its images."""
    place = list(all_undos).index(ceph)
    return frozenset(
        undo.key for number, undo in enumerate(all_undos) if number >= place or undo.of_rook or undo.of_mirrors
    )
