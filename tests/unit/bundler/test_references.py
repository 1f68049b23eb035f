"""Images in cluster objects: what is found, where, why, and what is not mistaken for one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from bundler.pinning import find_image, pin
from bundler.references import references
from bundler.render.model import PinnedImage
from loader.oci.model import ImageRef

DIGEST = "sha256:" + "1" * 64


def found(text: str) -> list[tuple[str, str, bool]]:
    return [(one.text, one.why, one.certain) for one in references(yaml.safe_load(text))]


def texts(text: str) -> list[str]:
    return [one.text for one in references(yaml.safe_load(text)) if one.certain]


TEMPLATE = "{containers: [{name: c, image: a/b:1}], initContainers: [{name: i, image: a/init:1}]}"

# Every kind with a pod template, wherever it stands.
TEMPLATES = [
    f"{{kind: Pod, metadata: {{name: x}}, spec: {TEMPLATE}}}",
    f"{{kind: PodTemplate, metadata: {{name: x}}, template: {{spec: {TEMPLATE}}}}}",
    *(
        f"{{kind: {kind}, metadata: {{name: x}}, spec: {{template: {{spec: {TEMPLATE}}}}}}}"
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "Rollout")
    ),
    f"{{kind: CronJob, metadata: {{name: x}}, spec: {{jobTemplate: {{spec: {{template: {{spec: {TEMPLATE}}}}}}}}}}}",
    (
        "{kind: ClusterServiceVersion, metadata: {name: x}, spec: {install: {spec: {deployments: "
        f"[{{name: d, spec: {{template: {{spec: {TEMPLATE}}}}}}}]}}}}}}}}"
    ),
]


@pytest.mark.parametrize("text", TEMPLATES)
def test_pod_templates_of_every_kind(text: str) -> None:
    assert found(text) == [("a/b:1", "container c", True), ("a/init:1", "init container i", True)]


def test_lists_are_walked_into() -> None:
    inner = {"kind": "List", "items": [yaml.safe_load(TEMPLATES[0])]}
    (first, second) = references({"kind": "List", "items": [{"kind": "Namespace"}, inner]})
    assert first.path == ("items", 1, "items", 0, "spec", "containers", 0, "image")
    assert (first.owner, second.owner) == ("Pod x", "Pod x")
    typed = references({"kind": "PodList", "items": [yaml.safe_load(TEMPLATES[0])]})
    assert len(typed) == 2


OWN = [
    ("ceph.rook.io/v1", "CephCluster", {"cephVersion": {"image": "q/ceph:1"}}),
    ("ceph.rook.io/v1", "CephNFS", {"server": {"image": "q/ceph:1"}}),
    ("ceph.rook.io/v1", "CephNFS", {"security": {"sssd": {"sidecar": {"image": "q/ceph:1"}}}}),
    ("ceph.rook.io/v1", "CephCOSIDriver", {"objectProvisionerImage": "q/ceph:1"}),
    ("ceph.rook.io/v1", "CephNVMeOFGateway", {"image": "q/ceph:1"}),
    ("operators.coreos.com/v1alpha1", "CatalogSource", {"image": "q/ceph:1"}),
    ("operators.coreos.com/v1alpha1", "ClusterServiceVersion", {"relatedImages": [{"name": "c", "image": "q/ceph:1"}]}),
    (
        "csi.ceph.io/v1",
        "Driver",
        {"nodePlugin": {"volumes": [{"volume": {}}]}, "x": {"containers": [{"image": "q/ceph:1"}]}},
    ),
    ("v1", "Pod", {"volumes": [{"name": "v", "image": {"reference": "q/ceph:1"}}]}),
]


@pytest.mark.parametrize(("version", "kind", "spec"), OWN)
def test_resources_with_fields_of_their_own(version: str, kind: str, spec: dict[str, Any]) -> None:
    item = {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    assert [(one.text, one.certain) for one in references(item)] == [("q/ceph:1", True)]


def test_environment_and_config_maps() -> None:
    pod = """
