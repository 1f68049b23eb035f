"""Does Ceph run the new image: the CephCluster's status, then the daemons Rook keeps besides it.

Source: rook/rook ``pkg/operator/ceph/cluster`` at v1.4 to v1.20. ``status.version.image`` changes before any daemon
does, ``phase`` covers mon, mgr and osd only; the others follow in controllers of their own.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence

from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, field, labels_of, objects_in, text
from loader.cluster.rollout import PATIENCE, explained, rollout_verdict
from loader.cluster.rookrange import parse_version
from loader.cluster.waits import DONE, FAILING, PAUSED, WAITING, Found, Verdict
from loader.cluster.watchers import Trace, Watchers

UNRECONCILED = "ceph.rook.io/do-not-reconcile"
_LIMIT = 3600.0  # daemon by daemon, each behind a health check
_DETECT = "app in (rook-ceph-detect-version,rook-ceph-csi-detect-version)"


class CephWait:
    """Waits until the CephCluster ``key`` runs ``image`` in every daemon.

    ``rook`` is the version that every daemon must be labelled with, empty where it is not known; ``made``: this load
    has just made the CephCluster; ``trace`` is shared with other waits.
    """

    def __init__(
        self, document: str, key: Key, image: str, *, rook: str = "", made: bool = False, trace: Trace | None = None
    ) -> None:
        self.name = str(key)
        self.document = document
        self.keys = (key,)
        self._key = key
        self._image = image
        self._rook = rook
        self._watchers = Watchers(trace, made=made, of_rook=True)

    def limit(self) -> float:
        """Return an hour."""
        return _LIMIT

    def look(self, kubectl: Kubectl, found: Found, waited: float, /) -> Verdict:
        """Judge the CephCluster; once it is Ready read also the Deployments of its daemons."""
        namespace = self._key.namespace or ""
        cluster = found.get(self._key)
        verdict = ceph_verdict(cluster, self._image)
        if cluster is not None and verdict.state == WAITING and self._watchers.is_nobody(kubectl, [cluster], waited):
            return Verdict(DONE, "accepted; no operator ever wrote its status, so nothing to wait for")
        if verdict.state in {WAITING, FAILING} and waited >= PATIENCE:
            return explained(verdict, kubectl, namespace, _DETECT)
        if verdict.state != DONE:
            return verdict
        selector = urllib.parse.quote(f"rook_cluster={namespace}", safe="")
        answer = kubectl.get_raw(f"/apis/apps/v1/namespaces/{namespace}/deployments?labelSelector={selector}")
        return daemons_verdict(objects_in(answer, "items"), verdict, self._rook)


def ceph_verdict(cluster: JsonObject | None, image: str) -> Verdict:
    """Judge a CephCluster by its status; fields its Rook release does not have yet are not asked for."""
    if cluster is None:
        return Verdict(FAILING, "the CephCluster is gone", "find out who deleted it")
    if UNRECONCILED in labels_of(cluster):
        hint = f"remove the label {UNRECONCILED} when Ceph may change"
        return Verdict(PAUSED, f"it has the label {UNRECONCILED}: Rook does nothing with it", hint)
    if text(cluster, "spec", "cephVersion", "image") != image:
        return Verdict(FAILING, "its image is not what was asked any more", "its owner puts it back: change it there")
    phase, message = text(cluster, "status", "phase"), text(cluster, "status", "message")
    said = f"phase {phase}: {message}" if message else f"phase {phase or 'unknown'}"
    if text(cluster, "status", "state") == "Error":
        return Verdict(FAILING, said, "the log of rook-ceph-operator tells more")
    return _progress(cluster, image, phase, said)


def _progress(cluster: JsonObject, image: str, phase: str, said: str) -> Verdict:
    if text(cluster, "status", "version", "image") != image:
        return Verdict(WAITING, f"Rook has not detected the version of the new image yet ({said})")
    external = field(cluster, "spec", "external", "enable") is True
    if phase != ("Connected" if external else "Ready"):
        return Verdict(WAITING, said)
    seen, generation = field(cluster, "status", "observedGeneration"), field(cluster, "metadata", "generation")
    if isinstance(seen, int) and isinstance(generation, int) and seen < generation:
        return Verdict(WAITING, f"phase {phase} is of before the change")
    overall = field(cluster, "status", "ceph", "versions", "overall")
    if isinstance(overall, dict) and len(overall) > 1:
        counts = ", ".join(f"{count} of {version}" for version, count in sorted(overall.items()))
        return Verdict(WAITING, f"daemons of several versions: {counts}")
    health, version = text(cluster, "status", "ceph", "health"), text(cluster, "status", "version", "version")
    return Verdict(DONE, ", ".join(part for part in (health, version and f"one version {version}", phase) if part))


def daemons_verdict(daemons: Sequence[JsonObject], verdict: Verdict, rook: str = "") -> Verdict:
    """Judge the daemons' Deployments: one Rook version, one Ceph version, all rolled out; else ``verdict`` stands.

    The one Rook version must be ``rook``: before the new operator has looked, all are of the old one. Daemons that
    someone has taken out of Rook's hands stay as they are, and are told.
    """
    kept = sorted(text(item, "metadata", "name") for item in daemons if UNRECONCILED in labels_of(item))
    daemons = [item for item in daemons if UNRECONCILED not in labels_of(item)]
    for label in ("rook-version", "ceph-version"):
        versions = sorted({labels_of(item)[label] for item in daemons if label in labels_of(item)})
        if len(versions) > 1:
            return Verdict(WAITING, f"daemons with {label} {', '.join(versions)}")
        if label == "rook-version" and rook and any(parse_version(one) != parse_version(rook) for one in versions):
            hint = "the log of rook-ceph-operator tells what keeps it from its daemons"
            return Verdict(WAITING, f"daemons with {label} {versions[0]}, the new one is {rook}", hint)
    late = [found for found in (rollout_verdict(item, {}) for item in daemons) if found.state != DONE]
    if late:
        return Verdict(WAITING, f"{len(late)} of {len(daemons)} daemons: {late[0].text}", late[0].hint)
    return Verdict(DONE, f"{verdict.text}; left alone by their label: {', '.join(kept)}") if kept else verdict
