from __future__ import annotations

import pytest

from bundler.render.mirrors import collisions, mirror_table
from bundler.render.model import PinnedImage
from loader.bundle.errors import ConfigError
from loader.bundle.manifest import Mirror
from loader.oci.model import ImageRef, repository_in_airgap
from tests.golden.article import IMAGES, REGISTRY

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ALLOW, NEVER = "AllowContactingSource", "NeverContactSource"


def image(text: str, digest: str = A, *, keep: bool = False) -> PinnedImage:
    ref = ImageRef.parse(text)
    return PinnedImage(ref.name, ref.tag, digest, repository_in_airgap(ref, keep_host=keep))


def rows(
    *images: PinnedImage, registry: str = "reg:5000", paths: str = "drop-host", scope: str = "namespace"
) -> list[tuple[str, str]]:
    table = mirror_table(images, registry=registry, paths=paths, scope=scope, never_contact=False)
    return [(row.source, row.mirror) for row in table]


def faults(*images: PinnedImage, registry: str = "reg:5000", paths: str = "drop-host", scope: str = "namespace") -> str:
    with pytest.raises(ConfigError) as caught:
        mirror_table(images, registry=registry, paths=paths, scope=scope, never_contact=False)
    return "\n".join(f"{place}: {problem}" for place, problem in caught.value.faults)


def test_g5_the_articles_table() -> None:
    table = mirror_table(IMAGES, registry=REGISTRY, paths="drop-host", scope="namespace", never_contact=False)
    assert table == (
        Mirror("docker.io/ceph", f"{REGISTRY}/ceph", ALLOW),
        Mirror("docker.io/rook", f"{REGISTRY}/rook", ALLOW),
        Mirror("k8s.gcr.io/sig-storage", f"{REGISTRY}/sig-storage", ALLOW),
        Mirror("quay.io/cephcsi", f"{REGISTRY}/cephcsi", ALLOW),
    )


CEPH, PAUSE, DEEP = "docker.io/ceph/ceph:1", "registry.k8s.io/pause:3", "q.io/a/b/c:1"


@pytest.mark.parametrize(
    ("scope", "paths", "registry", "expected"),
    [
        (
            "namespace",
            "drop-host",
            "reg:5000/pre",
            [
                ("docker.io/ceph", "reg:5000/pre/ceph"),
                ("q.io/a/b", "reg:5000/pre/a/b"),
                ("registry.k8s.io/pause", "reg:5000/pre/pause"),
            ],
        ),
        (
            "repository",
            "keep-host",
            "reg:5000",
            [
                ("docker.io/ceph/ceph", "reg:5000/docker.io/ceph/ceph"),
                ("q.io/a/b/c", "reg:5000/q.io/a/b/c"),
                ("registry.k8s.io/pause", "reg:5000/registry.k8s.io/pause"),
            ],
        ),
        (
            "registry",
            "drop-host",
            "reg:5000/pre",
            [("docker.io", "reg:5000/pre"), ("q.io", "reg:5000/pre"), ("registry.k8s.io", "reg:5000/pre")],
        ),
        (
            "registry",
            "keep-host",
            "reg:5000",
            [
                ("docker.io", "reg:5000/docker.io"),
                ("q.io", "reg:5000/q.io"),
                ("registry.k8s.io", "reg:5000/registry.k8s.io"),
            ],
        ),
    ],
)
def test_scopes_and_paths(scope: str, paths: str, registry: str, expected: list[tuple[str, str]]) -> None:
    keep = paths == "keep-host"
    images = [image(text, keep=keep) for text in (CEPH, PAUSE, DEEP)]
    assert rows(*images, scope=scope, paths=paths, registry=registry) == expected


def test_a_repository_without_namespace_never_makes_its_host_a_source() -> None:
    assert rows(image("q.io/a:1"), image("q.io/a/b:1", B)) == [("q.io/a", "reg:5000/a")]


def test_library_stays() -> None:
    assert rows(image("busybox")) == [("docker.io/library", "reg:5000/library")]


def test_never_contact_is_the_policy_of_every_row() -> None:
    (row,) = mirror_table([image(CEPH)], registry="r.site", paths="drop-host", scope="namespace", never_contact=True)
    assert row.policy == NEVER


def test_no_host_is_added_that_no_image_names() -> None:
    assert rows(image("k8s.gcr.io/sig-storage/csi-attacher:v3.0.0")) == [
        ("k8s.gcr.io/sig-storage", "reg:5000/sig-storage")
    ]


def test_a_port_of_the_source_becomes_a_path_that_is_allowed() -> None:
    found = rows(image("src:8443/a/b:1", keep=True), paths="keep-host")
    assert found == [("src:8443/a", "reg:5000/src-8443/a")]


def test_flattening_two_registries_names_both_images() -> None:
    text = faults(image("docker.io/rook/ceph:1"), image("quay.io/rook/ceph:1", B))
    assert f"quay.io/rook/ceph:1@{B}: and docker.io/rook/ceph:1@{A} both become rook/ceph:1" in text


def test_flattening_the_same_bytes_is_fine() -> None:
    assert rows(image("docker.io/rook/ceph:1"), image("quay.io/rook/ceph:1")) == [
        ("docker.io/rook", "reg:5000/rook"),
        ("quay.io/rook", "reg:5000/rook"),
    ]


def test_flattening_differs_by_tag_is_fine() -> None:
    assert len(rows(image("docker.io/rook/ceph:1"), image("quay.io/rook/ceph:2", B))) == 2


def test_digest_only_images_collide_by_their_airgap_tag() -> None:
    near = "sha256:" + "a" * 12 + "b" * 52
    assert len(collisions([image(f"q.io/a/b@{A}", A), image(f"r.io/a/b@{near}", near)])) == 1
    assert collisions([image(f"q.io/a/b@{A}", A), image(f"r.io/a/b@{B}", B)]) == []


def test_a_mirror_that_is_its_own_source() -> None:
    assert "quay.io/rook: is its own mirror" in faults(image("quay.io/rook/ceph:1"), registry="quay.io")


@pytest.mark.parametrize("other", ["q.io:8443/a/b:1", "q.io:8443/b:1"])
def test_a_bare_host_is_no_source_while_its_port_is_in_use(other: str) -> None:
    text = faults(image("q.io/a/c:1"), image(other), scope="registry")
    assert text == "q.io: as a mirror source would also match q.io:8443 and break its names; use scope: namespace"
    assert len(rows(image("q.io/a/c:1"), image(other))) == 2


def test_a_bare_host_is_no_source_of_a_registry_on_its_port() -> None:
    assert "would also match q.io:5000" in faults(image("q.io/a/c:1"), registry="q.io:5000/x", scope="registry")


def test_never_contact_with_the_mirror_inside_a_source() -> None:
    with pytest.raises(ConfigError) as caught:
        mirror_table(
            [image("q.io/a/c:1")], registry="q.io/mirror", paths="drop-host", scope="registry", never_contact=True
        )
    assert caught.value.faults == (("q.io", "is never contacted, and the mirror q.io/mirror lies inside it"),)


def test_a_path_that_is_not_the_configs_is_our_bug() -> None:
    with pytest.raises(RuntimeError, match="which is not keep-host"):
        mirror_table([image(CEPH)], registry="r.site", paths="keep-host", scope="namespace", never_contact=False)


def test_no_images_no_table() -> None:
    assert rows() == []
