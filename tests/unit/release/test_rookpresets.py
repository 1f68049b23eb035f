"""The presets are what Rook's own files say, at each release."""

from __future__ import annotations

import json

import pytest

from release.rookpresets import DATA, differences, release_images, releases, written

CODE = """\
const (
	DefaultCSIPluginImage   = "quay.io/cephcsi/cephcsi:v3.9.0"
	DefaultRegistrarImage   = "registry.k8s.io/sig-storage/csi-node-driver-registrar:v2.8.0"
"""
IMAGE_SET = """\
metadata:
  name: rook-csi-operator-image-set-configmap
data:
  plugin: "quay.io/cephcsi/cephcsi:v3.17.0"
  addons: "quay.io/csiaddons/k8s-sidecar:v0.14.0"
---
data:
  registrar: "not/this:1"
---
          image: docker.io/rook/ceph:v1.20.0
"""
OLD = "cluster/examples/kubernetes/ceph"


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (
            {"pkg/operator/ceph/csi/spec.go": CODE, f"{OLD}/operator.yaml": "        image: rook/ceph:v1.4.0\n"},
            {
                "operator": "docker.io/rook/ceph:v1.4.0",
                "cephcsi": "quay.io/cephcsi/cephcsi:v3.9.0",
                "registrar": "registry.k8s.io/sig-storage/csi-node-driver-registrar:v2.8.0",
            },
        ),
        (
            {"deploy/examples/operator.yaml": IMAGE_SET, f"{OLD}/operator.yaml": "    image: rook/ceph:old\n"},
            {
                "operator": "docker.io/rook/ceph:v1.20.0",
                "cephcsi": "quay.io/cephcsi/cephcsi:v3.17.0",
                "csiaddons": "quay.io/csiaddons/k8s-sidecar:v0.14.0",
            },
        ),
        (
            {
                "deploy/examples/csi-operator.yaml": "    image:\n      type: string\n"
                "          image: gcr.io/kubebuilder/kube-rbac-proxy:v0.16.0\n"
                "          image: quay.io/cephcsi/ceph-csi-operator:latest\n",
                "deploy/examples/cluster.yaml": "    #image: quay.io/ceph/ceph:no\n    image: quay.io/ceph/ceph:v18\n",
            },
            {
                "ceph": "quay.io/ceph/ceph:v18",
                "csi_operator": "quay.io/cephcsi/ceph-csi-operator:latest",
                "kube_rbac_proxy": "gcr.io/kubebuilder/kube-rbac-proxy:v0.16.0",
            },
        ),
    ],
)
def test_images_of_a_release(files: dict[str, str], wanted: dict[str, str]) -> None:
    assert release_images(files.get) == wanted


def test_which_tags_are_releases() -> None:
    tags = ["v1.10.0", "v1.9.1", "v1.3.11", "v1.4.0", "v1.5.0-beta.0", "v2.0.0", "pkg/apis/v1.9.1"]
    assert releases(tags) == ["v1.4.0", "v1.9.1", "v1.10.0"]


def test_the_file_of_the_package_is_in_the_form_that_is_written() -> None:
    known = json.loads(DATA.read_text())
    assert written(known, known["releases"]) == DATA.read_text()


def test_differences_name_what_is_gone_and_what_came() -> None:
    assert differences({"v1": {"ceph": "a"}}, {"v1": {"toolbox": "b"}}) == [
        "v1 ceph: a -> None",
        "v1 toolbox: None -> b",
    ]
