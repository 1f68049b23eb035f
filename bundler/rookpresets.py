"""The images of every Rook release, as data in the package: what a release's own manifests and code run."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass

from loader.bundle.errors import ConfigError
from loader.cluster.rookrange import Version, parse_version

_DATA = "presets/rook-default-images.json"
_NAMED = 3

# Data's names of the images that every cluster of a release runs, in the order people read them.
CORE = (
    "operator",
    "ceph",
    "cephcsi",
    "registrar",
    "provisioner",
    "resizer",
    "snapshotter",
    "attacher",
    "csiaddons",
    "csi_operator",
    "toolbox",
)
# From this release on the ceph-csi-operator runs in every cluster; before it is a site's choice.
CSI_OPERATOR: Version = (1, 18, 0)


@dataclass(frozen=True)
class Addition:
    """An image that only some clusters run, and what in the cluster asks for it."""

    image: str
    needs: str


@dataclass(frozen=True)
class Release:
    """One Rook release: ``images`` by the data's names, ``optional`` with the reason to take each."""

    version: str
    images: Mapping[str, str]
    optional: tuple[Addition, ...]

    @property
    def number(self) -> Version:
        """The version as numbers."""
        return _number(self.version)


_CSI_SWITCH = 'ROOK_USE_CSI_OPERATOR: "true"'
# What asks for the images that upstream lists beside the core ones.
_NEEDS = {
    "csi_operator": f"the ceph-csi-operator, a choice in this release: {_CSI_SWITCH}",
    "kube_rbac_proxy": f"the ceph-csi-operator's second container: {_CSI_SWITCH}",
    "volrep": 'volume replication: CSI_ENABLE_VOLUME_REPLICATION: "true"',
    "nfsplugin": 'NFS volumes: ROOK_CSI_ENABLE_NFS: "true"',
    "cosi_driver": "object buckets by COSI: a CephCOSIDriver",
    "cosi_sidecar": "object buckets by COSI: a CephCOSIDriver",
}
# Images that no list of upstream's has: (first release, image, what asks for it).
_BESIDE: tuple[tuple[Version, str, str], ...] = (
    ((1, 12, 0), "quay.io/nginx/nginx-unprivileged:stable-alpine", "multus: the test `rook multus validation run`"),
    ((1, 19, 0), "quay.io/ceph/nvmeof:1.5", "NVMe-oF: a CephNVMeOFGateway without an image of its own"),
    (
        (1, 20, 2),
        "registry.k8s.io/sig-storage/csi-snapshot-metadata:v1.0.0",
        "changed blocks of snapshots: a SnapshotMetadataService",
    ),
)


def load_releases() -> Mapping[str, Release]:
    """Return every release by its tag, oldest first."""
    text = importlib.resources.files("bundler").joinpath(_DATA).read_text(encoding="utf-8")
    releases = {version: _release(version, images) for version, images in json.loads(text)["releases"].items()}
    return dict(sorted(releases.items(), key=lambda item: item[1].number))


def find_release(version: str, releases: Mapping[str, Release]) -> Release:
    """Return the release ``version``, or for an unknown patch release the nearest of the same minor.

    ``ConfigError`` naming the nearest releases when there is none of this minor.
    """
    wanted = parse_version(version)
    if wanted is None:
        raise ConfigError(
            f"{version[:80]!a} is not a Rook release", why="it is not vX.Y.Z", hint="init --list names them"
        )
    known = releases.values()
    same = [release for release in known if release.number[:2] == wanted[:2]]
    if same:
        return min(same, key=lambda release: (abs(release.number[2] - wanted[2]), release.number[2]))
    nearest = sorted(known, key=lambda release: _distance(release.number, wanted))[:_NAMED]
    raise ConfigError(
        f"no images are known for Rook {version}",
        why=f"the nearest releases are {', '.join(release.version for release in nearest)}",
        hint="init --list names them all; find-images reads the list out of the release's own manifests",
    )


def _distance(one: Version, other: Version) -> tuple[int, int, int]:
    major, minor = abs(one[0] - other[0]), abs(one[1] - other[1])
    if major:
        # Across majors it is the newest of an older one, and the oldest of a newer one.
        return (major, -one[1], -one[2]) if one < other else (major, one[1], one[2])
    # Across minors the newest patch of an older minor, and the oldest of a newer one, is the nearest.
    return major, minor, -one[2] if one < other else one[2]


def _release(version: str, images: Mapping[str, str]) -> Release:
    number = _number(version)
    core = {name: images[name] for name in CORE if name in images}
    if number < CSI_OPERATOR:
        core.pop("csi_operator", None)
    extra = [Addition(image, _NEEDS[name]) for name, image in images.items() if name not in core]
    extra += [Addition(image, needs) for since, image, needs in _BESIDE if number >= since]
    return Release(version, core, tuple(extra))


def _number(version: str) -> Version:
    number = parse_version(version)
    if number is None:
        raise RuntimeError(f"the presets name {version!a}, which is no release")
    return number
