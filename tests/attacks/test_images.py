"""Images whose parts do not refer to each other as they claim, signed by a key that is trusted.

A signed list proves of each file what it is, not that the files belong together (cosign CVE-2022-36056).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from loader.bundle import manifest as m
from loader.bundle import ocimanifest as oci
from loader.bundle.digest import digest_of, sha256_hex
from loader.bundle.errors import FormatError
from tests.support.bundles import Recipe, full_recipe, make_recipe, open_head, tiny_recipe, verify
from tests.support.images import make_image
from tests.support.refusals import refused

INDEX, SINGLE = "images/0000-app0", "images/0001-app1"
OTHER = "sha256:" + "0" * 64


def edit_image(recipe: Recipe, number: int, **fields: Any) -> Recipe:
    images = list(recipe.manifest.images)
    images[number] = replace(images[number], **fields)
    return recipe.change(images=tuple(images))


def edit_top(recipe: Recipe, edit: Callable[[dict[str, Any]], object], number: int = 1) -> Recipe:
    """Change the top manifest of an image and its digest with it: everything signed, nothing hidden."""
    path = recipe.manifest.images[number].path + "/manifest.json"
    plain = json.loads(recipe.contents[path])
    edit(plain)
    data = json.dumps(plain).encode()
    return edit_image(recipe.put(path, data), number, digest=digest_of(data))


def named(recipe: Recipe, directory: str) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(recipe.contents[f"{directory}/manifest.json"])
    return plain


def test_the_makers_make_good_images() -> None:
    bundle = open_head(edit_top(full_recipe(), lambda plain: None).archive())
    assert [len(graph.nodes) for graph in bundle.graphs.values()] == [3, 1]


def test_a_top_manifest_that_does_not_match_its_digest() -> None:
    with refused(FormatError, f"{SINGLE}/manifest.json", OTHER):
        verify(edit_image(full_recipe(), 1, digest=OTHER).archive())


def test_two_images_with_their_manifests_swapped() -> None:
    one, two = full_recipe().manifest.images
    swapped = full_recipe().change(images=(replace(one, path=two.path), replace(two, path=one.path)))
    with refused(FormatError, f"{SINGLE}/manifest.json", one.digest):
        verify(swapped.archive())


def missing(kind: str) -> tuple[Recipe, str]:
    """The full bundle without one file its manifests name, and that file's path."""
    recipe = full_recipe()
    index, single = named(recipe, INDEX), named(recipe, SINGLE)
    path = {
        "top manifest": f"{SINGLE}/manifest.json",
        "child": f"{INDEX}/{index['manifests'][1]['digest'][7:]}.manifest.json",
        "config": f"{SINGLE}/{single['config']['digest'][7:]}",
        "layer": f"{SINGLE}/{single['layers'][-1]['digest'][7:]}",
        "version": f"{SINGLE}/version",
    }[kind]
    return recipe.drop(path), path


@pytest.mark.parametrize("kind", ["top manifest", "child", "config", "layer", "version"])
def test_a_missing(kind: str) -> None:
    recipe, path = missing(kind)
    with refused(FormatError, path):
        verify(recipe.archive())


@pytest.mark.parametrize("kind", ["child", "layer"])
def test_a_missing_part_that_is_omitted_is_no_fault(kind: str) -> None:
    recipe, path = missing(kind)
    digest = "sha256:" + path.rpartition("/")[2].partition(".")[0]
    number = 0 if kind == "child" else 1
    omitted = (m.Omitted(digest, "not for here"),)
    left = edit_image(recipe, number, omitted=omitted)
    if kind == "child":
        # Its blobs go with it.
        child = json.loads(full_recipe().contents[path])
        gone = {f"{INDEX}/{blob['digest'][7:]}" for blob in (child["config"], child["layers"][-1])}
        left = left.change(files=tuple(file for file in left.manifest.files if file.path not in gone))
    nodes = open_head(left.archive()).graphs[left.manifest.images[number].path].nodes
    assert digest not in {node.digest for node in nodes} | {blob.digest for node in nodes for blob in node.blobs}


def required(size_change: int = 0) -> Recipe:
    recipe, path = missing("layer")
    layer = named(full_recipe(), SINGLE)["layers"][-1]
    assert path.endswith(layer["digest"][7:])
    need = m.Require(layer["digest"], layer["size"] + size_change, ("apps/app1",))
    return recipe.change(complete=False, base="0" * 64, requires=(need,))


def test_a_missing_layer_that_a_delta_requires_is_no_fault() -> None:
    bundle = open_head(required().archive())
    digest = bundle.manifest.requires[0].digest
    assert digest in {blob.digest for blob in bundle.graphs[SINGLE].nodes[0].blobs}
    assert not bundle.has_blob(digest)


def test_a_required_layer_of_another_size() -> None:
    with refused(FormatError, f"{SINGLE}/manifest.json", "does not have its size"):
        verify(required(1).archive())


