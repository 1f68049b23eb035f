"""``init``'s configs: each one loads, and holds what its release runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bundler.config import BuildConfig, parse_config
from bundler.render.model import PinnedImage
from bundler.render.rook import assign
from bundler.rookpresets import find_release, load_releases
from bundler.starter import plain_config, rook_config
from loader.bundle.errors import ConfigError

RELEASES = load_releases()


def loaded(text: str) -> BuildConfig:
    def read(path: Path, cap: int) -> bytes:
        assert cap > 0
        assert path.parent == Path("/site/manifests")
        return b"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n"

    return parse_config(text.encode(), directory=Path("/site"), what="bundle.yaml", read=read)


def pinned(config: BuildConfig) -> list[PinnedImage]:
    return [
        PinnedImage(image.name.name, image.name.tag, f"sha256:{index:064x}", image.repository)
        for index, image in enumerate(config.images)
    ]


@pytest.mark.parametrize("version", RELEASES)
def test_every_release_gives_a_config_that_builds(version: str) -> None:
    release = RELEASES[version]
    text = rook_config("bundle.yaml", "reg.example:5000/a", release)
    assert len(max(text.splitlines(), key=len)) < 240
    config = loaded(text)
    assert config.rook is not None
    assert config.rook.version == version
    assert [str(image.name) for image in config.images] == list(dict.fromkeys(release.images.values()))
    roles = assign(config.rook, pinned(config))
    wanted = {
        "operator": "operator",
        "ceph": "ceph",
        "plugin": "cephcsi",
        "registrar": "registrar",
        "provisioner": "provisioner",
        "resizer": "resizer",
        "snapshotter": "snapshotter",
        "attacher": "attacher",
        "addons": "csiaddons",
        "csiOperator": "csi_operator",
    }
    named = {role: f"{image.source}:{image.tag}" for role, image in roles.items()}
    assert named == {role: release.images[key] for role, key in wanted.items() if key in release.images}


@pytest.mark.parametrize("version", ["v1.4.0", "v1.7.11", "v1.15.0", "v1.18.0", "v1.20.6"])
def test_what_is_commented_out_is_valid_too(version: str) -> None:
    text = rook_config("bundle.yaml", "reg.example", RELEASES[version])
    text = re.sub(r"^# (- [^{]|sequence|notAfter|manifests:)", r"\1", text, flags=re.MULTILINE)
    text = re.sub(r"^    # toolbox", "    toolbox", text, flags=re.MULTILINE)
    config = loaded(text.replace("manifests:\n", "manifests: []\n"))
    images = {str(image.name) for image in config.images}
    assert images >= {item.image for item in RELEASES[version].optional}
    assert config.rook is not None
    assert str(config.rook.images["toolbox"]) == RELEASES[version].images["toolbox"]
    assert config.sequence == 1


def test_the_files_of_each_release_are_named() -> None:
    def files(version: str) -> list[str]:
        return re.findall(r"manifests/([a-z-]+)\.yaml", rook_config("b", "reg.example", RELEASES[version]))

    assert files("v1.4.0") == ["common", "operator-openshift", "cluster", "toolbox"]
    assert files("v1.17.9") == ["crds", "common", "operator-openshift", "cluster", "toolbox"]
    assert files("v1.20.6") == ["crds", "common", "csi-operator", "operator-openshift", "cluster", "toolbox"]
    assert "tree/v1.7.0/cluster/examples/kubernetes/ceph" in rook_config("b", "r.example", RELEASES["v1.7.0"])


def test_the_gaps_of_upstream_lists_are_closed() -> None:
    assert RELEASES["v1.18.0"].images["csi_operator"] == "quay.io/cephcsi/ceph-csi-operator:v0.4.0"
    assert RELEASES["v1.16.0"].images["toolbox"] == "quay.io/ceph/ceph:v19"
    optional = {item.image: item.needs for item in RELEASES["v1.16.0"].optional}
    assert "ROOK_USE_CSI_OPERATOR" in optional["gcr.io/kubebuilder/kube-rbac-proxy:v0.16.0"]
    assert "ROOK_USE_CSI_OPERATOR" in optional["quay.io/cephcsi/ceph-csi-operator:v0.1.0"]
    assert any("NVMe-oF" in item.needs for item in RELEASES["v1.19.0"].optional)
    assert any("multus" in item.needs for item in RELEASES["v1.19.0"].optional)


def test_the_plain_config_loads() -> None:
    assert [str(image.name) for image in loaded(plain_config("b", "reg.example")).images] == [
        "registry.k8s.io/pause:3.10"
    ]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("v1.14.9", "v1.14.9"),
        ("1.14.9", "v1.14.9"),
        ("v1.20.7", "v1.20.6"),
        ("v1.7.99", "v1.7.11"),
        ("v1.20.7-3-gab", "v1.20.6"),
    ],
)
def test_the_nearest_patch_release(asked: str, found: str) -> None:
    assert find_release(asked, RELEASES).version == found


@pytest.mark.parametrize(
    ("asked", "named"),
    [("v1.21.0", "v1.20.6"), ("v1.3.9", "v1.4.0"), ("v2.0.0", "v1.20.6"), ("v0.9.0", "v1.4.0"), ("master", "vX.Y.Z")],
)
def test_an_unknown_release_names_the_nearest(asked: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_release(asked, RELEASES)
    assert named in caught.value.why


def test_the_data_says_where_it_is_from() -> None:
    plain = json.loads((Path(__file__).parents[3] / "bundler/presets/rook-default-images.json").read_text())
    assert "rook/rook" in plain["sources"][0]
    assert len(plain["releases"]) == len(RELEASES) == 194


@pytest.mark.parametrize("version", RELEASES)
def test_only_a_tag_that_moves_is_called_one(version: str) -> None:
    lines = rook_config("bundle.yaml", "reg.example", RELEASES[version]).splitlines()
    called = [line.split()[1] for line in lines if "a tag that moves" in line]
    assert called == [image for image in called if re.fullmatch(r"quay\.io/ceph/ceph:v[0-9]+", image)]
    assert called == [line.split()[1] for line in lines if re.match(r"- quay\.io/ceph/ceph:v[0-9]+ ", line)]
