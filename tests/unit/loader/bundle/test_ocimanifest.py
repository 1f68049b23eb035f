from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.bundle import ocimanifest as oci
from loader.bundle.errors import FormatError

A, B, C = ("sha256:" + char * 64 for char in "abc")


def descriptor(digest: str = A, size: Any = 10, media_type: str = oci.OCI_LAYER_GZIP, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size, **more}


def manifest(**changes: Any) -> dict[str, Any]:
    plain = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": descriptor(A, 7, oci.OCI_CONFIG),
        "layers": [descriptor(B), descriptor(C, 0)],
    }
    plain.update(changes)
    return {key: value for key, value in plain.items() if value is not ...}


def index(*children: dict[str, Any], **changes: Any) -> dict[str, Any]:
    plain = {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": list(children)}
    plain.update(changes)
    return {key: value for key, value in plain.items() if value is not ...}


def child(digest: str = A, media_type: str = oci.OCI_MANIFEST, **platform: Any) -> dict[str, Any]:
    return descriptor(digest, 500, media_type, platform=platform)


def parse(plain: object, content_type: str | None = None) -> oci.ParsedManifest:
    return oci.parse_manifest(json.dumps(plain).encode(), "the manifest", content_type)


def test_image_manifest_has_config_and_layers_in_order() -> None:
    parsed = parse(manifest())
    assert (parsed.media_type, parsed.is_index, parsed.children) == (oci.OCI_MANIFEST, False, ())
    assert [blob.digest for blob in parsed.blobs] == [A, B, C]
    assert [layer.size for layer in parsed.layers] == [10, 0]


def test_index_has_children_with_platforms() -> None:
    parsed = parse(
        index(
            child(A, os="linux", architecture="amd64"),
            child(B, os="linux", architecture="arm", variant="v7"),
            child(C, os="", architecture=""),
        )
    )
    assert parsed.is_index
    assert [one.platform for one in parsed.children] == ["linux/amd64", "linux/arm/v7", None]
    assert parsed.blobs == ()


@pytest.mark.parametrize("nothing", [None, ..., []])
def test_null_and_nothing_are_empty_lists(nothing: object) -> None:
    assert parse(manifest(layers=nothing)).layers == ()
    assert parse(index(manifests=nothing)).children == ()


@pytest.mark.parametrize(
    ("plain", "content_type", "expected"),
    [
        (manifest(mediaType=oci.DOCKER_MANIFEST), oci.DOCKER_MANIFEST, oci.DOCKER_MANIFEST),
        (index(mediaType=oci.DOCKER_LIST), None, oci.DOCKER_LIST),
        (manifest(mediaType=...), None, oci.OCI_MANIFEST),
        (index(mediaType=...), None, oci.OCI_INDEX),
        (manifest(mediaType=...), oci.OCI_MANIFEST + "; charset=utf-8", oci.OCI_MANIFEST),
        (manifest(), "application/octet-stream", oci.OCI_MANIFEST),
        (index(), "Application/Vnd.OCI.image.index.v1+JSON", oci.OCI_INDEX),
    ],
)
def test_type_comes_from_the_document_then_the_header_then_the_shape(
    plain: object, content_type: str | None, expected: str
) -> None:
    assert parse(plain, content_type).media_type == expected


@pytest.mark.parametrize(
    ("layer", "foreign"),
    [
        (descriptor(), False),
        (descriptor(urls=[]), False),
        (descriptor(urls=["https://example.com/layer"]), True),
        (descriptor(media_type=oci.DOCKER_FOREIGN_LAYER), True),
        (descriptor(media_type="application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), True),
    ],
)
def test_foreign_layers_are_known_by_urls_or_type(layer: dict[str, Any], foreign: bool) -> None:
    assert parse(manifest(layers=[layer])).layers[0].foreign is foreign


REFUSED: list[tuple[str, object, str | None, str]] = [
    ("schema 1", {"schemaVersion": 1, "fsLayers": []}, None, "schema 1"),
    ("schema 1 by header", manifest(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
    ("schema true", manifest(schemaVersion=True), None, "schemaVersion"),
    ("schema 3", manifest(schemaVersion=3), None, "schemaVersion"),
    ("no schema", manifest(schemaVersion=...), None, "schemaVersion"),
    ("a list", [], None, "not an object"),
    ("a word", "manifest", None, "not an object"),
    ("media type of a number", manifest(mediaType=3), None, "mediaType"),
    ("another header", manifest(), oci.OCI_INDEX, "two things"),
    ("unknown type", manifest(mediaType="application/vnd.example+json"), None, "type is"),
    ("unknown header", manifest(mediaType=...), "text/html", "type is"),
    ("no shape", {"schemaVersion": 2}, None, "neither"),
    ("docker without mediaType", manifest(mediaType=...), oci.DOCKER_MANIFEST, "without mediaType"),
    ("manifest with children", manifest(manifests=[child()]), None, "two documents"),
    ("index with layers", index(layers=[descriptor()]), None, "two documents"),
    ("index with a config", index(config=descriptor()), None, "two documents"),
    ("nested index", index(child(media_type=oci.OCI_INDEX)), None, "nested"),
    ("nested list", index(child(media_type=oci.DOCKER_LIST)), None, "nested"),
    ("child of schema 1", index(child(media_type=min(oci.SCHEMA1_TYPES))), None, "not an image manifest"),
    ("child too large", index(descriptor(A, oci.MAX_MANIFEST + 1, oci.OCI_MANIFEST)), None, "too large"),
    ("manifests an object", index(manifests={}), None, "no list"),
    ("layers a word", manifest(layers="none"), None, "no list"),
    ("config missing", manifest(config=...), None, "config is not a descriptor"),
    ("layer of null", manifest(layers=[None]), None, "layers[0]"),
    ("too many layers", manifest(layers=[descriptor()] * (oci.MAX_LAYERS + 1)), None, "too many"),
    ("too many children", index(*[child()] * (oci.MAX_CHILDREN + 1)), None, "too many"),
    ("short digest", manifest(layers=[descriptor("sha256:abc")]), None, "digest"),
    ("digest with a path", manifest(layers=[descriptor("sha256:../" + "a" * 61)]), None, "digest"),
    ("digest with newline", manifest(layers=[descriptor(A + "\n")]), None, "digest"),
    ("sha512", manifest(layers=[descriptor("sha512:" + "a" * 128)]), None, "digest"),
    ("digest of a number", manifest(layers=[descriptor(digest=5)]), None, "digest"),  # type: ignore[arg-type]
    ("negative size", manifest(layers=[descriptor(size=-1)]), None, "size"),
    ("size of a float", manifest(layers=[descriptor(size=1.0)]), None, "size"),
    ("size of true", manifest(layers=[descriptor(size=True)]), None, "size"),
    ("size too large", manifest(layers=[descriptor(size=2**53)]), None, "size"),
    ("one digest, two sizes", manifest(layers=[descriptor(A, 1), descriptor(A, 2)]), None, "two sizes"),
    ("type with a newline", manifest(layers=[descriptor(media_type="a/b\nc")]), None, "mediaType"),
    ("urls an object", manifest(layers=[descriptor(urls={})]), None, "urls"),
    ("platform a string", index(descriptor(A, 5, oci.OCI_MANIFEST, platform="linux/amd64")), None, "platform"),
    ("platform with a slash", index(child(os="linux/x", architecture="amd64")), None, "platform"),
    ("platform without os", index(child(architecture="amd64")), None, "platform"),
]


@pytest.mark.parametrize(
    ("plain", "content_type", "says"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused_with_a_reason_that_names_the_document(plain: object, content_type: str | None, says: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse(plain, content_type)
    assert says in str(caught.value)
    assert "the manifest" in caught.value.message
    assert str(caught.value).isprintable()


def test_size_is_capped_before_anything_is_parsed() -> None:
    with pytest.raises(FormatError, match="too large"):
        oci.parse_manifest(b"[" * (oci.MAX_MANIFEST + 1), "the manifest")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe", b"<html>", b'{"schemaVersion":2,"schemaVersion":1}', b"[" * 9999]
)
def test_what_is_not_json_is_a_format_error(data: bytes) -> None:
    with pytest.raises(FormatError):
        oci.parse_manifest(data, "the manifest")


ASCII = st.characters(min_codepoint=32, max_codepoint=126)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(ASCII, max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(ASCII, max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = st.sampled_from(["schemaVersion", "mediaType", "config", "layers", "manifests"])


@given(st.dictionaries(FIELDS, JSON), st.booleans())
def test_any_field_of_any_type_parses_or_is_a_format_error(changes: dict[str, Any], as_index: bool) -> None:
    plain = index(child()) if as_index else manifest()
    try:
        parsed = parse({**plain, **changes})
    except FormatError:
        return
    assert parsed.media_type in oci.KNOWN_TYPES


def test_hostile_megabytes_are_refused_in_linear_time() -> None:
    unterminated = b'"' + b'\\"' * 1_000_000
    keys = b",".join(b'"%d":0' % number for number in range(100_000))
    started = time.process_time()
    for data in (unterminated, b"{" + keys + b',"99999":1}'):
        with pytest.raises(FormatError):
            oci.parse_manifest(data, "the manifest")
    assert time.process_time() - started < 10
