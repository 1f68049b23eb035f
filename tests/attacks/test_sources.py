"""Media that lie: other bytes at the second read, files that are no files, reads that fail."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.bundle.errors import BundleError, FormatError, StorageError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.frames import MAX_HEADER
from loader.bundle.limits import BLOCK, FRAME
from loader.bundle.pieces import Tie
from loader.bundle.verify import Complete, VerifiedBundle, verify_content
from loader.claims import read_claim
from loader.opening import open_bundle
from loader.tie import find_tie
from tests.support.bundles import (
    ARCHIVE,
    MemorySource,
    full_recipe,
    lay_frames,
    make_trust,
    open_head,
    tiny_recipe,
    verify,
)
from tests.support.refusals import refused

DATA = full_recipe().archive()
BIG = next(file for file in full_recipe().manifest.files if file.size > FRAME and file.stored == "raw")
ZSTD = next(file for file in full_recipe().manifest.files if file.stored == "zstd")


def frame_offset(number: int) -> int:
    return sum(len(frame.stored) for frame in lay_frames(full_recipe().pieces())[:number])


def swap_byte(source: MemorySource, offset: int) -> None:
    changed = bytearray(source.data)
    changed[offset] ^= 1
    source.data = bytes(changed)


def read(bundle: VerifiedBundle, path: str) -> bytes:
    return b"".join(map(bytes, bundle.open(path)))


# With secret tags, as this host makes them, and with the running hashes of one that makes none.
@pytest.fixture(params=["tags", "hashes"])
def tie(request: pytest.FixtureRequest) -> Tie | None:
    found = find_tie()
    assert found is not None
    return found if request.param == "tags" else None


def test_the_second_read_gives_what_the_first_gave(tie: Tie | None) -> None:
    bundle = verify(DATA, tie=tie).bundle
    for file in (BIG, ZSTD):
        for _ in range(2):
            assert read(bundle, file.path) == full_recipe().contents[file.path]


@pytest.mark.parametrize("frame", [1, 2])
def test_a_big_blob_that_changed_after_it_was_verified(frame: int, tie: Tie | None) -> None:
    source = MemorySource(DATA)
    bundle = verify(source, tie=tie).bundle
    swap_byte(source, frame_offset(frame) + 1000)
    got = bytearray()
    with refused(TrustError, BIG.path, ARCHIVE, "changed while it was read"):
        for block in bundle.open(BIG.path):
            got += block
    # Nothing of the changed frame was handed out.
    assert bytes(got) == full_recipe().contents[BIG.path][: (frame - 1) * FRAME]


@pytest.mark.parametrize("frame", [1, 2])
def test_a_part_of_a_big_blob_that_changed_after_it_was_verified(frame: int, tie: Tie | None) -> None:
    source = MemorySource(DATA)
    bundle = verify(source, tie=tie).bundle
    swap_byte(source, frame_offset(frame) + 1000)
    start = (frame - 1) * FRAME + 50_000
    with refused(TrustError, BIG.path, ARCHIVE):
        next(bundle.open_blob("sha256:" + BIG.sha256, start, start + 1))


@pytest.mark.parametrize("pair", [(0, 1), (1, 2)])
def test_pieces_that_changed_places_after_they_were_verified(pair: tuple[int, int], tie: Tie | None) -> None:
    source = MemorySource(DATA)
    bundle = verify(source, tie=tie).bundle
    begin = frame_offset(1) + MAX_HEADER + 3
    one, other = (begin + number * (BLOCK + 3) for number in pair)
    data = bytearray(source.data)
    data[one : one + BLOCK], data[other : other + BLOCK] = data[other : other + BLOCK], data[one : one + BLOCK]
    assert bytes(data) != source.data
    source.data = bytes(data)
    with refused(TrustError, BIG.path, ARCHIVE):
        read(bundle, BIG.path)


@pytest.mark.parametrize("frame", [1, 2])
def test_a_big_blob_that_was_changed_before_it_was_ever_verified(frame: int) -> None:
    source = MemorySource(DATA)
    bundle = open_head(source)
    swap_byte(source, frame_offset(frame) + 1000)
    with refused(TrustError, BIG.path):
        read(bundle, BIG.path)


def test_a_small_file_that_changed_after_it_was_verified() -> None:
    path = "images/0000-app0/version"
    source = MemorySource(DATA)
    bundle = verify(source).bundle
    swap_byte(source, DATA.index(full_recipe().contents[path]))
    with refused(TrustError, path):
        bundle.read(path)


def test_an_archive_that_was_swapped_for_another_valid_one() -> None:
    other = full_recipe().change(sequence=8).archive()
    assert len(other) == len(DATA)
    source = MemorySource(DATA)
    bundle = open_head(source)
    source.data = other
    with refused(TrustError, "SHA256SUMS"):
        verify_content(bundle)


def test_an_archive_that_shrank_after_it_was_opened() -> None:
    source = MemorySource(DATA)
    bundle = open_head(source)
    source.data = DATA[: frame_offset(3)]
    with refused(FormatError, ARCHIVE, "truncated"):
        verify_content(bundle)


def test_a_read_error_in_the_middle() -> None:
    def fail(offset: int, size: int) -> None:
        if offset == frame_offset(2):
            raise StorageError(f"cannot read {ARCHIVE} at {offset}", why="Input/output error")

    bundle = open_head(MemorySource(DATA, on_read=fail))
    with refused(StorageError, ARCHIVE, "Input/output error"):
        verify_content(bundle)


@pytest.mark.parametrize("frame", range(7))
def test_an_error_in_any_worker_decides_the_result(frame: int) -> None:
    source = MemorySource(DATA)
    bundle = open_head(source)
    swap_byte(source, frame_offset(frame + 1) - 5)
    for jobs in (1, 2, 4):
        with pytest.raises(BundleError):
            verify_content(bundle, jobs=jobs)


def test_a_bug_in_a_worker_is_no_success_either() -> None:
    def fail(_: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        verify_content(open_head(DATA), on_bytes=fail)


def test_the_other_workers_stop_at_an_error() -> None:
    # The first run of small files is wrong; the worker in the big blob does not read on to the end.
    source = MemorySource(DATA)
    bundle = open_head(source)
    swap_byte(source, frame_offset(1) - 5)
    read: list[int] = []

    def on_bytes(size: int) -> None:
        read.append(size)
        time.sleep(0.2)

    with pytest.raises(BundleError):
        verify_content(bundle, jobs=2, on_bytes=on_bytes)
    assert sum(read) < BIG.size + ZSTD.size


@pytest.mark.parametrize("forge", [VerifiedBundle, Complete])
def test_nobody_else_makes_the_proofs(forge: Callable[..., object]) -> None:
    bundle = open_head(DATA)
    fields = {name: getattr(bundle, name) for name in ("head", "manifest", "files", "graphs", "signers", "warnings")}
    more = {"archive": bundle._archive, "threshold": 1} if forge is VerifiedBundle else {"bundle": bundle}
    with pytest.raises(RuntimeError, match="only the verifier"):
        forge(object(), **(fields if forge is VerifiedBundle else {}), **more)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_device_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_folder_link(path: Path) -> None:
    path.symlink_to(path.parent)


MAKERS = [make_fifo, make_folder, make_device_link, make_folder_link]


@pytest.mark.parametrize("make", MAKERS, ids=[make.__name__[5:] for make in MAKERS])
def test_instead_of_an_archive_a(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE
    make(path)
    with refused(FormatError, str(path), "not a regular file"), open_bundle(path, make_trust()):
        pass
    with refused(FormatError, str(path), "not a regular file"):
        read_claim(path)


def test_no_archive_at_all(tmp_path: Path) -> None:
    with (
        refused(StorageError, str(tmp_path / ARCHIVE), os.strerror(errno.ENOENT)),
        open_bundle(tmp_path / ARCHIVE, make_trust()),
    ):
        pass


def test_a_file_that_grew_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE
    path.write_bytes(tiny_recipe().archive())
    with open_bundle(path, make_trust()) as bundle:
        with path.open("ab") as stream:
            stream.write(b"more")
        # What was appended is no part of what was opened.
        assert verify_content(bundle).bundle.id == tiny_recipe().head.id
    with refused(FormatError, ARCHIVE), open_bundle(path, make_trust()):
        pass


def test_a_file_that_was_cut_while_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE
    path.write_bytes(DATA)
    with open_bundle(path, make_trust()) as bundle:
        os.truncate(path, frame_offset(2) + 100)
        with refused(FormatError, ARCHIVE, "truncated"):
            verify_content(bundle)


def test_a_source_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / ARCHIVE
    path.write_bytes(DATA)
    source = FileSource(str(path))
    source.close()
    with refused(StorageError, ARCHIVE, os.strerror(errno.EBADF)):
        source.read_into(0, memoryview(bytearray(8)))
