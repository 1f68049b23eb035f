from __future__ import annotations

import errno
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bundler.pack import (
    ArchiveWriter,
    Chunk,
    PackedImage,
    directory_name,
    head_members,
    head_tar,
    is_compressible,
    layout_members,
    plan_files,
)
from loader.bundle import frames
from loader.bundle.digest import digest_of
from loader.bundle.errors import FormatError, StorageError
from loader.bundle.limits import BIG_MEMBER, FRAME, MAX_CONFIG
from loader.bundle.ocimanifest import OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, Descriptor
from loader.bundle.rules import check_manifest
from loader.bundle.tarlayout import Layout
from tests.support.bundles import Recipe, full_recipe, tiny_recipe, zstd_frame
from tests.support.refusals import refused


def blob(name: str, size: int, media_type: str = OCI_LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type, digest_of(name.encode()), size, None, False)


def image(number: int, *layers: Descriptor, configs: Sequence[Descriptor] = ()) -> PackedImage:
    texts = {"version": b"1", "manifest.json": b"%d" % number}
    return PackedImage(f"images/{number:04}-x", texts, tuple(configs), layers)


def test_directories_are_named_for_people_and_safe() -> None:
    assert directory_name(0, "ceph/ceph") == "images/0000-ceph"
    assert directory_name(12, "a/B_c.d__e") == "images/0012---c-d--e"
    assert directory_name(10_000, "x" * 30) == "images/10000-" + "x" * 20


def test_only_an_uncompressed_tar_is_worth_compressing() -> None:
    assert is_compressible(OCI_LAYER)
    assert is_compressible("application/vnd.docker.image.rootfs.diff.tar")
    assert not is_compressible(OCI_LAYER_GZIP)
    assert not is_compressible("application/vnd.oci.image.layer.v1.tar+zstd")
    assert not is_compressible(OCI_CONFIG)


def test_members_come_in_the_order_of_the_format() -> None:
    small, big, large_config = blob("small", 10), blob("big", BIG_MEMBER), blob("config", MAX_CONFIG + 1, OCI_CONFIG)
    config = blob("other config", MAX_CONFIG, OCI_CONFIG)
    plan = plan_files(
        {"documents/z": b"1", "documents/a": b"2"},
        [image(0, small, big, configs=[large_config]), image(1, big, configs=[config])],
    )
    hexes = {one.digest[7:]: name for name, one in (("S", small), ("B", big), ("L", large_config), ("C", config))}
    shown = [f.path if f.path[-64:] not in hexes else f"{f.path[:11]}/{hexes[f.path[-64:]]}" for f in plan]
    small_files = ["images/0000-x/manifest.json", "images/0000-x/version"]
    small_files += ["images/0001-x/manifest.json", "images/0001-x/version"]
    assert shown[:2] == ["documents/z", "documents/a"]
    assert sorted(shown[2:7]) == sorted([*small_files, "images/0001/C"])
    assert [file.path for file in plan[2:7]] == sorted(file.path for file in plan[2:7])
    # Layers in order of first use, then small ones and links in path order.
    assert shown[7:] == ["images/0000/L", "images/0000/B", "images/0000/S", "images/0001/B"]
    assert [file.link_to is not None for file in plan] == [False] * 10 + [True]


def test_a_blob_is_stored_once_and_linked_from_then_on() -> None:
    shared = blob("shared", 2 * BIG_MEMBER)
    plan = plan_files({}, [image(number, shared) for number in range(4)])
    mine = [file for file in plan if file.sha256 == shared.digest[7:]]
    assert [file.stored for file in mine] == ["raw", None, None, None]
    assert {file.link_to for file in mine[1:]} == {mine[0].path}
    assert {file.size for file in mine} == {shared.size}


def test_a_config_shared_by_images_of_both_sizes_of_use_is_linked_backwards() -> None:
    both = blob("both", 100, OCI_CONFIG)
    plan = plan_files({}, [image(0, both), image(1, configs=[both])])
    first, second = [file for file in plan if file.sha256 == both.digest[7:]]
    assert (first.path[:13], first.link_to) == ("images/0001-x", None)
    assert second.link_to == first.path


@pytest.mark.parametrize(
    ("media_type", "size", "stored"),
    [
        (OCI_LAYER, BIG_MEMBER, "zstd"),
        (OCI_LAYER, BIG_MEMBER - 1, "raw"),
        (OCI_LAYER_GZIP, BIG_MEMBER, "raw"),
    ],
)
def test_what_is_compressed(media_type: str, size: int, stored: str) -> None:
    (*_, layer) = plan_files({}, [image(0, blob("layer", size, media_type))])
    assert layer.stored == stored


