from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from bundler.render.model import PinnedImage, Rendered
from bundler.render.rook import (
    ROLES,
    RookConfig,
    assign,
    default_range,
    range_problem,
    render_rook,
    version_problem,
)
from loader.bundle.digest import digest_of, sha256_hex
from loader.bundle.errors import ConfigError
from loader.bundle.manifest import Target
from loader.oci.model import ImageRef
from tests.golden.article import IMAGES, pinned

ADDONS = pinned("quay.io/csiaddons/k8s-sidecar:v0.14.0", "1" * 64)
CSI_OPERATOR = pinned("quay.io/cephcsi/ceph-csi-operator:v1.0.4", "2" * 64)
RBAC_PROXY = pinned("gcr.io/kubebuilder/kube-rbac-proxy:v0.16.0", "6" * 64)
NFS = pinned("registry.k8s.io/sig-storage/nfsplugin:v4.0.0", "7" * 64)
CEPH, OPERATOR = IMAGES[0], IMAGES[1]


def rook(version: str = "v1.5.0", **images: str) -> RookConfig:
    named = {role: ImageRef.parse(text) for role, text in images.items()}
    return RookConfig(version, default_range(version), "rook-ceph", "rook-ceph", "rook-ceph", named)


def documents(config: RookConfig, *images: PinnedImage) -> dict[str, Rendered]:
    return {item.name: item for item in render_rook(config, images)}


def faults(config: RookConfig, *images: PinnedImage) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        render_rook(config, images)
    return list(caught.value.faults)


@pytest.mark.parametrize(
    ("version", "name", "size", "sha256"),
    [
        ("v1.5.0", "rook-operator", 179, "51f54ad866be3574c344000a81d55b71fd34dff73413b90ca39d491638c66103"),
        ("v1.5.0", "rook-csi", 834, "f1bb39ed780f17162567d005905d08aaff64a8b175f4fb586054d174fa751a33"),
        ("v1.19.10", "rook-csi", 834, "f1bb39ed780f17162567d005905d08aaff64a8b175f4fb586054d174fa751a33"),
        ("v1.5.0", "rook-cluster", 128, "6d46a1a6df80880f7ea7aa88d6f1b7cb21d8a0d71a8c03a58cffec25896ec975"),
        ("v1.20.0", "rook-csi", 746, "0a61aa5cae443a915440722f4bd8bcd43461ca78117957b1f2b98ec940f48c52"),
    ],
)
def test_g1_to_g4_byte_for_byte(version: str, name: str, size: int, sha256: str) -> None:
    content = documents(rook(version), *IMAGES)[name].content
    assert (len(content), sha256_hex(content)) == (size, sha256)


@pytest.mark.parametrize(
    ("version", "target"),
    [
        ("v1.4.0", "rook-ceph-operator-config"),
        ("v1.19.99", "rook-ceph-operator-config"),
        ("v1.20.0", "rook-csi-operator-image-set-configmap"),
        ("v1.21.0", "rook-csi-operator-image-set-configmap"),
    ],
)
def test_the_config_map_is_the_one_that_version_reads(version: str, target: str) -> None:
    found = documents(rook(version), *IMAGES)["rook-csi"].document
    assert found.target == Target("v1", "ConfigMap", "rook-ceph", target)
    assert (found.action, found.phase, found.wait, found.otherwise) == ("merge-patch", "rook", "csi", "refuse")
    assert found.when.rook == default_range(version)


