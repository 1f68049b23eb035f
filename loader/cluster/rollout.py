"""Has a workload's new template become its pods: Deployments and DaemonSets; pure but for the pods' own words."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping

from loader.bundle.errors import ClusterError
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, field, objects_in, text
from loader.cluster.waits import DONE, FAILED, FAILING, WAITING, Found, Verdict
from loader.cluster.watchers import Trace, Watchers

# A pod that waits this long is asked why; before that it is merely starting.
PATIENCE = 20.0
LIMIT = 900.0  # the progress deadline of a Deployment is 10 minutes
_HEALTHY = frozenset({"ContainerCreating", "PodInitializing", ""})


class RolloutWait:
    """Waits until the Deployment ``key`` runs ``images`` (container -> reference) in every replica.

    ``made``: this load has just made it; ``trace`` is shared with other waits.
    """

    def __init__(
        self, document: str, key: Key, images: Mapping[str, str], *, made: bool = False, trace: Trace | None = None
    ) -> None:
        self.name = f"rollout of {key}"
        self.document = document
        self.keys = (key,)
        self._key = key
        self._images = images
        self._watchers = Watchers(trace, made=made)

    def limit(self) -> float:
        """Return 15 minutes."""
        return LIMIT

    def look(self, kubectl: Kubectl, found: Found, waited: float, /) -> Verdict:
        """Judge the Deployment; after a while read also why its pods wait."""
        item = found.get(self._key)
        verdict = rollout_verdict(item, self._images)
        if item is not None and verdict.state == WAITING and self._watchers.is_nobody(kubectl, [item], waited):
            return Verdict(DONE, "accepted; no controller ever wrote its status, so nothing to wait for")
        if verdict.state in {WAITING, FAILED} and waited >= PATIENCE:
            return explained(verdict, kubectl, self._key.namespace or "", selector_of(item))
        return verdict


def rollout_verdict(item: JsonObject | None, images: Mapping[str, str]) -> Verdict:
    """Judge a Deployment or DaemonSet: the template shows ``images``, its controller saw it, all pods have it."""
    if item is None:
        return Verdict(FAILING, "it is gone", "find out who deleted it")
    name = f"{text(item, 'kind')}/{text(item, 'metadata', 'name')}"
    shown = images_of(item)
    other = [
        f"container {container} has {shown.get(container) or 'no image'}"
        for container, wanted in images.items()
        if shown.get(container) != wanted
    ]
    if other:
        hint = "its owner (OLM, Helm, GitOps) puts it back: change the image there"
        return Verdict(FAILING, f"{name} does not have what was asked: {'; '.join(other)}", hint)
    for condition in objects_in(item, "status", "conditions"):
        if text(condition, "reason") == "ProgressDeadlineExceeded" and _observed(item):
            return Verdict(FAILED, f"{name}: {text(condition, 'message')}", f"oc describe {name.lower()}")
    return _progress(item, name)


def _progress(item: JsonObject, name: str) -> Verdict:
    if not _observed(item):
        return Verdict(WAITING, f"{name}: its controller has not seen the change yet")
    if text(item, "kind") == "DaemonSet":
        wanted = _number(item, "status", "desiredNumberScheduled")
        counts = [_number(item, "status", part) for part in ("updatedNumberScheduled", "numberReady")]
        held = wanted
    else:
        wanted = _number(item, "spec", "replicas", default=1)
        counts = [_number(item, "status", part) for part in ("updatedReplicas", "readyReplicas")]
        held = _number(item, "status", "replicas")
    if counts == [wanted, wanted] and held == wanted:
        return Verdict(DONE, f"{name} complete" if wanted else f"{name} complete (no replica is wanted)")
    return Verdict(WAITING, f"{name}: {counts[0]} of {wanted} updated, {counts[1]} ready")


def images_of(item: JsonObject | None) -> dict[str, str]:
    """Return container -> image of a workload's template, init containers included."""
    path = ("spec", "template", "spec")
    both = (*objects_in(item, *path, "initContainers"), *objects_in(item, *path, "containers"))
    return {text(container, "name"): text(container, "image") for container in both}


def selector_of(item: JsonObject | None) -> str:
    """Return the label selector of a workload's pods, empty where it has none that is plain."""
    labels = field(item, "spec", "selector", "matchLabels")
    return ",".join(f"{name}={value}" for name, value in labels.items()) if isinstance(labels, Mapping) else ""


def explained(verdict: Verdict, kubectl: Kubectl, namespace: str, selector: str) -> Verdict:
    """Return ``verdict`` with what the pods of ``selector`` wait for, as far as they may be read."""
    if not selector or not namespace:
        return verdict
    path = f"/api/v1/namespaces/{namespace}/pods?labelSelector={urllib.parse.quote(selector, safe='')}"
    try:
        troubles = pod_troubles(objects_in(kubectl.get_raw(path), "items"))
    except ClusterError:
        return verdict
    return Verdict(verdict.state, "; ".join([verdict.text, *troubles]), verdict.hint)


def pod_troubles(pods: tuple[JsonObject, ...]) -> list[str]:
    """Return the distinct waiting reasons of containers, with the node's words: ``ImagePullBackOff (…)``."""
    found = []
    for pod in pods:
        for group in ("initContainerStatuses", "containerStatuses"):
            for status in objects_in(pod, "status", group):
                reason = text(status, "state", "waiting", "reason")
                if reason not in _HEALTHY:
                    said = text(status, "state", "waiting", "message")
                    found.append(f"{text(status, 'name')} {reason}" + (f" ({said})" if said else ""))
    return list(dict.fromkeys(found))[:3]


def _observed(item: JsonObject) -> bool:
    return _number(item, "status", "observedGeneration") >= _number(item, "metadata", "generation")


def _number(item: JsonObject, *path: str, default: int = 0) -> int:
    found = field(item, *path)
    return found if isinstance(found, int) else default
