from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bundler.imagelist import ConfigImage
from bundler.imagesignatures import SIGNATURE_ANNOTATION, SIMPLE_SIGNING
from bundler.repository import TagLists
from bundler.resolve import read_blob
from bundler.sources import LayoutSource, RegistrySource, Sources
from loader.bundle.errors import ConfigError
from loader.bundle.ocimanifest import parse_manifest
from loader.oci.connect import Registries
from loader.oci.model import ImageRef
from tests.support.builds import MemoryImage, make_config
from tests.support.images import MadeImage, make_image
from tests.support.refusals import refused

NAME = "docker.io/x/app:1"
APP = make_image()


class FakeRegistries:
    """Opens every reference as the same image and keeps what was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def image(self, reference: ImageRef) -> MemoryImage:
        self.asked.append(str(reference))
        return MemoryImage(APP)

    def beside(self, reference: ImageRef, found: MemoryImage) -> MemoryImage:
        return found


def sources(fake: FakeRegistries | None = None, **fields: Any) -> Sources:
    return Sources(cast(Registries, fake or FakeRegistries()), **fields)


def from_layout(path: Path) -> ConfigImage:
    return replace(make_config([NAME]).images[0], origin=path)


def read(source: LayoutSource | RegistrySource, digest: str, size: int, start: int, length: int) -> bytes:
    with source.open_blob(digest, size, start=start, length=length) as body:
        view = bytearray(length)
        assert body.readinto(memoryview(view)) == length
        return bytes(view)


def test_an_image_is_asked_for_by_tag_or_by_digest_alone() -> None:
    fake = FakeRegistries()
    (image,) = make_config([NAME]).images
    for digest in (None, APP.digest):
        assert isinstance(sources(fake).open(image, digest), RegistrySource)
    assert fake.asked == [NAME, f"docker.io/x/app@{APP.digest}"]


def test_a_registry_gives_manifests_and_blobs_and_no_signature_files() -> None:
    image = cast(Any, MemoryImage(APP))
    source = RegistrySource(image, None, TagLists(), image)
    assert source.manifest() == (APP.data, APP.media_type)
    child, media_type, data = APP.manifests[0]
    assert source.manifest(child) == (data, media_type)
    assert source.signatures() == {}


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return APP.write(tmp_path / "app")


def test_a_layout_gives_manifests_blobs_and_signature_files(layout: Path) -> None:
    (layout / "signature-1").write_bytes(b"simple")
    source = sources().open(from_layout(layout), None)
    assert isinstance(source, LayoutSource)
    assert source.manifest() == (APP.data, APP.media_type)
    child, media_type, data = APP.manifests[0]
    assert source.manifest(child) == (data, media_type)
    assert source.signatures() == {"signature-1": b"simple"}
    for digest, blob in APP.blobs.items():
        assert read(source, digest, len(blob), 3, 20) == blob[3:23]


def aborted(layout: Path, made: MadeImage) -> None:
    """A copy that skopeo left unfinished looks complete: ``version`` is written first."""
    (layout / next(iter(made.blobs))[7:]).unlink()


def test_a_layout_that_is_not_complete(layout: Path) -> None:
    aborted(layout, APP)
    with refused(ConfigError, NAME, f"dir:{layout}"):
        sources().open(from_layout(layout), None)
    with refused(ConfigError, NAME, f"dir:{layout / 'none'}"):
        sources().open(from_layout(layout / "none"), None)


def sigstore(payload: object = "eyJ9", **fields: Any) -> bytes:
    plain = {"mimeType": SIMPLE_SIGNING, "payload": payload, "annotations": {SIGNATURE_ANNOTATION: "c2ln"}, **fields}
    return b"\0sigstore-json\n" + json.dumps(plain).encode()


def test_sigstore_signatures_of_a_layout_are_images_beside_it(layout: Path) -> None:
    child = APP.manifests[0][0]
    (layout / "signature-1").write_bytes(b"simple")
    (layout / "signature-2").write_bytes(sigstore())
    (layout / "signature-3").write_bytes(sigstore("YW5vdGhlcg=="))
    (layout / f"{child[7:]}.signature-1").write_bytes(sigstore(annotations=None))
    source = sources().open(from_layout(layout), None)
    near = source.neighbours()
    assert near is not None
    assert near.tags() == frozenset(f"sha256-{digest[7:]}.sig" for digest in (APP.digest, child))
    assert near.referrers(APP.digest) == ()
    assert near.tagged("sha256-1.sig") is None
    tagged = near.tagged(f"sha256-{APP.digest[7:]}.sig")
    assert tagged is not None
    data, media_type = tagged.manifest()
    assert source.manifest(tagged.digest) == (data, media_type)
    parsed = parse_manifest(data, "signatures", media_type)
    assert [layer.media_type for layer in parsed.layers] == [SIMPLE_SIGNING] * 2
    assert json.loads(data)["layers"][0]["annotations"] == {SIGNATURE_ANNOTATION: "c2ln"}
    payloads = [read_blob(source, layer, "x") for layer in parsed.layers]
    assert payloads == [b'{"}', b"another"]
    assert parsed.config is not None
    assert json.loads(read_blob(source, parsed.config, "x"))["rootfs"]["diff_ids"] == [
        one.digest for one in parsed.layers
    ]
    # All of them stay files of the layout, too.
    assert len(source.signatures()) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"\0sigstore-json\n",
        b"\0sigstore-json\n[]",
        b"\0sigstore-json\n{}",
        sigstore("no base64!"),
        sigstore(annotations=["x"]),
        sigstore(annotations={"x": 1}),
        sigstore(7),
    ],
)
def test_a_sigstore_signature_that_cannot_be_read_is_no_absent_one(layout: Path, content: bytes) -> None:
    (layout / "signature-1").write_bytes(content)
    with refused(ConfigError, NAME, "signature-1"):
        sources().open(from_layout(layout), None)
    alone = replace(from_layout(layout), attachments=False)
    assert sources().open(alone, None).neighbours() is None


def test_a_layout_without_sigstore_signatures_stands_alone(layout: Path) -> None:
    (layout / "signature-1").write_bytes(b"\0other\n{}")
    assert sources().open(from_layout(layout), None).neighbours() is None