def test_objects_stand_in_the_namespaces_of_the_config() -> None:
    config = replace(rook(toolbox="docker.io/rook/ceph:master"), operator_namespace="ops", cluster_namespace="data")
    found = render_rook(replace(config, ceph_cluster="main"), IMAGES)
    assert [(item.name, item.document.target) for item in found] == [
        ("rook-operator", Target("apps/v1", "Deployment", "ops", "rook-ceph-operator")),
        ("rook-csi", Target("v1", "ConfigMap", "ops", "rook-ceph-operator-config")),
        ("rook-cluster", Target("ceph.rook.io/v1", "CephCluster", "data", "main")),
        ("rook-toolbox", Target("apps/v1", "Deployment", "data", "rook-ceph-tools")),
    ]
    assert [item.document.action for item in found] == [
        "strategic-patch",
        "merge-patch",
        "merge-patch",
        "strategic-patch",
    ]
    assert [item.document.wait for item in found] == ["rollout", "csi", "ceph", "rollout"]
    assert [item.document.path for item in found] == [
        f"documents/rook/{stem}.json" for stem in ("operator", "csi", "cluster", "toolbox")
    ]


def test_what_is_auto_is_left_open_for_the_loader() -> None:
    config = RookConfig("v1.5.0", default_range("v1.5.0"), "auto", "auto", "auto", {})
    targets = {name: item.document.target for name, item in documents(config, *IMAGES).items()}
    assert targets == {
        "rook-operator": Target("apps/v1", "Deployment", None, "rook-ceph-operator"),
        "rook-csi": Target("v1", "ConfigMap", None, "rook-ceph-operator-config"),
        "rook-cluster": Target("ceph.rook.io/v1", "CephCluster", None, "auto"),
    }


def test_every_reference_is_a_digest_of_the_source() -> None:
    images = (*IMAGES, ADDONS, CSI_OPERATOR)
    known = {image.reference for image in images}
    for version in ("v1.18.0", "v1.20.6"):
        for item in render_rook(rook(version), images):
            text = item.content.decode()
            found = {word for word in text.split('"') if "@" in word or "/" in word}
            assert found <= known


def test_csi_operator_is_patched_where_rook_runs_it() -> None:
    images = (*IMAGES, CSI_OPERATOR)
    assert "rook-csi-operator" not in documents(rook("v1.14.12"), *images)
    # A site's choice until v1.18, with a second container.
    chosen = documents(rook("v1.17.9"), *images, RBAC_PROXY)["rook-csi-operator"]
    assert chosen.document.otherwise == "skip"
    containers = json.loads(chosen.content)["spec"]["template"]["spec"]["containers"]
    assert containers[1:] == [{"name": "kube-rbac-proxy", "image": RBAC_PROXY.reference}]
    found = render_rook(rook("v1.18.0"), images)
    assert [item.name for item in found] == ["rook-operator", "rook-csi-operator", "rook-csi", "rook-cluster"]
    document = found[1].document
    assert document.target == Target("apps/v1", "Deployment", "rook-ceph", "ceph-csi-controller-manager")
    assert document.otherwise == "refuse"
    containers = json.loads(found[1].content)["spec"]["template"]["spec"]["containers"]
    assert containers == [{"name": "manager", "image": CSI_OPERATOR.reference}]


@pytest.mark.parametrize(
    ("version", "key"),
    [("v1.8.2", None), ("v1.8.3", "ROOK_CSIADDONS_IMAGE"), ("v1.19.0", "ROOK_CSIADDONS_IMAGE"), ("v1.20.0", "addons")],
)
def test_addons_came_with_1_8_3(version: str, key: str | None) -> None:
    data = json.loads(documents(rook(version), *IMAGES, ADDONS)["rook-csi"].content)["data"]
    assert {name for name, value in data.items() if value == ADDONS.reference} == ({key} if key else set())


def test_the_toolbox_is_patched_only_when_the_config_says_so() -> None:
    assert "rook-toolbox" not in documents(rook(), *IMAGES)
    item = documents(rook(toolbox="docker.io/ceph/ceph:v15.2.4"), *IMAGES)["rook-toolbox"]
    containers = json.loads(item.content)["spec"]["template"]["spec"]["containers"]
    assert containers == [{"name": "rook-ceph-tools", "image": CEPH.reference}]


