"""The story up to the first write: look at the cluster, read, plan, ask for permission, let the server preview."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Optional

from loader.bundle.errors import ClusterError
from loader.cluster.finding import Finding
from loader.cluster.imageconfig import GROUP_VERSIONS, authority_wishes, login_wish
from loader.cluster.kubectl import Kubectl
from loader.cluster.mirrorsets import MIRROR_LISTS, MirrorWay
from loader.cluster.nodeside import KINDS, UNMISSED, NodeSide, node_side
from loader.cluster.objects import JsonObject, Key, key_of, resource_version
from loader.cluster.permissions import Access, every_access, missing_permissions, require
from loader.cluster.plan import Change, Plan, make_plan, with_preview
from loader.cluster.portrait import cluster_words, node_words
from loader.cluster.prediction import predict, unread_findings
from loader.cluster.preflight import Grants, Names, PullChecks, Pulls, client_findings, clock_findings, endpoints_of
from loader.cluster.reading import Reader
from loader.cluster.registriestoml import Registries
from loader.cluster.rollout import images_of
from loader.cluster.rookauto import OPERATOR, named
from loader.cluster.rookdrivers import DRIVERS, DRIVERS_PLACE, driver_kinds, driver_versions, with_pokes
from loader.cluster.rookeffect import Turn, csi_keys, rook_effects
from loader.cluster.rookpreflight import rook_findings
from loader.cluster.rookrange import parse_version
from loader.cluster.survey import DAEMONS, DEPLOYMENTS, Survey, survey, with_daemons
from loader.cluster.wishes import Pair, Wish, group_versions, keys_to_read, rook_namespaces, scoped, wishes_of


@dataclass(frozen=True)
class Asked:
    """What a load asks of a cluster beside its documents.

    ``pulls`` is what nodes will pull (None: not looked at), ``authority`` a CA in PEM for the registry's nodes,
    ``login`` a name and an entry for their pull secret, ``clock`` this host's time (None: not compared) and
    ``registry_clock`` the registry's; ``ceph_cluster`` the namespace and name of the CephCluster, if one was named.
    """

    way: MirrorWay = field(default_factory=MirrorWay)
    pulls: Optional[Pulls] = None
    authority: str = ""
    login: Optional[tuple[str, Mapping[str, str]]] = None
    clock: Optional[datetime.datetime] = None
    registry_clock: Optional[datetime.datetime] = None
    ceph_cluster: Optional[tuple[str, str]] = None


def prepare(kubectl: Kubectl, documents: Iterable[Pair], asked: Optional[Asked] = None) -> tuple[Survey, Plan]:
    """Return what the cluster is and what would change, writing nothing.

    Blockers are in ``plan.findings``, missing permissions among them; an ownership conflict and an unreachable
    server are ``ClusterError``, a document that does not fit its entry is ``FormatError``.
    """
    asked = asked or Asked()
    pairs = named(kubectl, documents, asked.ceph_cluster)
    own = GROUP_VERSIONS if asked.authority or asked.login else ()
    found = survey(kubectl, {*group_versions(pairs), *own, *driver_versions(pairs)})
    listed, side, current = _read(kubectl, pairs, found)
    found = dataclasses.replace(found, openshift=side.openshift)
    found = with_daemons(found, listed)
    first = _own_wishes(side, asked)
    with _all_listed(kubectl, first, found):
        current.update(kubectl.read([wish.key for wish in first if wish.key not in current]))
    plan = make_plan(pairs, found, current, way=asked.way, side=side, first=first)
    drivers = [item for item in listed if item.get("kind") == "Driver"]
    plan = with_pokes(plan, drivers)
    refused = missing_permissions(kubectl, plan.changes, found)
    findings = [*plan.findings, *client_findings(found.client), *refused, *_clocks(asked, found)]
    findings += rook_findings(plan.changes, current, found, _tags(asked), drivers)
    plan = dataclasses.replace(plan, findings=tuple(dict.fromkeys(findings)))
    # A login that may not write may not ask for a preview either.
    plan = plan if refused else preview(kubectl, plan, current)
    plan = dataclasses.replace(plan, portrait=(cluster_words(found, side),))
    plan = with_nodes(plan, side, asked)
    return found, with_rook(plan, [current[key] for key in csi_keys(pairs) if key in current], found, asked)


def _read(
    kubectl: Kubectl, pairs: Sequence[Pair], found: Survey
) -> tuple[tuple[JsonObject, ...], NodeSide, dict[Key, JsonObject]]:
    """Read the nodes' side and the documents' objects at the same time: each read is a process that mostly waits."""
    reader = Reader(kubectl, found, unmissed={*UNMISSED, DEPLOYMENTS}, needed={DRIVERS})
    kinds = (*KINDS, DAEMONS, *driver_kinds(pairs, found))

    def sides() -> tuple[tuple[JsonObject, ...], NodeSide]:
        listed = reader.lists(kinds, sorted(rook_namespaces(pairs)))
        return listed, node_side(reader, found, listed)

    wishes = [scoped(wish, found) for document, parsed in pairs for wish in wishes_of(document, parsed)]
    places = [namespace for _ in driver_kinds(pairs, found) for namespace in sorted(rook_namespaces(pairs))]
    drivers = [Access(verb, *DRIVERS_PLACE, place, "") for place in places for verb in ("list", "patch")]
    keys = [*keys_to_read(pairs, found), *csi_keys(pairs)]
    with _all_listed(kubectl, wishes, found, drivers), ThreadPoolExecutor(1) as pool:
        asked = pool.submit(sides)
        current = kubectl.read(dict.fromkeys(keys))
        return (*asked.result(), current)


@contextlib.contextmanager
def _all_listed(kubectl: Kubectl, wishes: Sequence[Wish], found: Survey, more: Sequence[Access] = ()) -> Iterator[None]:
    """Where a read fails, list all that this login may not do for ``wishes``, not the first refusal alone."""
    try:
        yield
    except ClusterError:
        require(kubectl, (*every_access(wishes, found), *more), found)
        raise


def _clocks(asked: Asked, found: Survey) -> Iterator[Finding]:
    if asked.clock is not None:
        yield from clock_findings(asked.clock, "the API server", found.clock)
        yield from clock_findings(asked.clock, "the registry", asked.registry_clock)


def with_rook(plan: Plan, workloads: Sequence[JsonObject], found: Survey, asked: Asked) -> Plan:
    """Return ``plan`` with what Rook will do, its CSI workloads being ``workloads``; pure."""
    writes = [(change.wish, change) for change in plan.changes if change.writes and change.wish is not None]
    turns = [Turn(wish.key, change.before, change.after) for wish, change in writes if change.after is not None]
    effects = rook_effects(turns, workloads, _tags(asked), found.rook_daemons)
    return dataclasses.replace(plan, rook=effects, rook_version=_operators_release(plan, asked))


def _tags(asked: Asked) -> dict[str, str]:
    """Return digest -> tag of the bundle's images."""
    return {image.digest: image.tag or "" for image in asked.pulls.images} if asked.pulls is not None else {}


