"""Every Rook release there is an image list of: which documents, which keys, and what its charts make of the values."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import yaml

from bundler.render.helm import render_helm
from bundler.render.model import PinnedImage, Rendered
from bundler.render.rook import RookConfig, assign, default_range, render_rook
from bundler.rookpresets import Release, load_releases
from loader.cluster.rookrange import Version, in_range
from loader.oci.model import ImageRef
from tests.golden.article import pinned

RELEASES = load_releases()
SIX = ("attacher", "plugin", "provisioner", "registrar", "resizer", "snapshotter")
KEYS = {"plugin": "ROOK_CSI_CEPH_IMAGE", **{role: f"ROOK_CSI_{role.upper()}_IMAGE" for role in SIX if role != "plugin"}}
CHART = {"plugin": "cephcsi", **{role: role for role in SIX if role != "plugin"}}


def images_of(release: Release) -> tuple[PinnedImage, ...]:
    """Every image of a release, optional ones too, each with a digest of its own."""
    names = {*release.images.values(), *(extra.image for extra in release.optional)}
    refs = [ImageRef.parse(name) for name in sorted(names)]
    # The toolbox's moving tag (v19) is a second image of Ceph: the config has to say which is which.
    return tuple(pinned(f"{ref.name}:{ref.tag}", hashlib.sha256(str(ref).encode()).hexdigest()) for ref in refs)


def config(release: Release) -> RookConfig:
    said = {"ceph": ImageRef.parse(release.images["ceph"])}
    return RookConfig(release.version, default_range(release.version), "rook-ceph", "rook-ceph", "rook-ceph", said)


def rendered(release: Release) -> dict[str, Rendered]:
    return {item.name: item for item in render_rook(config(release), images_of(release))}


def wanted_documents(version: Version) -> list[str]:
    names = ["rook-operator", "rook-csi", "rook-cluster"]
    if version >= (1, 15, 0):
        names.insert(1, "rook-csi-operator")
    return names


@pytest.mark.parametrize("release", RELEASES.values(), ids=lambda release: release.version)
def test_a_release_gets_its_documents(release: Release) -> None:
    found, version = rendered(release), release.number
    assert list(found) == wanted_documents(version)
    roles = assign(config(release), images_of(release))
    data = json.loads(found["rook-csi"].content)["data"]
    target = found["rook-csi"].document.target
    assert target is not None
    new = version >= (1, 20, 0)
    assert target.name == ("rook-csi-operator-image-set-configmap" if new else "rook-ceph-operator-config")
    expected = {role if new else KEYS[role]: roles[role].reference for role in SIX}
    if version >= (1, 8, 3):
        expected["addons" if new else "ROOK_CSIADDONS_IMAGE"] = roles["addons"].reference
    if (1, 6, 0) <= version <= (1, 10, 0):
        expected["CSI_VOLUME_REPLICATION_IMAGE"] = roles["volumeReplication"].reference
    if (1, 9, 1) <= version <= (1, 10, 0):
        expected["ROOK_CSI_NFS_IMAGE"] = roles["nfs"].reference
    assert data == expected
    for item in found.values():
        assert item.document.when.rook is not None
        assert in_range(version, item.document.when.rook)
        # ConfigMaps of v1.19 and v1.20 are never mistaken for each other's by two minors.
        assert not in_range((1, version[1] + 1, 0), item.document.when.rook)


def composed(values: dict[str, Any]) -> str:
    """The reference a chart prints: ``"{{ .repository }}:{{ .tag }}"``."""
    assert set(values) == {"repository", "tag"}
    return f"{values['repository']}:{values['tag']}"


@pytest.mark.parametrize("release", RELEASES.values(), ids=lambda release: release.version)
def test_its_charts_make_digests_of_the_values(release: Release) -> None:
    version, roles = release.number, assign(config(release), images_of(release))
    found = {item.name: yaml.safe_load(item.content) for item in render_helm(config(release), images_of(release))}
    assert list(found) == ["helm/rook-ceph"] + (["helm/rook-ceph-cluster"] if version >= (1, 7, 0) else [])
    first, *_ = render_helm(config(release), images_of(release))
    assert (b"ceph-csi-drivers" in first.content) is (version >= (1, 20, 0))
    operator = found["helm/rook-ceph"]
    assert composed(operator["image"]) == roles["operator"].reference
    for role, name in CHART.items():
        value = operator["csi"][name]
        reference = composed(value) if version >= (1, 14, 0) else value["image"]
        assert reference == roles[role].reference
    if version >= (1, 18, 0):
        manager = operator["ceph-csi-operator"]["controllerManager"]["manager"]["image"]
        assert composed(manager) == roles["csiOperator"].reference
    else:
        assert "ceph-csi-operator" not in operator
    if version >= (1, 7, 0):
        cluster = found["helm/rook-ceph-cluster"]
        assert cluster["toolbox"]["image"] == roles["ceph" if version >= (1, 10, 0) else "operator"].reference
        ceph = roles["ceph"].reference
        if version >= (1, 19, 0):
            assert composed(cluster["cephImage"]) == ceph
        assert cluster["cephClusterSpec"]["cephVersion"]["image"] == ceph


def test_there_are_all_releases() -> None:
    assert len(RELEASES) == 194
    assert {release.number[1] for release in RELEASES.values()} == set(range(4, 21))