@pytest.mark.parametrize(
    "path",
    [
        "documents/before-rook/unlisted.json",
        f"{SINGLE}/{'0' * 64}",
        f"{SINGLE}/{'0' * 64}.manifest.json",
        f"{SINGLE}/signature-0",
        f"{SINGLE}/signature-1.sh",
        f"{SINGLE}/run.sh",
        "images/0002-none/version",
        "images/version",
    ],
)
def test_an_unreferenced_file(path: str) -> None:
    with refused(FormatError, path, "not referred to"):
        verify(full_recipe().put(path, b"#!/bin/sh\n").archive())


def test_a_signature_of_a_manifest_that_the_image_does_not_have() -> None:
    path = f"{INDEX}/{'0' * 64}.signature-1"
    with refused(FormatError, path):
        verify(full_recipe().put(path, b"signature").archive())


def test_a_signature_of_a_child_is_no_fault() -> None:
    child = named(full_recipe(), INDEX)["manifests"][0]["digest"][7:]
    path = f"{INDEX}/{child}.signature-1"
    assert verify(full_recipe().put(path, b"signature").archive()).bundle.read(path) == b"signature"


@pytest.mark.parametrize("text", [b"Directory Transport Version: 9.9\n", b"", b"Directory Transport Version: 1.1\r\n"])
def test_a_layout_of_another_version(text: bytes) -> None:
    with refused(FormatError, f"{SINGLE}/version"):
        verify(full_recipe().put(f"{SINGLE}/version", text).archive())


def set_size(plain: dict[str, Any]) -> None:
    plain["layers"][-1]["size"] += 1


def set_digest(plain: dict[str, Any]) -> None:
    plain["layers"][-1]["digest"] = OTHER


def set_upward(plain: dict[str, Any]) -> None:
    plain["layers"][-1]["digest"] = "sha256:../../../etc/passwd"


def set_config(plain: dict[str, Any]) -> None:
    plain["config"] = None


def set_both(plain: dict[str, Any]) -> None:
    plain["manifests"] = [plain["config"]]


def set_type(plain: dict[str, Any]) -> None:
    plain["mediaType"] = oci.DOCKER_MANIFEST


def set_schema1(plain: dict[str, Any]) -> None:
    plain["schemaVersion"] = 1


EDITS = [set_size, set_digest, set_upward, set_config, set_both, set_type, set_schema1]


@pytest.mark.parametrize("edit", EDITS, ids=[edit.__name__[4:] for edit in EDITS])
def test_a_manifest_changed_in(edit: Callable[[dict[str, Any]], None]) -> None:
    with refused(FormatError, SINGLE):
        verify(edit_top(full_recipe(), edit).archive())


def set_child_size(plain: dict[str, Any]) -> None:
    plain["manifests"][0]["size"] += 1


def set_child_type(plain: dict[str, Any]) -> None:
    plain["manifests"][0]["mediaType"] = oci.OCI_MANIFEST


def set_child_index(plain: dict[str, Any]) -> None:
    plain["manifests"][0]["mediaType"] = oci.DOCKER_LIST


CHILD_EDITS = [set_child_size, set_child_type, set_child_index]


@pytest.mark.parametrize("edit", CHILD_EDITS, ids=[edit.__name__[4:] for edit in CHILD_EDITS])
def test_an_index_changed_in(edit: Callable[[dict[str, Any]], None]) -> None:
    with refused(FormatError, INDEX):
        verify(edit_top(full_recipe(), edit, 0).archive())


def test_a_child_of_another_content_under_the_name() -> None:
    digest = named(full_recipe(), INDEX)["manifests"][0]["digest"][7:]
    path = f"{INDEX}/{digest}.manifest.json"
    data = full_recipe().contents[path].replace(b"linux", b"linuy").ljust(len(full_recipe().contents[path]))
    with refused(FormatError, path):
        verify(full_recipe().put(path, data[:-1] + b" ").archive())


def test_a_blob_of_another_content_under_the_name() -> None:
    digest = named(full_recipe(), SINGLE)["config"]["digest"][7:]
    path = f"{SINGLE}/{digest}"
    data = full_recipe().contents[path].replace(b"/files/app", b"/bin/evils")
    with refused(FormatError, path):
        verify(full_recipe().put(path, data).archive())


def test_a_manifest_that_is_not_json() -> None:
    recipe = tiny_recipe().put(f"{INDEX}/manifest.json", b"{" * 1000)
    with refused(FormatError, f"{INDEX}/manifest.json"):
        verify(edit_image(recipe, 0, digest=digest_of(b"{" * 1000)).archive())


def test_a_manifest_of_more_than_four_mebibytes() -> None:
    data = b" " * (4 * 2**20 + 1)
    recipe = edit_image(tiny_recipe().put(f"{INDEX}/manifest.json", data), 0, digest=digest_of(data))
    with refused(FormatError, f"{INDEX}/manifest.json"):
        verify(recipe.archive())


def test_a_version_file_of_more_than_four_mebibytes() -> None:
    with refused(FormatError, f"{INDEX}/version"):
        verify(tiny_recipe().put(f"{INDEX}/version", bytes(4 * 2**20 + 1)).archive())