def test_an_external_cluster_without_a_ceph_image_gets_no_ceph_patch() -> None:
    assert [item.name for item in render_rook(rook(), IMAGES[1:])] == ["rook-operator", "rook-csi"]


@pytest.mark.parametrize("role", [role.name for role in ROLES.values() if role.required])
def test_a_role_that_rook_would_fill_by_tag_is_needed(role: str) -> None:
    rest = [image for image in IMAGES if image is not assign(rook(), IMAGES)[role]]
    ((place, problem),) = faults(rook(), *rest)
    assert place == f"rook.images.{role}"
    assert "Rook would pull its own default by tag" in problem


def test_two_candidates_are_named() -> None:
    other = pinned("quay.io/ceph/ceph:v15.2.5", "3" * 64)
    assert faults(rook(), *IMAGES, other) == [("rook.images.ceph", f"2 images fit: {CEPH} and {other}; say which")]
    found = documents(rook(ceph="quay.io/ceph/ceph:v15.2.5"), *IMAGES, other)["rook-cluster"]
    assert other.reference.encode() in found.content


def test_two_tags_of_one_image_are_one_candidate() -> None:
    assert "rook-cluster" in documents(rook(), *IMAGES, replace(CEPH, tag="v15"))


def test_an_image_said_to_be_the_toolbox_is_no_candidate_for_ceph() -> None:
    tools = pinned("docker.io/ceph/ceph:v15", "4" * 64)
    found = documents(rook(toolbox="docker.io/ceph/ceph:v15"), *IMAGES, tools)
    assert CEPH.reference.encode() in found["rook-cluster"].content
    assert tools.reference.encode() in found["rook-toolbox"].content


def test_any_name_will_do_when_the_config_gives_the_role() -> None:
    own = pinned("site.example/build/my-operator:7", "5" * 64)
    found = documents(rook(operator="site.example/build/my-operator:7"), *IMAGES, own)
    assert own.reference.encode() in found["rook-operator"].content


def test_a_role_given_an_image_that_is_not_there() -> None:
    assert faults(rook(ceph="docker.io/ceph/ceph:v99"), *IMAGES) == [
        ("rook.images.ceph", "docker.io/ceph/ceph:v99 is not in images")
    ]


@pytest.mark.parametrize(
    ("version", "role", "image", "since"),
    [
        ("v1.8.2", "addons", ADDONS, "v1.8.3"),
        ("v1.14.12", "csiOperator", CSI_OPERATOR, "v1.15.0"),
        ("v1.10.1", "nfs", NFS, "v1.9.1, and went with v1.10.1"),
    ],
)
def test_a_role_that_this_rook_does_not_have(version: str, role: str, image: PinnedImage, since: str) -> None:
    config = rook(version, **{role: f"{image.source}:{image.tag}"})
    assert faults(config, *IMAGES, image) == [
        (f"rook.images.{role}", f"Rook {version} has no such image; it came with {since}")
    ]


def test_all_faults_of_a_set_are_listed_at_once() -> None:
    found = faults(rook(ceph="a/b:1"), OPERATOR)
    assert [place.rpartition(".")[2] for place, _ in found] == [
        "ceph",
        "plugin",
        "registrar",
        "provisioner",
        "resizer",
        "snapshotter",
        "attacher",
    ]


# Rook's own default images at releases where names changed (images.txt or operator code of that tag).
SIDECARS = ("csi-node-driver-registrar", "csi-provisioner", "csi-resizer", "csi-snapshotter", "csi-attacher")
DEFAULTS = [
    ("v1.4.0", "docker.io/rook/ceph", "docker.io/ceph/ceph", "quay.io/k8scsi", ()),
    ("v1.5.0", "docker.io/rook/ceph", "docker.io/ceph/ceph", "k8s.gcr.io/sig-storage", ()),
    (
        "v1.9.5",
        "docker.io/rook/ceph",
        "quay.io/ceph/ceph",
        "registry.k8s.io/sig-storage",
        ("quay.io/csiaddons/k8s-sidecar", "quay.io/csiaddons/volumereplication-operator"),
    ),
    (
        "v1.20.6",
        "docker.io/rook/ceph",
        "quay.io/ceph/ceph",
        "registry.k8s.io/sig-storage",
        (
            "quay.io/csiaddons/k8s-sidecar",
            "quay.io/cephcsi/ceph-csi-operator",
            "quay.io/ceph/cosi",
            "gcr.io/k8s-staging-sig-storage/objectstorage-sidecar",
        ),
    ),
]


