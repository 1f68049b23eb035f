"""What stands in the way of a change to Rook and Ceph before it is made: health, several versions, OnDelete; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loader.cluster.cephversion import ceph_numbers, dotted, is_older, newest_running
from loader.cluster.failures import printable
from loader.cluster.finding import Finding
from loader.cluster.objects import JsonObject, Key, field, text
from loader.cluster.plan import Change
from loader.cluster.rollout import images_of
from loader.cluster.rookauto import OPERATOR
from loader.cluster.rookrange import CSI_OPERATOR, in_range, parse_version
from loader.cluster.survey import Survey

_STATUS = "oc -n {namespace} get cephcluster {name}, or `ceph status` in the toolbox, tells more"


def rook_findings(
    changes: Sequence[Change],
    current: Mapping[Key, JsonObject],
    found: Survey,
    tags: Mapping[str, str],
    drivers: Sequence[JsonObject] = (),
) -> Iterator[Finding]:
    """Yield what a person should know of Rook and Ceph before ``changes``.

    ``tags`` are those of known digests, ``drivers`` the Drivers of the csi-operator.
    """
    for change in changes:
        yield from _downgrade(change, tags)
        yield from _too_old(change, drivers)
    if not any(parse_version(version) for version in found.rook_versions):
        yield from _unseen(changes)
    written = [c for c in changes if c.writes and c.wish is not None and c.wish.document.phase == "rook"]
    if not written:
        return
    clusters = [c.before for c in changes if c.kind == "CephCluster" and c.before is not None]
    for cluster in clusters:
        yield from _health(cluster)
    if len(found.rook_versions) > 1:
        text_ = f"daemons of several Rook versions are running: {', '.join(found.rook_versions)}"
        yield Finding("warning", text_, "an upgrade is under way or got stuck: the log of rook-ceph-operator tells")
    if any(change.wish is not None and change.wish.document.wait == "csi" for change in written):
        yield from _on_delete(current)


def _downgrade(change: Change, tags: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a blocker for a Ceph older than the daemons that run: Rook only logs it, and tries."""
    if change.kind != "CephCluster" or not change.writes:
        return
    name, _, digest = text(change.after, "spec", "cephVersion", "image").partition("@")
    new = ceph_numbers(tags.get(digest, "") or name.rpartition("/")[2].partition(":")[2])
    running = newest_running(change.before)
    if is_older(new, running):
        text_ = f"{change} runs Ceph {dotted(running)}, the bundle has {dotted(new)}: Ceph cannot be downgraded"
        hint = "build the bundle with a Ceph that is not older, or leave Rook out: --only mirrors,manifests"
        yield Finding("blocker", text_, hint)


def _too_old(change: Change, drivers: Sequence[JsonObject]) -> Iterator[Finding]:
    """Yield a blocker for CSI images of a Rook that has no csi-operator where one has Drivers."""
    wanted = _range_of(change)
    here = [item for item in drivers if text(item, "metadata", "namespace") == change.namespace]
    if not wanted or not here or change.kind != "ConfigMap" or not change.writes:
        return
    if not any(in_range((1, minor, 0), wanted) for minor in CSI_OPERATOR):
        name = printable(text(here[0], "metadata", "name"))
        text_ = f"{change.document} is for Rook {wanted}, and Driver/{name} in {change.namespace} is of a newer one"
        yield Finding("blocker", text_, "use a bundle built for the running Rook version")


def _unseen(changes: Sequence[Change]) -> Iterator[Finding]:
    """Yield a warning where nothing tells which Rook is changed: no daemon, and an operator by digest."""
    wanted = next((found for change in changes for found in [_range_of(change)] if found), "")
    for change in changes:
        if (change.kind, change.name) != ("Deployment", OPERATOR) or not change.writes or change.before is None:
            continue
        image = images_of(change.before).get(OPERATOR, "")
        if wanted and not parse_version(image.partition("@")[0].rpartition("/")[2].partition(":")[2]):
            text_ = f"which Rook runs is not to be seen: no daemon says it, and {change} has {printable(image)}"
            hint = f"the bundle is for Rook {wanted}: `oc -n {change.namespace} logs deploy/{OPERATOR}` begins with it"
            yield Finding("warning", text_, hint)


def _range_of(change: Change) -> str:
    document = change.wish.document if change.wish is not None else None
    return (document.when.rook or "") if document is not None and document.phase == "rook" else ""


def _health(cluster: JsonObject) -> Iterator[Finding]:
    name, namespace = text(cluster, "metadata", "name"), text(cluster, "metadata", "namespace")
    health, phase = text(cluster, "status", "ceph", "health"), text(cluster, "status", "phase")
    more = _STATUS.format(name=name, namespace=namespace)
    if health == "HEALTH_ERR" and field(cluster, "spec", "skipUpgradeChecks") is not True:
        text_ = f"CephCluster/{name} in {namespace} reports HEALTH_ERR: Rook refuses to upgrade it"
        yield Finding("blocker", text_, f"bring Ceph back to health first: {more}")
    elif health not in {"", "HEALTH_OK"}:
        yield Finding("warning", f"CephCluster/{name} in {namespace} reports {printable(health)}", more)
    message = printable(text(cluster, "status", "message"))
    if text(cluster, "status", "state") == "Error":
        yield Finding("warning", f"CephCluster/{name} in {namespace}: Rook failed with it: {message}", more)
    elif phase not in {"", "Ready", "Connected"}:
        yield Finding("warning", f"CephCluster/{name} in {namespace} is {printable(phase)}: {message}", more)


def _on_delete(current: Mapping[Key, JsonObject]) -> Iterator[Finding]:
    for key, item in current.items():
        if key.kind == "DaemonSet" and text(item, "spec", "updateStrategy", "type") == "OnDelete":
            hint = "delete its pods node by node after the load: it is not waited for"
            yield Finding(
                "warning", f"{key} is OnDelete: nodes keep its old images until someone deletes its pods", hint
            )
