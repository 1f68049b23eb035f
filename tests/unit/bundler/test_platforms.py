"""Which children of an index are taken, and the index without the others."""

from __future__ import annotations

import json

from bundler.platforms import kept_children, rewritten_index
from loader.bundle.digest import digest_of
from loader.bundle.ocimanifest import OCI_INDEX, OCI_MANIFEST, parse_manifest
from tests.support.images import make_image

PLATFORMS = ("linux/amd64", "linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "windows/amd64")


def test_children_by_platform() -> None:
    image = make_image(platforms=PLATFORMS)
    digests = [digest for digest, _, _ in image.manifests]
    parsed = parse_manifest(image.data, "index")
    assert kept_children(image.data, parsed, ()) == set(digests[:-1])
    assert kept_children(image.data, parsed, ["linux/amd64", "linux/arm"]) == set(digests[:3])
    assert kept_children(image.data, parsed, ["linux/arm64"]) == {digests[3]}
    assert kept_children(image.data, parsed, ["linux/s390x"]) == frozenset()


def test_a_child_that_is_listed_for_several_platforms_is_any_of_them() -> None:
    image = make_image(platforms=("linux/arm/v6", "linux/amd64"))
    plain = json.loads(image.data)
    plain["manifests"].insert(1, {**plain["manifests"][0], "platform": {"os": "linux", "architecture": "arm64"}})
    data = json.dumps(plain).encode()
    for wanted in ("linux/arm/v6", "linux/arm64"):
        assert kept_children(data, parse_manifest(data, "index"), [wanted]) == {image.manifests[0][0]}


def test_an_index_of_nothing_has_none_of_them() -> None:
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": None}).encode()
    assert kept_children(data, parse_manifest(data, "index"), ["linux/amd64"]) == frozenset()


def attested_index() -> tuple[bytes, list[str]]:
    digests = [f"sha256:{number:064x}" for number in range(5)]
    platforms = [("linux", "amd64"), ("linux", "arm64"), ("unknown", "unknown"), ("unknown", "unknown"), None]
    about = [None, None, digests[0], digests[1], None]
    children = []
    for digest, platform, subject in zip(digests, platforms, about):
        child: dict[str, object] = {"mediaType": OCI_MANIFEST, "digest": digest, "size": 2}
        if platform:
            child["platform"] = {"os": platform[0], "architecture": platform[1]}
        if subject:
            child["annotations"] = {"vnd.docker.reference.digest": subject}
        children.append(child)
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, "x": 1}).encode(), digests


def test_attestations_follow_what_they_attest() -> None:
    data, digests = attested_index()
    parsed = parse_manifest(data, "index")
    assert kept_children(data, parsed, ["linux/amd64"]) == {digests[0], digests[2], digests[4]}


def test_a_rewritten_index_keeps_what_was_said() -> None:
    data, digests = attested_index()
    new = rewritten_index(data, frozenset(digests[:1]))
    assert json.loads(new) == {**json.loads(data), "manifests": json.loads(data)["manifests"][:1]}
    assert new == rewritten_index(data, frozenset(digests[:1]))
    assert digest_of(new) != digest_of(data)
    assert [child.platform for child in parse_manifest(new, "index").children] == ["linux/amd64"]