def test_a_manifest_that_fills_frames_of_its_own_is_read_all_the_same() -> None:
    recipe = edit_top(tiny_recipe(), lambda plain: plain.update(annotations={"a": "b" * 2**20}), 0)
    assert recipe.manifest.files[1].size > 2**20
    assert verify(recipe.archive()).bundle.graphs[INDEX].nodes[0].path == f"{INDEX}/manifest.json"


def two_images(**second: Any) -> Recipe:
    images = [make_image(platforms=["linux/amd64"], name=name) for name in ("one", "two")]
    return edit_image(make_recipe(images), 1, **second)


def test_two_images_on_one_tag() -> None:
    with refused(FormatError, "apps/app0:v1", "one tag"):
        verify(two_images(repository="apps/app0").archive())


def test_two_images_in_one_directory() -> None:
    with refused(FormatError, INDEX, "their digests differ"):
        verify(two_images(path=INDEX).archive())


def test_one_image_under_two_names_shares_its_directory() -> None:
    image = tiny_recipe().manifest.images[0]
    recipe = tiny_recipe().change(images=(image, replace(image, source="quay.io/x/y", repository="x/y")))
    assert list(verify(recipe.archive()).bundle.graphs) == [INDEX]


def test_one_image_under_two_names_that_lacks_something_under_one_of_them() -> None:
    # The second name would promise what nobody carries.
    recipe, path = missing("layer")
    digest = "sha256:" + path.rpartition("/")[2]
    image = replace(recipe.manifest.images[1], omitted=(m.Omitted(digest, "not for here"),))
    whole = replace(image, omitted=(), source="quay.io/x/y", repository="x/y")
    with refused(FormatError, image.path, "do not omit the same"):
        verify(recipe.change(images=(recipe.manifest.images[0], image, whole)).archive())


IMAGES: dict[str, dict[str, Any]] = {
    "source without a repository": {"source": "docker.io"},
    "source with a user": {"source": "me@docker.io/x"},
    "source with ..": {"source": "docker.io/../x"},
    "tag with a slash": {"tag": "a/b"},
    "tag that is an option": {"tag": "--all"},
    "tag of 129 letters": {"tag": "a" * 129},
    "digest of another kind": {"digest": "md5:" + "0" * 32},
    "digest in capitals": {"digest": "sha256:" + "A" * 64},
    "digest that is a path": {"digest": "sha256:../../x"},
    "repository in capitals": {"repository": "Apps/app0"},
    "repository with ..": {"repository": "apps/../app0"},
    "repository with a shell's dollar": {"repository": "apps/$(reboot)"},
    "directory outside of images": {"path": "documents/0000-app0"},
    "directory with ..": {"path": "images/0000-app0/.."},
    "omission of no digest": {"omitted": (m.Omitted("sha256:x", "why"),)},
    "rewriting of no digest": {"rewritten": "v1"},
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_with_a(name: str) -> None:
    with refused(FormatError, "images[0]"):
        verify(edit_image(tiny_recipe(), 0, **IMAGES[name]).archive())


def attached(**fields: Any) -> Recipe:
    """The tiny bundle with a second image that is attached to the first."""
    recipe = two_images()
    image, other = recipe.manifest.images
    item = m.Attachment("signature", image.digest, other.digest, other.path, "apps/app0", "sha256-x.sig")
    return recipe.change(images=(image,), attachments=(replace(item, **fields),))


def test_an_attachment_is_part_of_the_graph() -> None:
    assert list(verify(attached().archive()).bundle.graphs) == [INDEX, SINGLE]


ATTACHMENTS: dict[str, dict[str, Any]] = {
    "subject of no digest": {"subject": "latest"},
    "digest of no digest": {"digest": "latest"},
    "directory outside of images": {"path": "documents/0000-x"},
    "repository with ..": {"repository": "a/../b"},
    "tag with a space": {"tag": "a b"},
}


@pytest.mark.parametrize("name", ATTACHMENTS)
def test_an_attachment_with_a(name: str) -> None:
    with refused(FormatError, "attachments[0]"):
        verify(attached(**ATTACHMENTS[name]).archive())


def test_an_attachment_on_the_tag_of_an_image() -> None:
    assert tiny_recipe().manifest.images[0].tag == "v1"
    with refused(FormatError, "apps/app0:v1", "one tag"):
        verify(attached(tag="v1").archive())


def test_an_attachment_that_is_another_thing() -> None:
    with refused(FormatError, f"{SINGLE}/manifest.json", OTHER):
        verify(attached(digest=OTHER).archive())


def test_a_layer_listed_with_its_own_hash_and_another_name() -> None:
    recipe = tiny_recipe()
    layer = named(recipe, INDEX)["layers"][0]["digest"][7:]
    data = recipe.contents[f"{INDEX}/{layer}"]
    moved = recipe.drop(f"{INDEX}/{layer}").put(f"{INDEX}/{sha256_hex(b'x')}", data)
    with refused(FormatError, f"{INDEX}/{layer}", "is missing"):
        verify(moved.archive())
