"""What stands in the way of a change to Rook and Ceph before it is made: health, several versions, OnDelete; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loader.cluster.cephversion import ceph_numbers, dotted, is_older, newest_running
from loader.cluster.failures import printable
from loader.cluster.finding import Finding
from loader.cluster.objects import JsonObject, Key, field, text
from loader.cluster.plan import Change
from loader.cluster.survey import Survey

_STATUS = "oc -n {namespace} get cephcluster {name}, or `ceph status` in the toolbox, tells more"


def rook_findings(
    changes: Sequence[Change], current: Mapping[Key, JsonObject], found: Survey, tags: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield what a person should know of Rook and Ceph before ``changes``; ``tags`` are those of known digests."""
    for change in changes:
        yield from _downgrade(change, tags)
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