@pytest.mark.parametrize(("version", "operator", "ceph", "sidecars", "others"), DEFAULTS)
def test_default_image_sets_are_matched_by_name(
    version: str, operator: str, ceph: str, sidecars: str, others: tuple[str, ...]
) -> None:
    names = [operator, ceph, "quay.io/cephcsi/cephcsi", *(f"{sidecars}/{name}" for name in SIDECARS), *others]
    images = [pinned(f"{name}:v1", hashlib.sha256(name.encode()).hexdigest()) for name in names]
    roles = {role: image.source for role, image in assign(rook(version), images).items()}
    expected = dict(
        zip(("operator", "ceph", "plugin", *("registrar", "provisioner", "resizer", "snapshotter", "attacher")), names)
    )
    if "quay.io/csiaddons/k8s-sidecar" in others:
        expected["addons"] = "quay.io/csiaddons/k8s-sidecar"
    if "quay.io/csiaddons/volumereplication-operator" in others:
        expected["volumeReplication"] = "quay.io/csiaddons/volumereplication-operator"
    if "quay.io/cephcsi/ceph-csi-operator" in others:
        expected["csiOperator"] = "quay.io/cephcsi/ceph-csi-operator"
    assert roles == expected


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v1.5.0", ">=v1.4.0 <v1.6.0"),
        ("v1.5.12", ">=v1.4.0 <v1.6.0"),
        ("v1.4.0", ">=v1.4.0 <v1.5.0"),
        ("v1.20.6", ">=v1.19.0 <v1.21.0"),
    ],
)
def test_the_default_range_is_the_same_and_the_previous_minor(version: str, expected: str) -> None:
    assert default_range(version) == expected
    assert range_problem(version, expected) is None


@pytest.mark.parametrize(
    ("version", "running", "problem"),
    [
        ("v1.19.3", ">=v1.18.0 <v1.20.0", None),
        ("v1.19.3", ">=v1.18.0 <=v1.20.0", "reaches v1.20"),
        ("v1.19.3", ">=v1.18.0 <v1.20.1", "reaches v1.20"),
        ("v1.19.3", ">v1.18.0", "reaches v1.20"),
        ("v1.19.3", "=v1.19.3", None),
        ("v1.20.0", ">=v1.19.0", None),
        ("v1.20.0", "<v1.20.0", "leaves out v1.20.0 itself"),
        ("v1.5.0", ">=1.4", "is not a range"),
        ("v1.5.0", "~v1.5.0", "is not a range"),
    ],
)
def test_ranges(version: str, running: str, problem: str | None) -> None:
    found = range_problem(version, running)
    assert (found is None) if problem is None else (found is not None and problem in found)


@pytest.mark.parametrize("text", ["master", "v1.5", "1.5.0.1", "v1.5.0\n", "v1.3.11", "v0.9.0", "v2.0.0", ""])
def test_versions_without_rules(text: str) -> None:
    assert version_problem(text) is not None


def test_a_list_digest_is_kept_as_it_is() -> None:
    digest = digest_of(b"an image index")
    found = documents(rook(), *(replace(image, digest=digest) if image is CEPH else image for image in IMAGES))
    assert json.loads(found["rook-cluster"].content)["spec"]["cephVersion"]["image"] == f"docker.io/ceph/ceph@{digest}"
