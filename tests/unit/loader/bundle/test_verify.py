from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import replace
from typing import Optional

import pytest

from loader.bundle.errors import FormatError
from loader.bundle.limits import BIG_MEMBER, BLOCK, FRAME
from loader.bundle.manifest import File
from loader.bundle.tarlayout import Layout, Member
from loader.bundle.verify import VerifiedBundle, verify_content
from tests.support.bundles import (
    MemorySource,
    Recipe,
    full_recipe,
    lay_frames,
    make_recipe,
    make_signer,
    open_head,
    tiny_recipe,
    verify,
)
from tests.support.images import make_image, make_layer
from tests.support.refusals import refused


@pytest.fixture(scope="module")
def bundle() -> VerifiedBundle:
    return verify(full_recipe().archive()).bundle


def test_a_verified_bundle_says_what_it_is(bundle: VerifiedBundle) -> None:
    recipe = full_recipe()
    assert bundle.manifest == recipe.manifest
    assert bundle.id == recipe.head.id
    assert bundle.size == len(recipe.archive())
    assert bundle.warnings == ()
    assert bundle.threshold == 1
    assert [(signer.key, signer.label) for signer in bundle.signers] == [(make_signer("builder").public, "builder")]
    assert list(bundle.graphs) == ["images/0000-app0", "images/0001-app1"]
    assert bundle.stored.size == bundle.size


def test_every_file_reads_as_it_was_packed(bundle: VerifiedBundle) -> None:
    for file in full_recipe().manifest.files:
        content = full_recipe().contents[file.link_to or file.path]
        assert b"".join(map(bytes, bundle.open(file.path))) == content
        if file.size <= FRAME:
            assert bundle.read(file.path) == content


def test_blobs_are_found_by_digest_in_archive_order(bundle: VerifiedBundle) -> None:
    files = [file for file in full_recipe().manifest.files if len(file.path.rpartition("/")[2]) == 64]
    stored = [file for file in files if file.link_to is None]
    digests = ["sha256:" + file.sha256 for file in stored]
    assert sorted(digests, key=bundle.position) == digests
    for file, digest in zip(stored, digests):
        assert bundle.has_blob(digest)
        assert b"".join(map(bytes, bundle.open_blob(digest))) == full_recipe().contents[file.path]
    assert not bundle.has_blob("sha256:" + "0" * 64)


BIG = next(file for file in full_recipe().manifest.files if file.size > FRAME)
SMALL = next(file for file in full_recipe().manifest.files if 0 < file.size < BIG_MEMBER and len(file.path) > 70)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (0, None), (5, 5), (BLOCK - 1, BLOCK + 1), (FRAME - 1, FRAME + 1), (FRAME, None), (FRAME + 9, FRAME + 10)],
)
@pytest.mark.parametrize("file", [BIG, SMALL], ids=["big", "small"])
def test_a_part_of_a_blob_is_those_bytes(bundle: VerifiedBundle, file: File, start: int, stop: Optional[int]) -> None:
    digest = "sha256:" + file.sha256
    blocks = [bytes(block) for block in bundle.open_blob(digest, start, stop)]
    assert b"".join(blocks) == full_recipe().contents[file.path][start:stop]
    assert all(blocks)
    assert bundle.blob_size(digest) == file.size


def test_a_part_reads_only_the_frames_it_stands_in() -> None:
    read: list[int] = []
    source = MemorySource(full_recipe().archive(), on_read=lambda _, size: read.append(size))
    bundle = verify(source).bundle
    read.clear()
    list(bundle.open_blob("sha256:" + BIG.sha256, FRAME + 10, FRAME + 20))
    assert sum(read) < FRAME // 2


def test_no_part_of_a_big_blob_before_the_whole_was_read() -> None:
    with pytest.raises(RuntimeError, match="not read in full"):
        list(open_head(full_recipe().archive()).open_blob("sha256:" + BIG.sha256, 1))


