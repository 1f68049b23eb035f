"""A cluster with Rook v1.19 and the ceph-csi-operator, and what both do with new images.

Rook v1.19 copies the images of its own ConfigMap to the image set until its operator has ended; v1.20 leaves the image
set alone. The csi-operator does not watch the image set: it looks when a Driver changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from loader.cluster.csiwait import IMAGE_SET, ROLES
from tests.support.controllers import PROVISIONER, WORKLOADS, Controllers, workload
from tests.unit.loader.cluster import makers

Item = dict[str, Any]

DRIVER = "rook-ceph.rbd.csi.ceph.com"
IMAGES = (
    "docker.io/rook/ceph:v1.20.6",
    "quay.io/ceph/ceph:v20.2.4",
    "quay.io/cephcsi/cephcsi:v3.17.0",
    "quay.io/cephcsi/ceph-csi-operator:v1.0.4",
    "quay.io/csiaddons/k8s-sidecar:v0.14.0",
    "registry.k8s.io/sig-storage/csi-attacher:v4.12.0",
    "registry.k8s.io/sig-storage/csi-node-driver-registrar:v2.17.0",
    "registry.k8s.io/sig-storage/csi-provisioner:v6.2.0",
    "registry.k8s.io/sig-storage/csi-resizer:v2.1.0",
    "registry.k8s.io/sig-storage/csi-snapshotter:v8.5.0",
)
_CONTAINERS = {
    "DaemonSet": (f"{DRIVER}-nodeplugin", {"driver-registrar": "registrar", "csi-rbdplugin": "plugin"}),
    "Deployment": (f"{DRIVER}-ctrlplugin", {"csi-provisioner": "provisioner", "csi-rbdplugin": "plugin"}),
}
OLD = {role: f"example.com/{role}:v1" for role in ROLES.values() if role not in {"nfs", "volumeReplication"}}


def installed(version: str = "v1.19.5") -> list[Item]:
    """Rook of that version as its manifests made it, with a daemon that tells it."""
    operator = makers.deployment(image=f"docker.io/rook/ceph:{version}")
    operator["metadata"]["labels"] = {"app": "rook-ceph-operator"}
    mon = workload("Deployment", "rook-ceph", "rook-ceph-mon-a", ("mon",))
    mon["metadata"]["labels"] = {"rook_cluster": "rook-ceph", "rook-version": version, "ceph-version": "20.2.4-0"}
    driver = {
        "apiVersion": "csi.ceph.io/v1",
        "kind": "Driver",
        "metadata": {"name": DRIVER, "namespace": "rook-ceph"},
        "spec": {},
    }
    image_set = {**makers.config_map(), "data": dict(OLD)}
    image_set["metadata"] = {"name": IMAGE_SET, "namespace": "rook-ceph"}
    return [
        operator,
        makers.config_map(**{key: OLD[role] for key, role in ROLES.items() if role in OLD}),
        image_set,
        makers.ceph_cluster(image="quay.io/ceph/ceph:v20.2.4"),
        workload("Deployment", "rook-ceph", "ceph-csi-controller-manager", ("manager",)),
        mon,
        driver,
    ]


@dataclass
class CsiOperatorControllers(Controllers):
    """The same controllers, with the csi-operator where Rook itself deployed CSI; ``rook`` is like ``ceph``."""

    drivers: dict[str, str] = field(default_factory=dict)
    rook: tuple[str, str] = ("v1.19.5", "v1.20.6")

    def install(self) -> None:
        """Make the pools and the workloads of the csi-operator."""
        super().install()
        for kind, (name, _) in (*WORKLOADS.items(), ("Deployment", PROVISIONER)):
            self.api("DELETE", f"{self._workloads(kind)}/{name}")
        for kind, (name, containers) in _CONTAINERS.items():
            self.api("POST", self._workloads(kind), workload(kind, self.namespace, name, tuple(containers)))
        self._act()

    def remove(self) -> None:
        """Take away what ``install`` made."""
        super().remove()
        for kind, (name, _) in _CONTAINERS.items():
            self.api("DELETE", f"{self._workloads(kind)}/{name}")

    def _csi(self) -> None:
        operator = self.api("GET", f"{self._workloads('Deployment')}/rook-ceph-operator") or {}
        new = "@" in json.dumps(operator.get("spec", {}))
        # The one before goes on writing until the new one runs.
        rolled = operator.get("status", {}).get("observedGeneration") == operator.get("metadata", {}).get("generation")
        if not (new and rolled):
            self._copy()
        if rolled and "daemons" not in self.ignoring:
            self._label(self.rook[new])
        for driver in self.api.items(f"/apis/csi.ceph.io/v1/namespaces/{self.namespace}/drivers"):
            name, version = driver["metadata"]["name"], driver["metadata"]["resourceVersion"]
            if self.drivers.get(name) != version and "csi-operator" not in self.ignoring:
                self.drivers[name] = version
                self._act()

    def _label(self, version: str) -> None:
        """Give every daemon the version that is compiled into the operator."""
        for item in self.api.items(self._workloads("Deployment")):
            labels = item["metadata"].get("labels", {})
            if "rook_cluster" in labels and labels["rook-version"] != version:
                body = {"metadata": {"labels": {"rook-version": version}}}
                self.api("PATCH", f"{self._workloads('Deployment')}/{item['metadata']['name']}", body)

    def _map(self, name: str) -> tuple[str, dict[str, str]]:
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{name}"
        return path, (self.api("GET", path) or {}).get("data", {})

    def _copy(self) -> None:
        _, config = self._map("rook-ceph-operator-config")
        path, present = self._map(IMAGE_SET)
        wanted = {ROLES[key]: value for key, value in config.items() if key in ROLES}
        if any(present.get(role) != value for role, value in wanted.items()):
            self.api("PATCH", path, {"data": wanted})

    def _act(self) -> None:
        _, images = self._map(IMAGE_SET)
        for kind, (name, roles) in _CONTAINERS.items():
            containers = [{"name": container, "image": images[role]} for container, role in roles.items()]
            body = {"spec": {"template": {"spec": {"containers": containers}}}}
            self.api("PATCH", f"{self._workloads(kind)}/{name}", body)
