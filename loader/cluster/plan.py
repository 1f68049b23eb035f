"""Documents and the present objects -> what would change, in order, and what stands in the way; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from loader.bundle.errors import ClusterError
from loader.bundle.manifest import Document
from loader.cluster.diff import essence, object_diff
from loader.cluster.finding import Finding
from loader.cluster.imageconfig import login_patch
from loader.cluster.mirrorplan import MirrorPlan
from loader.cluster.mirrorsets import MIRROR_LISTS, MirrorWay, is_ours, joined, labelled
from loader.cluster.nodeeffect import PoolEffect
from loader.cluster.nodeside import NodeSide
from loader.cluster.objects import (
    MANAGED_BY,
    MANAGER,
    JsonObject,
    Key,
    field,
    labels_of,
    resource_version,
    text,
)
from loader.cluster.owners import Release, RookOwners
from loader.cluster.patches import overlaid, patched
from loader.cluster.platforms import FOLDER
from loader.cluster.rookauto import TOOLBOX
from loader.cluster.rookeffect import RookEffect
from loader.cluster.rookrange import in_range, parse_version
from loader.cluster.survey import Survey
from loader.cluster.wishes import Pair, Wish, defined_kinds, folded, in_order, scoped, wishes_of

_LEAVING = "wait until it is gone, or find what holds it in its finalizers; then run the same command again"
_UNRECONCILED = "ceph.rook.io/do-not-reconcile"


@dataclass(frozen=True)
class Change:
    """One object and what happens to it.

    ``action`` is create, patch, unchanged or skip; ``patch_type`` is merge, strategic, apply (server-side) or None
    where an object is created as it is. ``body`` is what is sent, ``after`` the state expected then. A skipped
    document has its ``reason`` and no wish. ``before`` is the object as it was read, None where it was not there.
    """

    kind: str
    namespace: Optional[str]
    name: str
    action: str
    diff: str
    body: Optional[Mapping[str, Any]]
    patch_type: Optional[str]
    document: str
    reason: str = ""
    wish: Optional[Wish] = None
    after: Optional[Mapping[str, Any]] = None
    resource_version: Optional[str] = None
    before: Optional[JsonObject] = None
    phase: str = ""

    @property
    def writes(self) -> bool:
        """Tell whether this change is sent to the API server."""
        return self.action in {"create", "patch"}

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


@dataclass(frozen=True)
class Plan:
    """Every change in the order it is made, the findings, what nodes will do pool by pool, and what Rook will do.

    ``portrait`` are lines on the cluster as it is; ``endpoints`` where nodes will pull each image (``source@digest``)
    from, in the order they ask; ``releases`` are of Helm and have to be upgraded before the rest of Rook can be;
    ``rook_version`` is the release of the operator's image, empty where its tag names none.
    """

    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    nodes: tuple[PoolEffect, ...] = ()
    rook: tuple[RookEffect, ...] = ()
    portrait: tuple[str, ...] = ()
    endpoints: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    releases: tuple[Release, ...] = ()
    rook_version: str = ""

    @property
    def writes(self) -> tuple[Change, ...]:
        """Return the changes that would be sent."""
        return tuple(change for change in self.changes if change.writes)

    @property
    def by_hand(self) -> bool:
        """Tell whether a blocker asks for a node file of the bundle to be put in place."""
        return any(finding.level == "blocker" and FOLDER in finding.hint for finding in self.findings)

    def require_clear(self) -> None:
        """Raise one ``ClusterError`` with every blocker, if there is any."""
        blockers = [finding for finding in self.findings if finding.level == "blocker"]
        if blockers:
            raise ClusterError(
                f"the cluster cannot take this bundle ({len(blockers)} blocker{'s' if len(blockers) > 1 else ''})",
                why="; ".join(finding.text for finding in blockers),
                hint="; ".join(dict.fromkeys(finding.hint for finding in blockers)),
            )


def make_plan(
    documents: Iterable[Pair],
    found: Survey,
    current: Mapping[Key, JsonObject],
    *,
    way: Optional[MirrorWay] = None,
    side: Optional[NodeSide] = None,
    first: Sequence[Wish] = (),
) -> Plan:
    """Return the plan for one cluster; ``side`` is its node side, ``first`` what is wished before the documents.

    ``current`` are the objects there now, by key. Raises ``FormatError`` for a document that does not fit its entry.
    """
    return _Planner(tuple(documents), found, current, way or MirrorWay(), side or NodeSide()).plan(first)


class _Planner:
    """Holds the state that the changes planned so far lead to: a later patch may need an object made earlier."""

    def __init__(
        self,
        documents: tuple[Pair, ...],
        found: Survey,
        current: Mapping[Key, JsonObject],
        way: MirrorWay,
        side: NodeSide,
    ) -> None:
        self._documents = in_order(documents)
        self._found = found
        self._expected: dict[Key, JsonObject] = dict(current)
        self._changes: list[Change] = []
        self._findings: list[Finding] = []
        every = [wish for document, parsed in documents for wish in wishes_of(document, parsed)]
        self._defined = defined_kinds(every)
        self._owners = RookOwners(current)
        self._mirrors = MirrorPlan([w for w in every if w.method == "mirror"], found.mirror_kinds, side, way)

    def plan(self, first: Sequence[Wish]) -> Plan:
        asked = [(document, wishes_of(document, parsed)) for document, parsed in self._documents]
        reasons = {document: self._reason_against(document, wishes) for document, wishes in asked}
        patches = [wish for document, wishes in asked if not reasons[document] for wish in wishes]
        for wish in first:
            self._add(self._decided(wish))
        for document, wishes in asked:
            for wish in wishes:
                reason = reasons[document]
                adapted = self._mirrors.adapted(folded(wish, patches))
                self._add(_skipped(wish, reason) if reason else self._decided(adapted))
        self._findings += [*self._mirrors.findings(), *self._owners.findings]
        findings = tuple(dict.fromkeys(self._findings))
        return Plan(tuple(self._changes), findings, releases=tuple(self._owners.releases))

    def _reason_against(self, document: Document, wishes: Sequence[Wish]) -> str:
        """Return why ``document`` is skipped, or an empty string; what may not be skipped becomes a blocker."""
        if document.phase == "mirrors":
            return self._mirrors.reason_against(wishes)
        api, wanted = document.when.api, document.when.rook
        if api and not self._found.serves(api):
            return self._skip_or_block(document, f"{api} is not served by this cluster", "install its operator first")
        said = self._found.rook_versions or (self._owners.operator_version,)
        running = [version for version in said if wanted and _outside(version, wanted)]
        if running:
            text_ = f"{document.path} is for Rook {wanted}, the cluster runs {', '.join(running)}"
            return self._skip_or_block(document, text_, "use a bundle built for the running Rook version")
        return ""

    def _skip_or_block(self, document: Document, text_: str, hint: str) -> str:
        if document.otherwise != "skip":
            self._block(Finding("blocker", text_, hint))
        return text_

    def _decided(self, wish: Wish) -> Change:
        resource = self._found.resource(wish.key.api_version, wish.key.kind)
        if resource is None and (wish.key.group, wish.key.kind) not in self._defined:
            text_ = f"{wish.key} of {wish.document.path}: {wish.key.api_version} {wish.key.kind} is not served"
            self._block(Finding("blocker", text_, "install its CRDs or operator first"))
            return _skipped(wish, "the kind is not served")
        here = scoped(wish, self._found)
        present = self._expected.get(here.key)
        change, findings = decide(here, present)
        if here.document.phase == "rook" and change.writes:
            reason = self._owners.reason_against(here.key, present, here.body)
            if reason:
                return _skipped(wish, reason)
        self._findings += findings
        return change

    def _add(self, change: Change) -> None:
        self._changes.append(change)
        if change.wish is not None and change.after is not None:
            self._expected[change.wish.key] = change.after

    def _block(self, finding: Finding) -> None:
        self._findings.append(finding)


def decide(wish: Wish, current: Optional[JsonObject]) -> tuple[Change, tuple[Finding, ...]]:
    """Return the change that makes ``wish`` true of ``current`` (None: not there), and what stands in its way."""
    if text(current, "metadata", "deletionTimestamp"):
        return _skipped(wish, "it is being deleted"), (Finding("blocker", f"{wish.key} is being deleted", _LEAVING),)
    if wish.method == "mirror":
        return _decide_mirror(wish, current)
    if wish.method == "login":
        patch = login_patch(wish, current)
        return _change(wish, current, patched(current or {}, patch, "merge"), patch, "merge"), ()
    if wish.method == "apply":
        body = wish.body
        after = overlaid(current, body) if current is not None else body
        return _change(wish, current, after, body, "apply"), ()
    return _decide_patch(wish, current)


def _decide_patch(wish: Wish, current: Optional[JsonObject]) -> tuple[Change, tuple[Finding, ...]]:
    if current is not None and _runs_no_image(current):
        return _skipped(wish, "an external Ceph without an image of its own"), ()
    if current is not None:
        after = patched(current, wish.body, wish.method)
        return _change(wish, current, after, wish.body, wish.method), _warnings(wish.key, current)
    if wish.key.kind != "ConfigMap":
        text_ = f"{wish.key} is not on this cluster, and {wish.document.path} changes it"
        hint = "install Rook first, or build the bundle with its namespace and names"
        if wish.key.name == TOOLBOX:
            hint = "install the toolbox first (Rook's toolbox.yaml), or build the bundle without rook.images.toolbox"
        blockers = () if wish.document.otherwise == "skip" else (Finding("blocker", text_, hint),)
        return _skipped(wish, "the object is not there"), blockers
    # Helm installs of Rook v1.4 to v1.8.2 have no operator ConfigMap; the operator reads it once it is there.
    body = labelled(patched(wish.key.stub(), wish.body, "merge"))
    return _change(wish, None, body, body, None), ()


def _runs_no_image(current: JsonObject) -> bool:
    """Tell whether ``current`` is a CephCluster whose daemons run elsewhere: an image would start a detect job."""
    external = current.get("kind") == "CephCluster" and field(current, "spec", "external", "enable") is True
    return external and not text(current, "spec", "cephVersion", "image")


def _decide_mirror(wish: Wish, current: Optional[JsonObject]) -> tuple[Change, tuple[Finding, ...]]:
    desired = labelled(wish.body)
    if current is None:
        return _change(wish, None, desired, desired, None), ()
    if not is_ours(current):
        owner = labels_of(current).get(MANAGED_BY)
        text_ = f"{wish.key} is there already and was not made by this loader ({MANAGED_BY}: {owner or 'none'})"
        hint = (
            f"rename it, choose another mirrors.name for the bundle, or label it {MANAGED_BY}={MANAGER} to hand it over"
        )
        return _skipped(wish, "someone else's object"), (Finding("blocker", text_, hint),)
    body = {"spec": {MIRROR_LISTS[wish.key.kind]: joined(wish.key.kind, current, desired, exact=wish.exact)}}
    return _change(wish, current, patched(current, body, "merge"), body, "merge"), ()


def with_preview(change: Change, current: JsonObject, preview: JsonObject) -> Change:
    """Return ``change`` as the API server's own dry run sees it: defaults, other spellings and owners included."""
    if change.wish is None:
        raise RuntimeError(f"{change} has no wish")
    return _change(change.wish, current, preview, change.wish.body, change.patch_type)


