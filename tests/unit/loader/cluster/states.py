"""Objects as controllers leave them, for tests of what waits for them."""

from __future__ import annotations

import urllib.parse
from typing import Any

from loader.cluster.waits import Clock

Item = dict[str, Any]
CONF = """
[[registry]]
  location = "docker.io/ceph"
  [[registry.mirror]]
    location = "r:5000/ceph"
    pull-from-mirror = "digest-only"
"""


class NoClock(Clock):
    """Seconds pass by sleeping alone."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.naps.append(seconds)

    def now(self) -> float:
        return self.seconds


def pool(name: str = "worker", **changes: Any) -> Item:
    """A pool at rest on ``rendered-NAME-2``; ``changes`` go to its status, ``paused`` to its spec."""
    conditions = {"Updated": "True", "Updating": "False", "Degraded": "False", "NodeDegraded": "False"}
    messages = {kind: changes.pop(f"{kind}_message", "") for kind in list(conditions)}
    conditions.update({kind: changes.pop(kind) for kind in list(changes) if kind[0].isupper()})
    spec = {"configuration": {"name": f"rendered-{name}-2"}, "paused": changes.pop("paused", False)}
    status: Item = {
        "observedGeneration": 5,
        "machineCount": 3,
        "updatedMachineCount": 3,
        "readyMachineCount": 3,
        "degradedMachineCount": 0,
        "configuration": {"name": f"rendered-{name}-2"},
        "conditions": [
            {"type": kind, "status": on, "message": messages.get(kind, "")} for kind, on in conditions.items()
        ],
        **changes,
    }
    return {"kind": "MachineConfigPool", "metadata": {"name": name, "generation": 5}, "spec": spec, "status": status}


def machine_config(conf: str = CONF, **contents: str) -> Item:
    source = "data:," + urllib.parse.quote(conf)
    files = [{"path": "/etc/containers/registries.conf", "contents": {"source": source, **contents}}]
    return {"metadata": {"name": "rendered"}, "spec": {"config": {"storage": {"files": files}}}}


def workload(kind: str = "Deployment", name: str = "rook-ceph-operator", **images: str) -> Item:
    """A workload that is rolled out; ``images`` by container, ``_`` for ``-``."""
    containers = [{"name": container.replace("_", "-"), "image": image} for container, image in images.items()]
    counts = ("replicas", "updatedReplicas", "readyReplicas")
    if kind == "DaemonSet":
        counts = ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady")
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "rook-ceph", "generation": 3, "labels": {}},
        "spec": {
            **({"replicas": 2} if kind == "Deployment" else {}),
            "selector": {"matchLabels": {"app": name}},
            "template": {"spec": {"containers": containers}},
        },
        "status": {"observedGeneration": 3, **dict.fromkeys(counts, 2)},
    }


def ceph(image: str = "ceph@sha256:1", **status: Any) -> Item:
    """A CephCluster that is Ready with ``image``."""
    return {
        "apiVersion": "ceph.rook.io/v1",
        "kind": "CephCluster",
        "metadata": {"name": "rook-ceph", "namespace": "rook-ceph", "generation": 4, "labels": {}},
        "spec": {"cephVersion": {"image": image}},
        "status": {
            "phase": "Ready",
            "observedGeneration": 4,
            "version": {"image": image, "version": "15.2.4-0"},
            "ceph": {"health": "HEALTH_OK", "versions": {"overall": {"ceph version 15.2.4 (abc) octopus": 9}}},
            **status,
        },
    }