def test_too_many_files() -> None:
    with refused(FormatError, "too many files", "200001"):
        plan_files({f"documents/{number}": b"" for number in range(200_001)}, [])


class Written:
    """An archive writer on a temporary file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "archive"
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT)
        self.counted: list[int] = []
        self.writer = ArchiveWriter(self.fd, "archive", self.counted.append)

    def finish(self) -> bytes:
        """The finished file, which has the sizes that were told."""
        self.writer.finish()
        data = self.path.read_bytes()
        assert sum(self.counted) == self.writer.written == len(data)
        return data


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    written = Written(tmp_path)
    yield written
    os.close(written.fd)


def chunks(content: bytes, *, compress: bool) -> Iterator[Chunk]:
    for start in range(0, len(content), FRAME):
        part = content[start : start + FRAME]
        yield Chunk(memoryview(part), zstd_frame(part) if compress else None)


@pytest.mark.parametrize("recipe", [tiny_recipe, full_recipe])
def test_the_bytes_are_the_predicted_ones(recipe: Callable[[], Recipe], written: Written) -> None:
    made = recipe()
    for name, data in head_members(made.head):
        written.writer.text(name, data)
    for file in made.manifest.files:
        if file.link_to is not None:
            written.writer.link(file.path, file.link_to)
        elif len(file.path.rpartition("/")[2]) == 64:
            written.writer.blob(file, chunks(made.contents[file.path], compress=file.stored == "zstd"))
        else:
            written.writer.text(file.path, made.contents[file.path])
    assert written.finish() == made.archive()


def test_a_text_of_many_frames_is_cut_like_a_blob(written: Written) -> None:
    content = bytes(2 * FRAME + 7)
    written.writer.text("bundle.json", content)
    plain = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(written.finish()), read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        (entry,) = tar.getmembers()
    assert (entry.name, entry.size) == ("bundle.json", len(content))


def test_the_layout_of_the_loader_sees_the_same_members() -> None:
    made = full_recipe()
    layout = Layout(layout_members(made.head, made.manifest.files))
    assert [member.path for member in layout.members] == [piece.path for piece in made.pieces()]
    assert sum(frame.size for frame in layout.frames) == layout.end


def test_a_full_disk_names_the_file_and_what_to_do() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        writer = ArchiveWriter(full, "out/.x.part", lambda _: None)
        with refused(StorageError, "cannot write out/.x.part", os.strerror(errno.ENOSPC)):
            writer.text("SHA256SUMS", bytes(FRAME))
    finally:
        os.close(full)


def test_a_write_that_takes_only_a_part_is_finished(monkeypatch: pytest.MonkeyPatch, written: Written) -> None:
    honest = os.writev

    def lazy(fd: int, parts: Sequence[frames.Buffer]) -> int:
        return honest(fd, [memoryview(parts[0])[:1]])

    monkeypatch.setattr(os, "writev", lazy)
    content = bytes(range(256)) * 1000
    written.writer.text("SHA256SUMS", content)
    assert zstandard.ZstdDecompressor().stream_reader(written.finish()).read()[512 : 512 + len(content)] == content


def test_the_head_alone_is_a_plain_tar() -> None:
    head = full_recipe().head
    with tarfile.open(fileobj=io.BytesIO(head_tar(head))) as tar:
        found = {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry))}
    assert found == {
        "SHA256SUMS": head.sums,
        **{f"SHA256SUMS.{label}.sig": data for label, data in head.signatures},
        "bundle.json": head.manifest,
    }


SIZES = st.integers(0, 3000) | st.integers(BIG_MEMBER - 2, BIG_MEMBER + 2)


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=5), max_size=4), st.data())
def test_every_plan_is_one_the_loader_takes(images: list[list[tuple[int, bool]]], data: st.DataObject) -> None:
    sizes = data.draw(st.lists(SIZES.filter(bool), min_size=6, max_size=6))
    packed = [
        image(
            number,
            *(blob(str(n), sizes[n]) for n, is_layer in uses if is_layer),
            configs=[blob(str(n), sizes[n]) for n, is_layer in uses if not is_layer],
        )
        for number, uses in enumerate(images)
    ]
    plan = plan_files({}, packed)
    check_manifest(replace(tiny_recipe().manifest, files=plan, images=(), documents=()))
    blobs = [file for file in plan if len(file.path.rpartition("/")[2]) == 64]
    stored = [file.sha256 for file in blobs if file.link_to is None]
    assert len(set(stored)) == len(stored)
    assert {file.sha256 for file in blobs} == set(stored)