def _operators_release(plan: Plan, asked: Asked) -> str:
    """Return the version compiled into the operator that ``plan`` installs, as far as its image's tag tells."""
    operators = (c.after for c in plan.changes if (c.kind, c.name) == ("Deployment", OPERATOR) and c.action != "skip")
    installed = {images_of(after).get(OPERATOR) for after in operators}
    images = asked.pulls.images if asked.pulls is not None else ()
    tag = next((image.tag or "" for image in images if f"{image.source}@{image.digest}" in installed), "")
    return tag if parse_version(tag) else ""


def _own_wishes(side: NodeSide, asked: Asked) -> tuple[Wish, ...]:
    host = asked.pulls.target.host if asked.pulls is not None else ""
    wishes = authority_wishes(side, host, asked.authority) if asked.authority else ()
    return (*wishes, login_wish(side, *asked.login)) if asked.login else wishes


def with_nodes(plan: Plan, side: NodeSide, asked: Asked) -> Plan:
    """Return ``plan`` with what its mirror objects do to the nodes, and what keeps nodes from pulling; pure."""
    after = [change.after for change in plan.changes if change.after is not None and change.action != "skip"]
    new_login = any(change.writes and change.kind == "Secret" for change in plan.changes)
    prediction = predict(side, after, new_login=new_login)
    findings, portrait, endpoints = [*unread_findings(side), *prediction.findings], plan.portrait, plan.endpoints
    if asked.pulls is not None:
        grants = Grants(authority=bool(asked.authority), login=asked.login is not None)
        names = _names(plan, side, prediction.conf, asked.way.mode)
        checks = PullChecks(side, prediction.conf, asked.pulls, grants, names=names)
        findings += checks.findings
        portrait = (*portrait, *node_words(side, checks, asked.pulls))
        # What someone has put on the nodes by hand no API shows.
        shown = prediction.conf if asked.way.mode != "manual" else None
        endpoints = endpoints_of(shown, asked.pulls) if shown is not None else {}
    merged = tuple(dict.fromkeys([*plan.findings, *findings]))
    return dataclasses.replace(plan, findings=merged, nodes=prediction.pools, portrait=portrait, endpoints=endpoints)


def _names(plan: Plan, side: NodeSide, conf: Optional[Registries], mode: str) -> Names:
    """Return what names resolve by: ``conf`` where this load sets mirrors, else what each pool has already."""
    if any(change.kind in MIRROR_LISTS and change.action != "skip" for change in plan.changes):
        return Names((conf,) if conf is not None else ())
    if mode == "manual":
        return Names(())  # in a file of the nodes that no API shows
    has = dict.fromkeys(pool.conf for pool in side.pools if pool.conf is not None)
    needed = mode == "cluster" and any(change.writes and change.phase == "rook" for change in plan.changes)
    hint = "load the mirrors first: --only mirrors; where nodes have them by a file of their own: --mirrors manual"
    return Names(tuple(has), "blocker" if needed else "warning", hint)


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
            answers = kubectl.apply(bodies, versions, f"{document} (dry run)", dry_run=True, path=document)
            previewed.update({key_of(item, f"an answer to {document}"): item for item in answers})
    return dataclasses.replace(plan, changes=tuple(_refined(c, current, previewed) for c in plan.changes))


def _known(change: Change, current: Mapping[Key, JsonObject]) -> bool:
    return change.patch_type == "apply" and change.wish is not None and change.wish.key in current


def _refined(change: Change, current: Mapping[Key, JsonObject], previewed: Mapping[Key, JsonObject]) -> Change:
    if not _known(change, current) or change.wish is None or change.wish.key not in previewed:
        return change
    return with_preview(change, current[change.wish.key], previewed[change.wish.key])