def _change(
    wish: Wish, current: Optional[JsonObject], after: JsonObject, body: Mapping[str, Any], patch_type: Optional[str]
) -> Change:
    same = current is not None and essence(current) == essence(after)
    action = "create" if current is None else "unchanged" if same else "patch"
    return Change(
        kind=wish.key.kind,
        namespace=wish.key.namespace,
        name=wish.key.name,
        action=action,
        diff=object_diff(wish.key, current, after),
        body=None if same else body,
        patch_type=patch_type,
        document=wish.document.path,
        wish=wish,
        after=after,
        resource_version=resource_version(current),
        before=current,
        phase=wish.document.phase,
    )


def _skipped(wish: Wish, reason: str) -> Change:
    key = wish.key
    where = wish.document
    return Change(key.kind, key.namespace, key.name, "skip", "", None, None, where.path, reason, phase=where.phase)


def _warnings(key: Key, current: JsonObject) -> tuple[Finding, ...]:
    """Return what would ignore a patch although the API server accepts it."""
    found = []
    if key.kind == "CephCluster" and _UNRECONCILED in labels_of(current):
        hint = "remove the label when the cluster may change"
        found.append(Finding("warning", f"{key} has the label {_UNRECONCILED}: Rook ignores the patch", hint))
    return tuple(found)


def _outside(version: str, wanted: str) -> bool:
    parsed = parse_version(version)
    return parsed is not None and not in_range(parsed, wanted)
