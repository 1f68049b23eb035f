from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from loader.bundle import ocimanifest
from loader.bundle.digest import digest_of
from loader.bundle.errors import FormatError, StorageError, TrustError
from loader.oci import dirlayout
from loader.oci.dirlayout import DirLayout
from tests.support.images import MadeImage, make_image


@pytest.fixture
def image() -> MadeImage:
    return make_image(platforms=["linux/amd64", "linux/arm/v7"])


@pytest.fixture
def path(image: MadeImage, tmp_path: Path) -> Path:
    return image.write(tmp_path / "layout")


def refused(path: Path, says: str, error: type[Exception] = FormatError) -> None:
    with pytest.raises(error) as caught:
        DirLayout.open(path)
    assert says in str(caught.value)


def test_names_are_skopeos() -> None:
    digest = "sha256:" + "a" * 64
    assert dirlayout.blob_name(digest) == "a" * 64
    assert dirlayout.manifest_name(digest) == "a" * 64 + ".manifest.json"
    assert dirlayout.signature_name(1) == "signature-1"
    assert dirlayout.signature_name(2, digest) == "a" * 64 + ".signature-2"
    with pytest.raises(RuntimeError):
        dirlayout.blob_name("sha256:../x")


def test_a_complete_layout(image: MadeImage, path: Path) -> None:
    layout = DirLayout.open(path)
    assert (layout.digest, layout.media_type) == (image.digest, image.media_type)
    assert layout.manifest() == (image.data, image.media_type)
    assert dict(layout.manifests) == {digest: data for digest, _, data in image.manifests}
    assert layout.manifest(image.manifests[0][0])[0] == image.manifests[0][2]
    assert layout.absent == ()
    for digest, data in image.blobs.items():
        with layout.open_blob(digest, len(data)) as stream:
            assert stream.read() == data
            assert stream.read() == b""
        with layout.open_blob(digest, len(data), 3, 5) as stream:
            buffer = memoryview(bytearray(10))
            assert (stream.readinto(buffer), stream.readinto(buffer)) == (5, 0)
            assert buffer[:5] == data[3:8]


def test_a_single_manifest_and_oci_types(tmp_path: Path) -> None:
    image = make_image(platforms=["linux/amd64"], oci_types=True, compressed=False)
    layout = DirLayout.open(image.write(tmp_path / "one"))
    assert layout.media_type == ocimanifest.OCI_MANIFEST
    assert list(layout.manifests) == [image.digest]


@pytest.mark.parametrize("text", [None, b"Directory Transport Version: 1.0\n", b"Directory Transport Version: 1.2"])
def test_versions_we_know(path: Path, text: bytes | None) -> None:
    (path / "version").unlink()
    if text is not None:
        (path / "version").write_bytes(text)
    assert DirLayout.open(path).digest


@pytest.mark.parametrize(
    "text", [b"Directory Transport Version: 1.3\n", b"Directory Transport Version: 2.0\n", b"", b"1.1\n", b"x" * 2000]
)
def test_versions_we_do_not(path: Path, text: bytes) -> None:
    (path / "version").write_bytes(text)
    refused(path, "layout" if len(text) < 1000 else "too large")


def test_every_file_that_is_named_must_be_there(image: MadeImage, path: Path) -> None:
    names = ["manifest.json", dirlayout.manifest_name(image.manifests[0][0]), *map(dirlayout.blob_name, image.blobs)]
    for name in names:
        data = (path / name).read_bytes()
        (path / name).unlink()
        refused(path, name)
        (path / name).write_bytes(data)
    assert DirLayout.open(path).digest


def test_a_blob_of_another_size_is_refused(image: MadeImage, path: Path) -> None:
    name = dirlayout.blob_name(next(iter(image.blobs)))
    (path / name).write_bytes(b"short")
    refused(path, "another size")


def test_a_child_of_another_hash_is_not_trusted(image: MadeImage, path: Path) -> None:
    name = dirlayout.manifest_name(image.manifests[0][0])
    (path / name).write_bytes(image.manifests[1][2])
    refused(path, "does not match its digest", TrustError)


def test_a_child_of_another_size_than_told_is_refused(image: MadeImage, path: Path) -> None:
    plain = json.loads(image.data)
    plain["manifests"][0]["size"] += 1
    (path / "manifest.json").write_text(json.dumps(plain))
    refused(path, "another size")


@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_regular_files_only(image: MadeImage, path: Path, tmp_path: Path, kind: str) -> None:
    digest, data = next(iter(image.blobs.items()))
    blob = path / dirlayout.blob_name(digest)
    blob.unlink()
    if kind == "link":
        (tmp_path / "outside").write_bytes(data)
        blob.symlink_to(tmp_path / "outside")
    elif kind == "fifo":
        os.mkfifo(blob)
    else:
        blob.mkdir()
    refused(path, "symbolic link" if kind == "link" else "not a regular file")


def test_a_foreign_layer_may_be_absent_but_not_wrong(tmp_path: Path) -> None:
    image = make_image(platforms=["windows/amd64"])
    plain = json.loads(image.data)
    plain["layers"][0]["mediaType"] = ocimanifest.DOCKER_FOREIGN_LAYER
    path = image.write(tmp_path / "layout")
    (path / "manifest.json").write_text(json.dumps(plain))
    assert DirLayout.open(path).absent == ()
    layer = path / dirlayout.blob_name(plain["layers"][0]["digest"])
    layer.write_bytes(b"wrong")
    refused(path, "another size")
    layer.unlink()
    assert [one.digest for one in DirLayout.open(path).absent] == [plain["layers"][0]["digest"]]


def test_signatures_of_the_top_and_of_children(image: MadeImage, path: Path) -> None:
    child = image.manifests[0][0]
    names = ["signature-1", "signature-2", dirlayout.signature_name(1, child)]
    for name in names:
        (path / name).write_bytes(name.encode())
    (path / "signature-4").write_bytes(b"after a gap")
    assert DirLayout.open(path).signatures == tuple((name, name.encode()) for name in names)


def test_signatures_are_capped(path: Path) -> None:
    (path / "signature-1").write_bytes(b"x" * (dirlayout.MAX_SIGNATURE + 1))
    refused(path, "too large")
    for number in range(1, dirlayout.MAX_SIGNATURES + 2):
        (path / f"signature-{number}").write_bytes(b"x")
    refused(path, "too many signatures")


def test_a_manifest_is_capped(path: Path) -> None:
    (path / "manifest.json").write_bytes(b" " * (ocimanifest.MAX_MANIFEST + 1))
    refused(path, "too large")


def test_what_is_no_directory(tmp_path: Path) -> None:
    refused(tmp_path / "missing", "not a directory")


def test_a_file_that_shrinks_while_read_is_said(image: MadeImage, path: Path) -> None:
    digest, data = next(iter(image.blobs.items()))
    with DirLayout.open(path).open_blob(digest, len(data)) as stream:
        os.truncate(path / dirlayout.blob_name(digest), 4)
        assert stream.read(4) == data[:4]
        with pytest.raises(StorageError, match="shorter"):
            stream.read(4)


def test_opening_a_blob_of_another_size_is_refused(image: MadeImage, path: Path) -> None:
    digest, data = next(iter(image.blobs.items()))
    with pytest.raises(FormatError, match="another size"):
        DirLayout.open(path).open_blob(digest, len(data) + 1)


def test_an_edited_manifest_has_another_digest(image: MadeImage, path: Path) -> None:
    (path / "manifest.json").write_bytes(image.data + b"\n")
    assert DirLayout.open(path).digest == digest_of(image.data + b"\n") != image.digest
