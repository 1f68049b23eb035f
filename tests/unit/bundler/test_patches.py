"""Images in patches: where an operation's value goes decides what it is."""

from __future__ import annotations

import pytest

from bundler.patches import Target, patch_references

CONTAINERS = "/spec/template/spec/containers"


ANY = Target()
CLUSTER = Target("ceph.rook.io", "v1", "CephCluster")


def found(operation: object, target: Target = ANY) -> list[tuple[str, str, bool]]:
    return [(one.text, one.why, one.certain) for one in patch_references([{"op": "skipped"}, operation], target)]


@pytest.mark.parametrize(
    ("path", "value", "target", "why"),
    [
        (f"{CONTAINERS}/0/image", "a/b:1", ANY, "container"),
        (f"{CONTAINERS}/-", {"name": "c", "image": "a/b:1"}, ANY, "container c"),
        ("/spec/template/spec/initContainers", [{"image": "a/b:1"}], ANY, "init container"),
        (f"{CONTAINERS}/0/env/-", {"name": "A_IMAGE", "value": "a/b:1"}, ANY, "environment A_IMAGE"),
        ("/spec/cephVersion/image", "a/b:1", CLUSTER, "CephCluster spec.cephVersion.image"),
        ("/data/ROOK_CSI_CEPH_IMAGE", "a/b:1", Target("", "v1", "ConfigMap"), "key ROOK_CSI_CEPH_IMAGE"),
        ("", {"spec": {"containers": [{"image": "a/b:1"}]}}, ANY, "container"),
        ("/x" * 100, {"containers": [{"image": "a/b:1"}]}, ANY, "container"),
    ],
)
def test_an_operations_value_is_seen_where_it_goes(path: str, value: object, target: Target, why: str) -> None:
    assert found({"op": "add", "path": path, "value": value}, target) == [("a/b:1", why, True)]


def test_the_place_of_what_is_found_leads_into_the_operation() -> None:
    operation = {"op": "add", "path": "/a~1b/containers/-", "value": {"image": "a/b:1"}}
    (one,) = patch_references([operation], Target(kind="X", name="n"))
    assert one.path == (0, "value", "image")
    assert one.owner == "X n"


@pytest.mark.parametrize(
    "operation",
    [
        3,
        {"op": "add", "path": 7, "value": "quay.io/a/b:1"},
        {"op": "add", "path": f"{CONTAINERS}/0/image"},
        {"op": "test", "path": f"{CONTAINERS}/0/image", "value": "a/b:1"},
        {"op": "remove", "path": f"{CONTAINERS}/0"},
        {"op": "replace", "path": "/kind", "value": "Secret"},
    ],
)
def test_what_brings_no_image(operation: object) -> None:
    assert found(operation) == []
