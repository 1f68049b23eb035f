from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import ConfigError, FormatError
from loader.bundle.manifest import Image, Mirror, Require
from loader.bundle.verify import VerifiedBundle
from loader.oci.model import RegistryTarget
from loader.site import BundleBodies, chosen_images, narrowed, pairs, push_set, site_documents, site_mirrors
from tests.support.builds import MemoryImage, Outside, run_build
from tests.support.bundles import Recipe, make_document, make_signer, open_head, verify
from tests.support.images import make_image, make_layer
from tests.support.refusals import refused

OWN, OTHER = "registry.example:5000", "other.example/prefix"
SHARED = make_layer("shared", 2**20 + 1)
ONE = make_image(layers=[SHARED], name="one")
TWO = make_image(layers=[SHARED, make_layer("big", 2**21)], name="two", platforms=["linux/amd64"])


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A bundle with everything a build renders, open for changes."""
    outside = Outside({"docker.io/x/one:1": MemoryImage(ONE), "quay.io/y/two:2": MemoryImage(TWO)})
    made = run_build(outside, tmp_path_factory.mktemp("out")).composition
    contents = dict(made.texts)
    for image, packed in zip((ONE, TWO), made.packed):
        contents.update({f"{packed.directory}/{digest[7:]}": data for digest, data in image.blobs.items()})
    return Recipe(made.manifest, contents, (make_signer("builder"),))


@pytest.fixture(scope="module")
def bundle(recipe: Recipe) -> VerifiedBundle:
    return verify(recipe.archive()).bundle


def target(text: str) -> RegistryTarget:
    return RegistryTarget.parse(text)


def test_every_image_goes_under_the_target(bundle: VerifiedBundle) -> None:
    pushed = push_set(bundle, target(OTHER))
    assert [(image.repository, image.tag) for image in pushed.images] == [("prefix/x/one", "1"), ("prefix/y/two", "2")]
    for image, made in zip(pushed.images, (ONE, TWO)):
        assert [(m.digest, m.media_type, m.data) for m in image.manifests] == list(made.manifests)
        assert set(image.blobs) == set(made.blobs)


def test_blobs_come_once_and_in_the_order_of_the_archive(bundle: VerifiedBundle) -> None:
    pushed = push_set(bundle, target(OWN))
    digests = [blob.digest for blob in pushed.blobs]
    assert sorted(digests) == sorted({**ONE.blobs, **TWO.blobs})
    assert sorted(digests, key=bundle.position) == digests
    assert all(blob.at_hand for blob in pushed.blobs)
    bodies = BundleBodies(bundle)
    for digest in digests:
        with bodies.open(digest) as blocks:
            assert b"".join(map(bytes, blocks)) == {**ONE.blobs, **TWO.blobs}[digest]


def test_a_blob_that_nobody_carries_comes_first_and_is_not_at_hand(recipe: Recipe) -> None:
    (layer,) = [digest for digest, data in TWO.blobs.items() if len(data) > 2**21]
    (path,) = [path for path in recipe.contents if path.endswith(layer[7:])]
    need = Require(layer, len(TWO.blobs[layer]), ("y/two",))
    delta = recipe.drop(path).change(complete=False, base="0" * 64, requires=(need,))
    pushed = push_set(open_head(delta.archive()), target(OTHER))
    assert [blob.digest for blob in pushed.blobs if not blob.at_hand] == [layer] == [pushed.blobs[0].digest]
    assert pushed.blobs[0].elsewhere == ("prefix/y/two",)
    filled = push_set(open_head(delta.archive()), target(OTHER), more=[open_head(recipe.archive())])
    assert all(blob.at_hand for blob in filled.blobs)


@pytest.mark.parametrize(
    ("glob", "found"),
    [
        ("docker.io/*", ["x/one"]),
        ("quay.io/y/two:2", ["y/two"]),
        ("*two*", ["y/two"]),
        ("x/one", ["x/one"]),
        ("*", ["x/one", "y/two"]),
        ("quay.io/y/t[a-w]o", ["y/two"]),
    ],
)
def test_images_are_chosen_by_any_of_their_names(glob: str, found: list[str], bundle: VerifiedBundle) -> None:
    assert [image.repository for image in push_set(bundle, target(OWN), [glob]).images] == found


def test_a_glob_that_matches_nothing(bundle: VerifiedBundle) -> None:
    with refused(ConfigError, "no image matches docker.io/X"):
        chosen_images(bundle.manifest.images, ["docker.io/X*", "one"])


def test_documents_for_the_bundle_s_own_registry_are_the_signed_ones(bundle: VerifiedBundle) -> None:
    documents = site_documents(bundle, OWN)
    assert [item.document for item in documents] == list(bundle.manifest.documents)
    assert {item.document.phase for item in documents} == {"mirrors", "nodes"}
    for item in documents:
        assert item.content == bundle.read(item.document.path)
        assert (item.parsed is None) == (item.document.phase == "nodes")
    assert pairs(documents) == [(item.document, item.parsed) for item in documents]


def test_documents_for_another_registry_name_it_and_no_other(bundle: VerifiedBundle) -> None:
    documents = site_documents(bundle, OTHER)
    mirrors = [item for item in documents if item.document.phase == "mirrors"]
    assert len(mirrors) == len([d for d in bundle.manifest.documents if d.phase == "mirrors"])
    for item in documents:
        assert b"other.example" in item.content
        assert b"registry.example" not in item.content
    assert {row.mirror.startswith(OTHER + "/") for row in site_mirrors(bundle, OTHER)} == {True}
    assert site_mirrors(bundle, OWN) == bundle.manifest.mirrors


def test_sources_are_narrowed_to_repositories() -> None:
    never = "NeverContactSource"
    table = (
        Mirror("quay.io/a", "r/a", never),
        Mirror("quay.io/a", "s/x", never),
        Mirror("quay.io", "r/all", "AllowContactingSource"),
        Mirror("*.red.io", "r/red", "AllowContactingSource"),
    )
    images = [made_image(name) for name in ("quay.io/a/b", "quay.io/a/b", "quay.io/c", "x.red.io/y/z", "docker.io/q")]
    assert [(row.source, row.mirror, row.policy == never) for row in narrowed(table, images)] == [
        ("quay.io/a/b", "r/a/b", True),
        ("quay.io/a/b", "s/x/b", True),
        ("quay.io/c", "r/all/c", False),
        ("x.red.io/y/z", "r/red/y/z", False),
    ]


def test_a_source_for_each_repository_is_rendered_from_the_signed_table(bundle: VerifiedBundle) -> None:
    narrow = site_documents(bundle, OTHER, by_repository=True)
    (found,) = [item for item in narrow if item.document.path == "documents/mirrors/idms.yaml"]
    sources = {image.source for image in bundle.manifest.images}
    assert isinstance(found.parsed, dict)
    rows = found.parsed["spec"]["imageDigestMirrors"]
    assert {row["source"] for row in rows} == sources
    assert all(mirror.startswith(f"{OTHER}/") for row in rows for mirror in row["mirrors"])
    wide = {item.document.path: item for item in site_documents(bundle, OTHER)}
    nodes = [item for item in narrow if item.document.phase == "nodes"]
    assert nodes == [wide[item.document.path] for item in nodes]


def made_image(source: str) -> Image:
    return Image(source, "v1", "sha256:" + "0" * 64, "m", (), "images/0001-x", source, (), None)


def with_document(recipe: Recipe, path: str, content: bytes, **fields: Any) -> Recipe:
    document = make_document(path, **fields)
    return recipe.put(path, content).change(documents=(*recipe.manifest.documents, document))


def test_other_documents_are_parsed_and_stay_what_was_signed(recipe: Recipe) -> None:
    path = "documents/before-rook/common.json"
    content = json.dumps({"kind": "List", "items": []}).encode()
    bundle = open_head(with_document(recipe, path, content).archive())
    for registry in (OWN, OTHER):
        (found,) = [item for item in site_documents(bundle, registry) if item.document.path == path]
        assert (found.content, found.parsed) == (content, {"kind": "List", "items": []})
    chosen = site_documents(bundle, OWN, only=["manifests"])
    assert [item.document.path for item in chosen] == [path]
    assert {item.document.phase for item in site_documents(bundle, OWN, only=["mirrors"])} == {"mirrors", "nodes"}
    assert len(site_documents(bundle, OWN, only=["mirrors", "manifests", "rook"])) > 1


@pytest.mark.parametrize("content", [b"{", b'{"a":1,"a":2}', b"[" * 65 + b"]" * 65, b'{"a":NaN}'])
def test_a_document_that_is_no_json(content: bytes, recipe: Recipe) -> None:
    path = "documents/before-rook/common.json"
    bundle = open_head(with_document(recipe, path, content).archive())
    with refused(FormatError, path):
        site_documents(bundle, OWN)


def first(recipe: Recipe, phase: str) -> str:
    return next(item.path for item in recipe.manifest.documents if item.phase == phase)


@pytest.mark.parametrize("phase", ["mirrors", "nodes"])
def test_a_signed_document_that_its_mirror_table_does_not_give(phase: str, recipe: Recipe) -> None:
    # What an officer read would not be what is applied.
    path = first(recipe, phase)
    forged = recipe.contents[path].replace(b"docker.io", b"evil.example")
    assert forged != recipe.contents[path]
    with refused(FormatError, path, "not what its mirror table gives"):
        site_documents(open_head(recipe.put(path, forged).archive()), OWN)


def test_a_comment_may_be_worded_another_way(recipe: Recipe) -> None:
    path = first(recipe, "mirrors")
    reworded = b"# written by another version\n" + recipe.contents[path]
    documents = site_documents(open_head(recipe.put(path, reworded).archive()), OWN)
    assert reworded in [item.content for item in documents]


@pytest.mark.parametrize("phase", ["mirrors", "nodes"])
def test_a_mirror_document_of_an_unknown_kind(phase: str, recipe: Recipe) -> None:
    path = f"documents/{phase}/surprise.yaml"
    bundle = open_head(with_document(recipe, path, b"kind: Secret\n", phase=phase, action="file").archive())
    with refused(FormatError, path, "no rendering of the mirror table"):
        site_documents(bundle, OWN)


def test_mirror_documents_of_two_names(recipe: Recipe) -> None:
    documents = list(recipe.manifest.documents)
    number = next(i for i, item in enumerate(documents) if item.phase == "mirrors" and item.target)
    named = documents[number].target
    assert named is not None
    documents[number] = replace(documents[number], target=replace(named, name="another"))
    bundle = open_head(recipe.change(documents=tuple(documents)).archive())
    with refused(FormatError, "do not have one name", "another"):
        site_documents(bundle, OWN)


def test_a_bundle_without_mirrors_has_no_policies(tmp_path: Path, recipe: Recipe) -> None:
    bare = recipe.change(documents=(), mirrors=())
    for item in recipe.manifest.documents:
        bare = bare.drop(item.path)
    bundle = open_head(bare.archive())
    assert site_documents(bundle, OTHER) == ()
    assert site_mirrors(bundle, OTHER) == ()
