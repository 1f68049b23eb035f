"""What OpenShift and Rook do with our objects, played by a thread against the test API server.

The machine-config operator renders registries.conf from the mirror objects, late and with pools that still say
``Updated``; the workload controllers roll out; Rook copies the CSI images and reports Ceph's phases. Faults are set
by name: a pool in ``degraded``, a workload in ``stuck``, a controller in ``ignoring``; ``reverting`` there puts the
operator's image back. ``ceph`` are the versions in the images named by tag (as installed) and by digest (as in a
bundle).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.apiserver import ApiServer

Item = dict[str, Any]
Files = dict[str, str]

POOLS = "/apis/machineconfiguration.openshift.io/v1/machineconfigpools"
CONFIGS = "/apis/machineconfiguration.openshift.io/v1/machineconfigs"
MIRRORS = {
    "/apis/config.openshift.io/v1/imagedigestmirrorsets": "imageDigestMirrors",
    "/apis/operator.openshift.io/v1alpha1/imagecontentsourcepolicies": "repositoryDigestMirrors",
    "/apis/config.openshift.io/v1/imagetagmirrorsets": "imageTagMirrors",
}
CONTROLLER_CONFIG = "/apis/machineconfiguration.openshift.io/v1/controllerconfigs/machine-config-controller"
NOTED = "machineconfiguration.openshift.io/lastSyncedControllerConfigResourceVersion"
PULL_SECRET = "/api/v1/namespaces/openshift-config/secrets/pull-secret"
CSI_KEYS = {
    "csi-rbdplugin": "ROOK_CSI_CEPH_IMAGE",
    "driver-registrar": "ROOK_CSI_REGISTRAR_IMAGE",
    "csi-provisioner": "ROOK_CSI_PROVISIONER_IMAGE",
    "csi-attacher": "ROOK_CSI_ATTACHER_IMAGE",
}
WORKLOADS = {"DaemonSet": ("csi-rbdplugin", ("driver-registrar", "csi-rbdplugin"))}
PROVISIONER = ("csi-rbdplugin-provisioner", ("csi-provisioner", "csi-attacher", "csi-rbdplugin"))
_LOOK = 0.1


class Api:
    """The API server's own HTTP, as its admin: one connection a thread, JSON both ways."""

    def __init__(self, server: ApiServer) -> None:
        config = json.loads(server.kubeconfig.read_text())
        self._token = config["users"][0]["user"]["token"]
        self._context = ssl.create_default_context(cafile=config["clusters"][0]["cluster"]["certificate-authority"])
        self._where = urllib.parse.urlsplit(server.url)
        self._local = threading.local()
        self.writes = 0

    def __call__(self, method: str, path: str, body: Item | None = None) -> Item | None:
        """Return the answer, None for a 404 or a 409; anything else over 299 fails the test."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        content = json.dumps(body) if body is not None else None
        try:
            response = self._sent(method, path, content, headers)
        except (http.client.RemoteDisconnected, ConnectionError):
            self.close()  # the server closes a line that was idle for a minute or two
            response = self._sent(method, path, content, headers)
        data = response.read()
        self.writes += method != "GET"
        if response.status in {404, 409}:
            return None
        assert response.status < 300, f"{method} {path}: {response.status} {data[:400]!r}"
        found: Item = json.loads(data)
        return found

    def _sent(self, method: str, path: str, content: str | None, headers: dict[str, str]) -> http.client.HTTPResponse:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPSConnection(
                self._where.hostname or "", self._where.port, context=self._context, timeout=60
            )
            self._local.connection = connection
        connection.request(method, path, content, headers)
        return connection.getresponse()

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None

    def items(self, path: str) -> list[Item]:
        """Return a list's items; none where the kind is not served."""
        answer = self("GET", path)
        return answer["items"] if answer else []


