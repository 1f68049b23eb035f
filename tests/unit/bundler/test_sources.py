from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bundler.imagelist import ConfigImage
from bundler.repository import TagLists
from bundler.sources import LayoutSource, RegistrySource, Sources
from loader.bundle.errors import ConfigError
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
    source = RegistrySource(cast(Any, MemoryImage(APP)), None, TagLists())
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
