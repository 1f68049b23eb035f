from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bundler.config import BuildConfig, ManifestFile, parse_config
from bundler.render.documents import NODE_FILES, bundle_mirrors, render_documents, summary
from loader.bundle.errors import ConfigError
from loader.bundle.manifest import ACTIONS, OTHERWISE, PHASES
from loader.mirrors import render_mirrors, retarget
from loader.nodefiles import render_node_files
from tests.golden.article import CONFIG, IMAGES, REGISTRY, TOOLBOX


def config() -> BuildConfig:
    return parse_config(CONFIG, directory=Path("/site"), what="bundle.yaml", read=lambda _path, _cap: TOOLBOX)


def test_mirrors_by_tag_are_applied_where_they_are_asked_for() -> None:
    asked = replace(config(), mirrors=replace(config().mirrors, tags=True))
    (found,) = [item.document for item in render_documents(asked, IMAGES) if item.name == "itms"]
    assert (found.action, found.wait, found.otherwise) == ("apply", "pools", "skip")


def test_order_and_words() -> None:
    found = render_documents(config(), IMAGES)
    assert [(item.document.path, item.document.phase, item.document.action, item.document.wait) for item in found] == [
        ("documents/mirrors/idms.yaml", "mirrors", "apply", "pools"),
        ("documents/mirrors/icsp.yaml", "mirrors", "apply", "pools"),
        ("documents/mirrors/itms.yaml", "mirrors", "file", None),
        ("documents/nodes/registries.conf", "nodes", "file", None),
        ("documents/nodes/containerd/docker.io/hosts.toml", "nodes", "file", None),
        ("documents/nodes/containerd/k8s.gcr.io/hosts.toml", "nodes", "file", None),
        ("documents/nodes/containerd/quay.io/hosts.toml", "nodes", "file", None),
        ("documents/nodes/registries.yaml", "nodes", "file", None),
        ("documents/nodes/hypershift.yaml", "nodes", "file", None),
        ("documents/nodes/microshift.conf", "nodes", "file", None),
        ("documents/rook/operator.json", "rook", "strategic-patch", "rollout"),
        ("documents/rook/csi.json", "rook", "merge-patch", "csi"),
        ("documents/rook/cluster.json", "rook", "merge-patch", "ceph"),
        ("documents/helm/rook-ceph.yaml", "rook", "file", None),
        ("documents/manifests/01-toolbox.json", "after-rook", "apply", None),
    ]
    for item in found:
        assert item.document.phase in PHASES
        assert item.document.action in ACTIONS
        assert item.document.otherwise in OTHERWISE


def test_what_the_cluster_must_serve_or_run() -> None:
    rendered = [item for item in render_documents(config(), IMAGES) if not item.name.startswith(NODE_FILES)]
    found = {item.name: item.document for item in rendered}
    assert {name: (item.when.api, item.when.rook, item.otherwise) for name, item in found.items()} == {
        "idms": ("config.openshift.io/v1/imagedigestmirrorsets", None, "skip"),
        "icsp": ("operator.openshift.io/v1alpha1/imagecontentsourcepolicies", None, "skip"),
        "itms": ("config.openshift.io/v1/imagetagmirrorsets", None, "skip"),
        "registries.conf": (None, None, "skip"),
        "rook-operator": (None, ">=v1.4.0 <v1.6.0", "refuse"),
        "rook-csi": (None, ">=v1.4.0 <v1.6.0", "refuse"),
        "rook-cluster": (None, ">=v1.4.0 <v1.6.0", "refuse"),
        "helm/rook-ceph": (None, ">=v1.4.0 <v1.6.0", "skip"),
        "toolbox": (None, None, "refuse"),
    }
    target = found["icsp"].target
    assert target is not None
    assert (target.kind, target.namespace, target.name) == ("ImageContentSourcePolicy", None, "rook-ceph-images")


def test_the_log_line() -> None:
    found = render_documents(replace(config(), manifests=()), IMAGES)
    words = "7 documents (icsp idms itms registries.conf rook-operator rook-csi rook-cluster)"
    assert summary(found) == f"{words}, 6 node files, 1 Helm file"
    assert summary(found[:1]) == "1 document (idms)"


def test_without_rook_there_are_mirrors_alone() -> None:
    found = render_documents(replace(config(), rook=None, manifests=()), IMAGES)
    assert {item.document.phase for item in found} == {"mirrors", "nodes"}


def test_manifests_of_one_name_have_two_paths() -> None:
    twice = tuple(ManifestFile(f"{folder}/common.yaml", "before-rook", b"{}") for folder in "ab")
    found = render_documents(replace(config(), manifests=twice), IMAGES)[-2:]
    assert [item.document.path for item in found] == [
        "documents/manifests/01-common.json",
        "documents/manifests/02-common.json",
    ]


def test_another_registry_at_load_gives_the_bytes_of_a_build_for_it() -> None:
    table = retarget(bundle_mirrors(config(), IMAGES), REGISTRY, "site7.local:8443/lab")
    documents = (*render_mirrors(table, name="rook-ceph-images"), *render_node_files(table).documents)
    again = {item.path: item.content for item in documents}
    built = render_documents(replace(config(), registry="site7.local:8443/lab"), IMAGES)
    assert again == {item.document.path: item.content for item in built if item.document.path in again}
    assert len(again) == 10


def test_only_mirror_documents_name_the_registry() -> None:
    for item in render_documents(config(), IMAGES):
        ours = item.document.path.startswith(("documents/mirrors/", "documents/nodes/"))
        assert (REGISTRY.encode() in item.content) is ours


def test_an_incomplete_set_is_an_error_of_the_config() -> None:
    with pytest.raises(ConfigError, match=r"no complete set for Rook v1\.5\.0"):
        render_documents(config(), IMAGES[:3])