kind: Pod
metadata: {name: x}
spec:
  containers:
  - name: c
    image: a/b
    env:
    - {name: ROOK_CSI_CEPH_IMAGE, value: "quay.io/cephcsi/cephcsi:v3"}
    - {name: RELATED_IMAGE_CEPH, value: "quay.io/ceph/ceph:v18"}
    - {name: ROOK_CSI_IMAGE_PULL_POLICY, value: "a/b"}
    - {name: ALLOW_IMAGE, value: "true"}
    - {name: FROM_ELSEWHERE_IMAGE, valueFrom: {fieldRef: {fieldPath: a/b}}}
    - {name: OTHER, value: "quay.io/looks/like:one"}
"""
    assert found(pod) == [
        ("a/b", "container c", True),
        ("quay.io/cephcsi/cephcsi:v3", "environment ROOK_CSI_CEPH_IMAGE", True),
        ("quay.io/ceph/ceph:v18", "environment RELATED_IMAGE_CEPH", True),
        ("quay.io/looks/like:one", "looks like one at spec.containers.0.env.5.value", False),
    ]
    config_map = (
        "{kind: ConfigMap, metadata: {name: %s}, data: {ROOK_CSI_CEPH_IMAGE: a/b:1, plugin: a/c:1, ROOK_X: a/d}}"
    )
    assert texts(config_map % "rook-ceph-operator-config") == ["a/b:1"]
    assert texts(config_map % "rook-csi-operator-image-set-configmap") == ["a/b:1", "a/c:1", "a/d"]
    # A Driver or OperatorConfig of the ceph-csi-operator may name another one.
    assert texts("{kind: ConfigMap, metadata: {name: x}, data: {plugin: a/c:1, attacher: a/d:1}}") == ["a/c:1", "a/d:1"]


@pytest.mark.parametrize(
    "text",
    [
        "{kind: CustomResourceDefinition, spec: {containers: [{image: a/b:1}], default: quay.io/a/b:1}}",
        "{kind: Secret, data: {IMAGE: quay.io/a/b:1}}",
        "{kind: CephCluster, apiVersion: ceph.rook.io/v1, status: {version: {image: quay.io/a/b:1}}}",
        '{kind: X, spec: {url: "https://quay.io/a/b:1", file: a/b.c, mail: "me@example.com", go: "k8s.io/api v1"}}',
        "{kind: X, spec: {go: k8s.io/api, time: '10:30', version: v1.2.3}}",
        '{kind: Pod, spec: {containers: [{image: ""}, {image: 1}, x], initContainers: x}}',
        "[a, b]",
        "text",
    ],
)
def test_what_is_no_image(text: str) -> None:
    assert found(text) == []


def test_what_cannot_be_read_is_told_apart() -> None:
    text = '{kind: Pod, metadata: {name: x}, spec: {containers: [{name: c, image: "$(IMAGE)"}]}}'
    assert found(text) == [("$(IMAGE)", "container c", False)]


def test_arguments_that_look_like_images() -> None:
    text = "{kind: Pod, spec: {containers: [{args: ['--image=quay.io/a/b:1', '--x=quay.io/a/b']}]}}"
    assert found(text) == [("quay.io/a/b:1", "looks like one at spec.containers.0.args.0", False)]


def perhaps(value: object) -> list[str]:
    return [one.text for one in references({"kind": "X", "spec": value}) if not one.certain]


@pytest.mark.parametrize(
    ("value", "images"),
    [
        ({"image": "python:3.9", "other": "python:3.9"}, ["python:3.9"]),
        ({"baseImage": "quay.io/a/b", "thing": "quay.io/a/b"}, ["quay.io/a/b"]),
        ({"image": "IfNotPresent"}, []),
        ({"image": "assets/logo.png"}, []),
        ("a: 1\nimage: python:3\n- quay.io/a/b:2 # why\n", ["python:3", "quay.io/a/b:2"]),
        (
            '{"image": "python:3", "imagePullPolicy": "Always", "x": {"y": "quay.io/a/b:2"}}',
            ["python:3", "quay.io/a/b:2"],
        ),
        ("TOOL_IMAGE=python:3 run --with quay.io/a/b:2.", ["python:3", "quay.io/a/b:2"]),
        ("see https://quay.io/a/b:2 and k8s.io/api, at 10:30", []),
        ("image: {{ .Values.image }}\nimage: $(IMAGE)\n", []),
        ("image: " * 100_000, []),
        ("a.b/" * 100_000 + ":1 \n", []),
        ("x\n" * 600_000 + "quay.io/a/b:2", []),
    ],
)
def test_what_looks_like_one_in_longer_texts(value: object, images: list[str]) -> None:
    assert perhaps(value) == images


def test_keys_for_images_without_a_host() -> None:
    text = "{kind: Pod, spec: {containers: [{env: [{name: A_IMAGE, value: 'nginx:1.25'}, {name: B_IMAGE, value: x}]}]}}"
    assert found(text) == [("nginx:1.25", "environment A_IMAGE", False)]


def test_what_openshift_calls_an_image() -> None:
    stream = {
        "kind": "ImageStream",
        "metadata": {"name": "s"},
        "spec": {"tags": [{"from": {"kind": "DockerImage", "name": "a/b:1"}}]},
    }
    assert [(one.text, one.certain) for one in references(stream)] == [("a/b:1", True)]
    template = {"kind": "Template", "objects": [stream], "parameters": [{"name": "IMAGE", "value": "quay.io/a/c:1"}]}
    assert [(one.text, one.owner, one.certain) for one in references(template)] == [
        ("a/b:1", "ImageStream s", True),
        ("quay.io/a/c:1", "Template (no name)", False),
    ]
    # An image trigger fills this one in.
    assert texts("{kind: DeploymentConfig, spec: {containers: [{name: c, image: ' '}]}}") == []


IMAGES = (
    PinnedImage("docker.io/rook/ceph", "v1", DIGEST, "rook/ceph"),
    PinnedImage("quay.io/a/b", None, "sha256:" + "2" * 64, "a/b"),
)


@pytest.mark.parametrize(
    ("said", "index"),
    [
        ("rook/ceph:v1", 0),
        (f"docker.io/rook/ceph@{DIGEST}", 0),
        (f"docker.io/rook/ceph:other@{DIGEST}", 0),
        ("rook/ceph:v2", None),
        (f"rook/ceph@sha256:{'3' * 64}", None),
        ("quay.io/a/b", None),
        ("quay.io/rook/ceph:v1", None),
    ],
)
def test_which_image_a_reference_names(said: str, index: int | None) -> None:
    assert find_image(ImageRef.parse(said), IMAGES) == (None if index is None else IMAGES[index])


def test_pinning_writes_digests_and_nothing_else() -> None:
    document = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {
                "kind": "Pod",
                "metadata": {"name": "x", "annotations": {"note": "docker.io/rook/ceph:v1"}},
                "spec": {
                    "containers": [
                        {"name": "c", "image": "rook/ceph:v1", "args": ["--image=docker.io/rook/ceph:v1"]},
                        {"name": "d", "image": "quay.io/other/one:1"},
                        {"name": "e", "image": f"docker.io/rook/ceph@{DIGEST}"},
                    ]
                },
            },
            {
                "kind": "ConfigMap",
                "metadata": {"name": "m"},
                "data": {"ROOK_X_IMAGE": "rook/ceph:v1", "text": "rook/ceph:v1"},
            },
        ],
    }
    done = pin(json.dumps(document).encode(), IMAGES)
    plain = json.loads(done.content)
    reference = f"docker.io/rook/ceph@{DIGEST}"
    document["items"][0]["spec"]["containers"][0]["image"] = reference  # type: ignore[index]
    document["items"][1]["data"]["ROOK_X_IMAGE"] = reference  # type: ignore[index]
    assert plain == document
    assert [(one.text, text) for one, text in done.changed] == [("rook/ceph:v1", reference)] * 2
    assert [one.text for one in done.unknown] == ["quay.io/other/one:1"]
    assert pin(done.content, IMAGES).changed == ()


def test_pinning_follows_a_rewritten_index() -> None:
    old = "sha256:" + "9" * 64
    document = {"kind": "Pod", "spec": {"containers": [{"image": f"docker.io/rook/ceph@{old}"}]}}
    done = pin(json.dumps(document).encode(), [replace(IMAGES[0], rewritten=old)])
    assert json.loads(done.content)["spec"]["containers"][0]["image"] == f"docker.io/rook/ceph@{DIGEST}"
