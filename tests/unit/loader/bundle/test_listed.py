"""A bundle of which one disc is at hand: what its signed list tells, and that nothing else can be had from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loader.bundle.errors import FormatError, TrustError
from loader.bundle.listed import Nowhere, listed_graphs
from loader.bundle.manifest import Require
from loader.bundle.policy import Rule
from loader.bundle.verify import VerifiedBundle, verify_listed
from tests.support.bundles import ARCHIVE, full_recipe, make_policy, make_signer, make_trust, verify
from tests.support.refusals import refused

DOCUMENT = "documents/before-rook/common.json"


def listed(text: bytes = b'{"kind": "List"}\n') -> VerifiedBundle:
    recipe = full_recipe()
    source = Nowhere(ARCHIVE, len(recipe.archive()))
    return verify_listed(recipe.head, make_trust(), source, lambda _: text, beside=recipe.head.signatures)


def test_the_list_tells_what_the_manifests_would() -> None:
    whole, found = verify(full_recipe().archive()).bundle, listed()
    assert (found.id, found.size, found.manifest) == (whole.id, whole.size, whole.manifest)
    for path, graph in whole.graphs.items():
        told = found.graphs[path]
        assert {node.digest for node in told.nodes} == {node.digest for node in graph.nodes}
        assert told.nodes[-1].digest == graph.nodes[-1].digest
        named = {blob.digest: blob.size for node in graph.nodes for blob in node.blobs}
        assert {blob.digest: blob.size for node in told.nodes for blob in node.blobs} == named


def test_documents_are_read_and_checked() -> None:
    assert listed().read(DOCUMENT) == b'{"kind": "List"}\n'
    with refused(TrustError, f"{DOCUMENT} does not match its SHA-256"):
        listed(b"{}").read(DOCUMENT)
    assert listed().stored.read_into(0, memoryview(bytearray(4))) == 0


def test_what_a_delta_builds_on_counts_where_it_is_needed() -> None:
    manifest = full_recipe().manifest
    digest = "sha256:" + "7" * 64
    delta = replace(manifest, requires=(Require(digest, 7, (manifest.images[1].repository,)),))
    graphs = listed_graphs(delta)
    owns = [any(blob.digest == digest for blob in graphs[image.path].nodes[-1].blobs) for image in manifest.images]
    assert owns == [False, True]


def test_signatures_list_and_policy_are_judged_as_always() -> None:
    recipe = full_recipe()
    source = Nowhere(ARCHIVE, 1)
    stranger = make_trust(make_policy(make_signer("stranger")))
    with refused(TrustError, "no trusted key signed this bundle"):
        verify_listed(recipe.head, stranger, source, lambda _: b"", beside=())
    needed = make_policy(make_signer("builder"), make_signer("third"), rule=Rule(threshold=2))
    with refused(TrustError, "2"):
        verify_listed(recipe.head, make_trust(needed), source, lambda _: b"", beside=())
    torn = replace(recipe.head, manifest=recipe.head.manifest[:-1])
    with pytest.raises((TrustError, FormatError)):
        verify_listed(torn, make_trust(), source, lambda _: b"", beside=())