def test_a_layer_is_never_read_whole(bundle: VerifiedBundle) -> None:
    big = next(file for file in full_recipe().manifest.files if file.size > FRAME)
    with pytest.raises(RuntimeError, match="too large to be read whole"):
        bundle.read(big.path)


@pytest.mark.parametrize("recipe", [tiny_recipe, full_recipe])
@pytest.mark.parametrize("jobs", [1, 3])
def test_progress_counts_every_byte_of_the_stream(recipe: Callable[[], Recipe], jobs: int) -> None:
    counted: list[int] = []
    verify_content(open_head(recipe().archive()), jobs=jobs, on_bytes=counted.append)
    assert sum(counted) == sum(len(frame.content) for frame in lay_frames(recipe().pieces()))


def test_a_worker_that_was_told_to_stop_reads_one_block_more(bundle: VerifiedBundle) -> None:
    counted: list[int] = []
    archive = bundle._archive
    span = next(span for span in archive.layout.spans if span.member >= 0)
    archive.check_span(span, counted.append, lambda: True)
    assert len(counted) == 1
    assert counted[0] < archive.layout.members[span.member].size


def test_every_byte_is_read(bundle: VerifiedBundle) -> None:
    data = full_recipe().archive()
    read: list[tuple[int, int]] = []
    verify_content(open_head(MemorySource(data, on_read=lambda offset, size: read.append((offset, size)))))
    position = 0
    for offset, size in sorted(read):
        assert offset <= position
        position = max(position, offset + size)
    assert position == len(data)


def many_small() -> Recipe:
    """Documents of all sizes up to a big one, so that glue is cut inside headers, content and padding."""
    sizes = [0, 1, 511, 512, 513, BLOCK - 1024, BLOCK - 512, BLOCK, *([BIG_MEMBER - 513] * 9), BIG_MEMBER, 1]
    documents = {f"documents/nodes/{n:02}": bytes([n + 1]) * size for n, size in enumerate(sizes)}
    return make_recipe(documents=documents)


def test_small_files_that_lie_across_blocks_and_frames() -> None:
    recipe = many_small()
    bundle = verify(recipe.archive()).bundle
    assert len(bundle._archive.layout.frames) > 3
    for path, content in recipe.contents.items():
        assert bundle.read(path) == content
        # A file that nobody reads twice in a row: no state is left between reads.
        assert b"".join(map(bytes, bundle.open(path))) == content


def test_the_frame_of_a_byte_is_found(bundle: VerifiedBundle) -> None:
    archive = bundle._archive
    offsets = [frame.offset for frame in archive.layout.frames]
    for offset in (0, 1, *offsets, *(offset - 1 for offset in offsets[1:]), archive.layout.end - 1):
        assert archive._frame_at(offset) == bisect.bisect_right(offsets, offset) - 1


def test_an_archive_of_one_file_less_than_a_frame_and_one_more() -> None:
    for size in (BIG_MEMBER - 1, BIG_MEMBER, BIG_MEMBER + 1, FRAME):
        recipe = make_recipe(documents={"documents/nodes/x": bytes(size)})
        layout = Layout([Member(piece.path, len(piece.content), "raw") for piece in recipe.pieces()])
        assert [frame.size for frame in layout.frames] == [len(frame.content) for frame in lay_frames(recipe.pieces())]
        assert verify(recipe.archive()).bundle.read("documents/nodes/x") == bytes(size)


def test_an_untagged_image_and_one_without_platforms() -> None:
    recipe = make_recipe([make_image(layers=[make_layer("x")])])
    image = replace(recipe.manifest.images[0], tag=None)
    assert verify(recipe.change(images=(image, image)).archive()).bundle.manifest.images[0].tag is None


def test_a_wrong_frame_of_a_blob_is_named() -> None:
    laid = lay_frames(full_recipe().pieces())
    data = bytearray(full_recipe().archive())
    data[len(laid[0].stored)] ^= 1
    with refused(FormatError, "demo-1.tar.zst", "frame 1 at byte"):
        verify(bytes(data))
