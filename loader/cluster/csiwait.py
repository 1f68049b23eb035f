"""Does CSI run the new images: the workloads that Rook, or the csi-operator for it, makes of a ConfigMap.

Source of names: rook/rook ``pkg/operator/ceph/csi`` at v1.4 to v1.20, ceph/ceph-csi-operator ``internal/controller``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, field, text
from loader.cluster.rollout import PATIENCE, explained, images_of, rollout_verdict, selector_of
from loader.cluster.waits import DONE, FAILING, WAITING, Found, Verdict
from loader.cluster.watchers import Watchers

IMAGE_SET = "rook-csi-operator-image-set-configmap"
# ConfigMap key of Rook v1.4 to v1.19 -> the key of the image set, which v1.20 reads directly.
ROLES: Mapping[str, str] = {
    "ROOK_CSI_CEPH_IMAGE": "plugin",
    "ROOK_CSI_REGISTRAR_IMAGE": "registrar",
    "ROOK_CSI_PROVISIONER_IMAGE": "provisioner",
    "ROOK_CSI_RESIZER_IMAGE": "resizer",
    "ROOK_CSI_SNAPSHOTTER_IMAGE": "snapshotter",
    "ROOK_CSI_ATTACHER_IMAGE": "attacher",
    "ROOK_CSIADDONS_IMAGE": "addons",
    "CSI_VOLUME_REPLICATION_IMAGE": "volumeReplication",
    "ROOK_CSI_NFS_IMAGE": "nfs",
}
_CONTAINERS: Mapping[str, str] = {
    "csi-provisioner": "provisioner",
    "csi-resizer": "resizer",
    "csi-attacher": "attacher",
    "csi-snapshotter": "snapshotter",
    "driver-registrar": "registrar",
    "csi-addons": "addons",
    "volume-replication": "volumeReplication",
    "csi-rbdplugin": "plugin",
    "csi-cephfsplugin": "plugin",
    "csi-nfsplugin": "plugin",
    "csi-omap-generator": "plugin",
    "liveness-prometheus": "plugin",
    "log-rotator": "plugin",
}
_LIMIT = 1800.0  # one node after the other; a detect job alone may take 15 minutes (Rook v1.15.4 and older)


def roles_of(data: Mapping[str, object]) -> dict[str, str]:
    """Return role -> reference of the data of either ConfigMap."""
    return {ROLES.get(name, name): str(value) for name, value in data.items() if ROLES.get(name, name) in _PLAYED}


_PLAYED = frozenset({*_CONTAINERS.values(), "nfs"})


def workload_keys(namespace: str) -> tuple[Key, ...]:
    """Return every name a CSI workload may have in the operator's namespace."""
    keys = []
    for driver in ("rbd", "cephfs", "nfs"):
        csi = f"{namespace}.{driver}.csi.ceph.com"
        keys += [_key("DaemonSet", namespace, name) for name in (f"csi-{driver}plugin", f"{csi}-nodeplugin")]
        keys.append(_key("DaemonSet", namespace, f"{csi}-nodeplugin-csi-addons"))
        keys += [
            _key("Deployment", namespace, name) for name in (f"csi-{driver}plugin-provisioner", f"{csi}-ctrlplugin")
        ]
    return tuple(keys)


class CsiWait:
    """Waits until every CSI workload there is runs ``images`` (role -> reference)."""

    name = "CSI"

    def __init__(self, document: str, namespace: str, images: Mapping[str, str]) -> None:
        self.document = document
        self.keys = workload_keys(namespace)
        self._namespace = namespace
        self._images = images
        self._watchers = Watchers(made=True)

    def limit(self) -> float:
        """Return 30 minutes."""
        return _LIMIT

    def look(self, kubectl: Kubectl, found: Found, waited: float, /) -> Verdict:
        """Judge all workloads; after a while read also why their pods wait."""
        there = [found[key] for key in self.keys if key in found]
        verdict = csi_verdict(there, self._images)
        if verdict.state == WAITING and self._watchers.is_nobody(kubectl, there, waited):
            return Verdict(DONE, "no controller ever wrote a CSI workload's status, so nothing to wait for")
        late = [item for item in there if workload_verdict(item, self._images).state == WAITING]
        if verdict.state == WAITING and waited >= PATIENCE and late:
            return explained(verdict, kubectl, self._namespace, selector_of(late[0]))
        return verdict


