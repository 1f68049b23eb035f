"""What stands in the way of a change to Rook and Ceph before it is made: health, several versions, OnDelete; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loader.cluster.failures import printable
from loader.cluster.finding import Finding
from loader.cluster.objects import JsonObject, Key, field, text
from loader.cluster.plan import Change
from loader.cluster.survey import Survey

_STATUS = "oc -n {namespace} get cephcluster {name}, or `ceph status` in the toolbox, tells more"


def rook_findings(changes: Sequence[Change], current: Mapping[Key, JsonObject], found: Survey) -> Iterator[Finding]:
    """Yield what a person should know of Rook and Ceph before ``changes``, which are for phase ``rook`` only."""
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