@dataclass
class Controllers:
    """All controllers of one namespace; ``late`` and ``takes`` are seconds before they begin and until they end."""

    api: Api
    namespace: str
    pools: tuple[str, ...] = ("master", "worker")
    late: float = 0.3
    takes: float = 0.3
    ceph: tuple[str, str] = ("15.2.4", "15.2.4")
    degraded: dict[str, str] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)
    ignoring: set[str] = field(default_factory=set)
    seen: dict[str, float] = field(default_factory=dict)

    def install(self) -> None:
        """Make the pools as they are on a cluster at rest, and the CSI workloads of a Rook install."""
        files = self._files()
        for pool in self.pools:
            name = self._render(pool, files)
            spec = {"configuration": {"name": name}, "machineConfigSelector": {}, "paused": False}
            item = {
                "apiVersion": "machineconfiguration.openshift.io/v1",
                "kind": "MachineConfigPool",
                "metadata": {"name": pool},
                "spec": spec,
            }
            made = self.api("POST", POOLS, item)
            assert made is not None, f"pool {pool} is there already"
            self._pool_status(made, name, updated=3)
        for kind, (name, containers) in (*WORKLOADS.items(), ("Deployment", PROVISIONER)):
            self.api("POST", self._workloads(kind), workload(kind, self.namespace, name, containers))

    def settle(self) -> None:
        """Play until nothing is left to do."""
        quiet, writes = time.monotonic(), self.api.writes
        while time.monotonic() - quiet < self.late + self.takes + 2 * _LOOK:
            self.step()
            if self.api.writes != writes:
                quiet, writes = time.monotonic(), self.api.writes
            time.sleep(_LOOK / 2)

    def remove(self) -> None:
        """Take away what ``install`` and the controllers made."""
        for path in (POOLS, CONFIGS):
            for item in self.api.items(path):
                self.api("DELETE", f"{path}/{item['metadata']['name']}")
        for kind, (name, _) in (*WORKLOADS.items(), ("Deployment", PROVISIONER)):
            self.api("DELETE", f"{self._workloads(kind)}/{name}")

    def step(self) -> None:
        """Do what each controller would do next."""
        if "mco" not in self.ignoring:
            self._mco()
            self._authorities()
        if "rook" not in self.ignoring:
            self._csi()
        if "reverting" in self.ignoring:
            self._revert()
        self._roll_out()
        if "ceph" not in self.ignoring:
            self._ceph()

    def _since(self, what: str) -> float:
        """Return the seconds since ``what`` was first asked about."""
        return time.monotonic() - self.seen.setdefault(what, time.monotonic())

    def _conf(self) -> str:
        rows: dict[str, list[tuple[str, str]]] = {}
        never = set()
        for path, name in MIRRORS.items():
            pull = "tag-only" if name == "imageTagMirrors" else "digest-only"
            for item in self.api.items(path):
                for entry in item["spec"].get(name, []):
                    rows.setdefault(entry["source"], []).extend((mirror, pull) for mirror in entry["mirrors"])
                    never |= {entry["source"]} if entry.get("mirrorSourcePolicy") == "NeverContactSource" else set()
        lines = ['unqualified-search-registries = ["registry.access.redhat.com", "docker.io"]']
        for source, mirrors in sorted(rows.items()):
            lines += ["[[registry]]", '  prefix = ""', f'  location = "{source}"']
            lines += ["  blocked = true"] if source in never else []
            for mirror, pull in dict.fromkeys(mirrors):
                lines += ["  [[registry.mirror]]", f'    location = "{mirror}"', f'    pull-from-mirror = "{pull}"']
        return "\n".join(lines) + "\n"

    def _files(self) -> Files:
        """The files that come from objects: mirrors, and the pull secret where there is one."""
        files = {"/etc/containers/registries.conf": "data:," + urllib.parse.quote(self._conf())}
        secret = self.api("GET", PULL_SECRET)
        if secret is not None:
            files["/var/lib/kubelet/config.json"] = "data:;base64," + secret["data"][".dockerconfigjson"]
        return files

    def _render(self, pool: str, files: Files) -> str:
        name = f"rendered-{pool}-{_digest(files)}"
        rows = [{"path": p, "contents": {"source": s}, "mode": 420, "overwrite": True} for p, s in files.items()]
        spec = {"config": {"ignition": {"version": "3.2.0"}, "storage": {"files": rows}}}
        item = {"apiVersion": "machineconfiguration.openshift.io/v1", "kind": "MachineConfig", "spec": spec}
        self.api("POST", CONFIGS, {**item, "metadata": {"name": name}})
        return name

    def _mco(self) -> None:
        files = self._files()
        digest = _digest(files)
        for pool in self.api.items(POOLS):
            name = pool["metadata"]["name"]
            wanted, has = pool["spec"]["configuration"].get("name"), pool["status"]["configuration"].get("name")
            if wanted != f"rendered-{name}-{digest}":
                # Late, and until then the pool goes on saying that it is Updated.
                if self._since(f"render {name} {digest}") >= self.late:
                    body = {"spec": {"configuration": {"name": self._render(name, files)}}}
                    self.api("PATCH", f"{POOLS}/{name}", body)
                continue
            held = name in self.degraded or pool["spec"].get("paused")
            # A roll-out that was called off half-way has to be finished too.
            whole = held or pool["status"]["updatedMachineCount"] == pool["status"]["machineCount"]
            if whole and wanted == has and pool["status"]["observedGeneration"] >= pool["metadata"]["generation"]:
                continue
            if name in self.degraded:
                self._pool_status(pool, has, updated=1, degraded=self.degraded[name])
            elif pool["spec"].get("paused"):
                self._pool_status(pool, has, updated=0, updating=False)
            elif self._since(f"early {name} {wanted}") < self.late:
                continue
            elif self._since(f"roll {name} {wanted}") < self.takes:
                self._pool_status(pool, has, updated=1)
            else:
                self._pool_status(pool, wanted, updated=3)

    def _authorities(self) -> None:
        """Hand the registries' CAs to the nodes, where there is a ControllerConfig: first it, then node by node."""
        config = self.api("GET", CONTROLLER_CONFIG)
        if config is None:
            return
        image = self.api("GET", "/apis/config.openshift.io/v1/images/cluster") or {}
        name = image.get("spec", {}).get("additionalTrustedCA", {}).get("name", "")
        held = (self.api("GET", f"/api/v1/namespaces/openshift-config/configmaps/{name}") or {}).get("data", {})
        rows = [{"file": f, "data": base64.b64encode(pem.encode()).decode()} for f, pem in sorted(held.items())]
        if config["spec"].get("imageRegistryBundleUserData") != rows:
            if self._since(f"ca {json.dumps(rows)}") >= self.late:
                self.api("PATCH", CONTROLLER_CONFIG, {"spec": {"imageRegistryBundleUserData": rows}})
            return
        version = config["metadata"]["resourceVersion"]
        if self._since(f"ca on nodes {version}") < self.takes:
            return
        for node in self.api.items("/api/v1/nodes"):
            if node["metadata"].get("annotations", {}).get(NOTED) not in {version, None}:
                body = {"metadata": {"annotations": {NOTED: version}}}
                self.api("PATCH", f"/api/v1/nodes/{node['metadata']['name']}", body)

    def _pool_status(
        self, pool: Item, config: str, *, updated: int, updating: bool | None = None, degraded: str = ""
    ) -> None:
        complete = updated == 3
        if updating is None:
            updating = not complete
        now = "2026-01-01T00:00:00Z"
        states = {"Updated": complete, "Updating": updating, "NodeDegraded": bool(degraded), "Degraded": bool(degraded)}
        conditions = [
            {
                "type": kind,
                "status": str(on),
                "lastTransitionTime": now,
                "reason": "",
                "message": degraded if on and degraded else "",
            }
            for kind, on in states.items()
        ]
        status = {
            "machineCount": 3,
            "updatedMachineCount": updated,
            "readyMachineCount": updated,
            "unavailableMachineCount": 3 - updated,
            "degradedMachineCount": 1 if degraded else 0,
            "observedGeneration": pool["metadata"]["generation"],
            "configuration": {"name": config},
            "conditions": conditions,
        }
        self.api("PATCH", f"{POOLS}/{pool['metadata']['name']}/status", {"status": status})

    def _revert(self) -> None:
        """Put the operator's image back, as OLM does with what a ClusterServiceVersion says."""
        path = f"{self._workloads('Deployment')}/rook-ceph-operator"
        item = self.api("GET", path)
        containers = item["spec"]["template"]["spec"]["containers"] if item else []
        if any("@" in each["image"] for each in containers):
            changed = [{**each, "image": "rook/ceph:v1.5.0"} for each in containers]
            self.api("PATCH", path, {"spec": {"template": {"spec": {"containers": changed}}}})

    def _workloads(self, kind: str) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/{kind.lower()}s"

    def _csi(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/rook-ceph-operator-config"
        data = (self.api("GET", path) or {}).get("data", {})
        if self._since("csi " + json.dumps(data, sort_keys=True)) < self.late:
            return
        for kind, (name, _) in (*WORKLOADS.items(), ("Deployment", PROVISIONER)):
            item = self.api("GET", f"{self._workloads(kind)}/{name}")
            if item is None:
                continue
            containers = item["spec"]["template"]["spec"]["containers"]
            images = {c["name"]: data.get(CSI_KEYS[c["name"]], f"example.com/{c['name']}:v1") for c in containers}
            if any(images[c["name"]] != c["image"] for c in containers):
                changed = [{**c, "image": images[c["name"]]} for c in containers]
                body = {"spec": {"template": {"spec": {"containers": changed}}}}
                self.api("PATCH", f"{self._workloads(kind)}/{name}", body)

    def _roll_out(self) -> None:
        for kind in ("Deployment", "DaemonSet"):
            for item in self.api.items(self._workloads(kind)):
                name, generation = item["metadata"]["name"], item["metadata"]["generation"]
                if name in self.stuck or item.get("status", {}).get("observedGeneration") == generation:
                    continue
                if self._since(f"{kind} {name} {generation}") < self.takes:
                    continue
                count = item["spec"].get("replicas", 1) if kind == "Deployment" else 2
                fields = {
                    "Deployment": ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"),
                    "DaemonSet": (
                        "desiredNumberScheduled",
                        "currentNumberScheduled",
                        "updatedNumberScheduled",
                        "numberReady",
                    ),
                }[kind]
                status = {"observedGeneration": generation, **dict.fromkeys(fields, count)}
                self.api("PATCH", f"{self._workloads(kind)}/{name}/status", {"status": status})

    def _ceph(self) -> None:
        path = f"/apis/ceph.rook.io/v1/namespaces/{self.namespace}/cephclusters"
        for cluster in self.api.items(path):
            name, image = cluster["metadata"]["name"], cluster["spec"]["cephVersion"]["image"]
            status, generation = cluster.get("status", {}), cluster["metadata"]["generation"]
            new: Item
            if status.get("observedGeneration") == generation or cluster["metadata"].get("deletionTimestamp"):
                continue
            old = dict.fromkeys(status.get("ceph", {}).get("versions", {}).get("overall", {}), 3)
            version = self.ceph["@" in image]
            found = {"image": image, "version": f"{version}-0"}
            both = {**old, f"ceph version {version}": 3}
            if "broken" in self.ignoring:
                new = {"phase": "Progressing", "state": "Error", "message": "failed the ceph version check"}
            elif self._since(f"ceph {name} {generation}") < self.takes:
                new = {"phase": "Progressing", "version": found, "ceph": {"versions": {"overall": both}}}
            else:
                overall = {**dict.fromkeys(old), f"ceph version {version}": 6}
                new = {"phase": "Ready", "state": "Created", "message": "", "version": found}
                new |= {"observedGeneration": generation}
                new |= {"ceph": {"health": "HEALTH_OK", "versions": {"overall": overall}}}
            self.api("PATCH", f"{path}/{name}/status", {"status": new})


def _digest(files: Files) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]


def workload(kind: str, namespace: str, name: str, containers: tuple[str, ...]) -> Item:
    """A workload whose containers have tags, as before the first load."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": c, "image": f"example.com/{c}:v1"} for c in containers]},
    }
    spec: Item = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec}


@contextmanager
def running(controllers: Controllers) -> Iterator[Controllers]:
    """Install and run ``controllers`` until the end of the block, then take away what they made.

    An error of theirs is raised at the end: a test must not pass because its cluster fell over.
    """
    controllers.install()
    controllers.settle()
    stop = threading.Event()

    def play() -> None:
        try:
            while not stop.wait(_LOOK):
                controllers.step()
        finally:
            controllers.api.close()

    with ThreadPoolExecutor(1, "controllers") as pool:
        playing = pool.submit(play)
        try:
            yield controllers
        finally:
            stop.set()
            wait([playing])
            controllers.remove()
            controllers.api.close()
    playing.result()