def csi_verdict(workloads: Sequence[JsonObject], images: Mapping[str, str]) -> Verdict:
    """Judge all CSI workloads. None at all is no failure: without a CephCluster nothing CSI is deployed (to v1.19)."""
    if not workloads:
        return Verdict(DONE, "no CSI workload is here: nothing to wait for")
    verdicts = [workload_verdict(item, images) for item in workloads]
    for state in (FAILING, WAITING):
        found = [verdict for verdict in verdicts if verdict.state == state]
        if found:
            return Verdict(state, "; ".join(verdict.text for verdict in found), found[0].hint)
    by_hand = [verdict.text for verdict in verdicts if "OnDelete" in verdict.text]
    return Verdict(DONE, "; ".join([f"{len(workloads)} workloads have the new images", *by_hand]))


def workload_verdict(item: JsonObject, images: Mapping[str, str]) -> Verdict:
    """Judge one CSI workload; one that its operator has not touched yet is waited for, not failing."""
    shown, wanted = images_of(item), container_images(item, images)
    name = f"{text(item, 'kind')}/{text(item, 'metadata', 'name')}"
    late = sorted(container for container, image in wanted.items() if image != shown[container])
    if late:
        hint = "the log of rook-ceph-operator (or ceph-csi-controller-manager) tells why it does not change them"
        return Verdict(WAITING, f"{name}: {', '.join(late)} without the new image yet", hint)
    if text(item, "spec", "updateStrategy", "type") == "OnDelete":
        return Verdict(DONE, f"{name} is OnDelete: its pods change when someone deletes them, node by node")
    return rollout_verdict(item, wanted)


def container_images(item: JsonObject, images: Mapping[str, str]) -> dict[str, str]:
    """Return container -> the one of ``images`` (role -> reference) it is to run, of those that play a role."""
    # Rook v1.9.1 to v1.10.0 has an image of its own on the nodes; everywhere else it is cephcsi.
    own = {"csi-nfsplugin": "nfs"} if "nfs" in images and text(item, "kind") == "DaemonSet" else {}
    played = ((name, {**_CONTAINERS, **own}.get(name, "")) for name in images_of(item))
    return {name: images[role] for name, role in played if role in images}


class ImageSetWait:
    """Waits until Rook (v1.15 to v1.19) copied its images to the ConfigMap the csi-operator reads."""

    name = "CSI image set"

    def __init__(self, document: str, namespace: str, images: Mapping[str, str]) -> None:
        self.document = document
        self.keys = (Key("v1", "ConfigMap", namespace, IMAGE_SET),)
        self._images = images

    def limit(self) -> float:
        """Return 15 minutes."""
        return _LIMIT / 2

    def look(self, kubectl: Kubectl, found: Found, waited: float, /) -> Verdict:
        """Judge the ConfigMap."""
        return image_set_verdict(found.get(self.keys[0]), self._images)


def image_set_verdict(item: JsonObject | None, images: Mapping[str, str]) -> Verdict:
    """Judge the image set; where there is none, Rook does not use the csi-operator."""
    if item is None:
        return Verdict(DONE, "no image set of the csi-operator is here: nothing to wait for")
    late = sorted(role for role, image in images.items() if field(item, "data", role) not in {image, None})
    if late:
        return Verdict(WAITING, f"Rook has not copied {', '.join(late)} to {IMAGE_SET} yet")
    return Verdict(DONE, f"{IMAGE_SET} has the new images")


def _key(kind: str, namespace: str, name: str) -> Key:
    return Key("apps/v1", kind, namespace, name)
