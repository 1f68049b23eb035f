from __future__ import annotations

from dataclasses import replace

import pytest

from loader.distribution.catalogue import Catalogue
from tests.support.bundles import verify
from tests.support.served import served

BARE_TAG = f"airgap-{served().bare.digest[7:19]}"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue(verify(served().recipe.archive()))


def test_the_list_has_the_names_of_the_airgap(catalogue: Catalogue) -> None:
    assert catalogue.names == ["ceph/ceph", "team/bare"]


@pytest.mark.parametrize(
    ("name", "namespace", "tags"),
    [
        ("ceph/ceph", None, ["sha256-1.sig", "v1", "v2"]),
        ("site/ceph/ceph", None, ["sha256-1.sig", "v1", "v2"]),
        ("team/bare", None, [BARE_TAG]),
        # Mirrors that keep the host, as CRI-O's may.
        ("docker.io/ceph/ceph", None, ["sha256-1.sig", "v1"]),
        ("quay.io/ceph/ceph", None, ["v2"]),
        ("registry.local-5000/team/bare", None, [BARE_TAG]),
        # containerd names the registry it means.
        ("ceph/ceph", "docker.io", ["sha256-1.sig", "v1"]),
        ("ceph/ceph", "registry-1.docker.io", ["sha256-1.sig", "v1"]),
        ("ceph/ceph", "quay.io", ["v2"]),
        ("ceph/ceph", "ghcr.io", []),
        ("ceph/ceph", "registry.example:5000", ["sha256-1.sig", "v1", "v2"]),
        ("site/ceph/ceph", "quay.io", ["v2"]),
        ("team/bare", "registry.local:5000", [BARE_TAG]),
    ],
)
def test_a_name_as_nodes_ask_for_it(catalogue: Catalogue, name: str, namespace: str | None, tags: list[str]) -> None:
    found = catalogue.find(name, namespace)
    assert found is not None
    assert sorted(found.tags) == tags


@pytest.mark.parametrize(
    ("name", "namespace"), [("ceph", None), ("bare", "registry.local:5000"), ("no/such", "quay.io")]
)
def test_a_name_that_is_not_there(catalogue: Catalogue, name: str, namespace: str | None) -> None:
    assert catalogue.find(name, namespace) is None


def test_a_repository_that_has_another_images_outside_name_wins() -> None:
    """With ``paths: keep-host`` one image may stand where another's alias would."""
    recipe = served().recipe
    first, second, third = recipe.manifest.images
    kept = replace(third, repository="docker.io/ceph/ceph", tag="v1")
    found = Catalogue(verify(recipe.change(images=(first, second, kept)).archive())).find("docker.io/ceph/ceph")
    assert found is not None
    assert found.tags == {"v1": third.digest}


def test_children_blobs_and_referrers_belong_to_the_repository(catalogue: Catalogue) -> None:
    made = served()
    found = catalogue.find("ceph/ceph")
    assert found is not None
    wanted = {*made.one.blobs, *made.two.blobs, *made.signature.blobs, *made.referrer.blobs}
    assert found.blobs == wanted
    for image in (made.one, made.two, made.signature, made.referrer):
        for digest, media_type, data in image.manifests:
            served_one = found.manifests[digest]
            assert (served_one.media_type, catalogue.read(served_one)) == (media_type, data)
    assert found.referrers(made.one.digest) == [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": made.referrer.digest,
            "size": len(made.referrer.data),
            "artifactType": "application/vnd.example.sbom",
            "annotations": {"org.example.note": "a statement"},
        }
    ]
    assert found.referrers(made.two.digest) == []
