from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from loader.archivehash import hashed, hashed_ahead
from loader.bundle.filesource import FileSource
from loader.bundle.frames import MAGIC


class Discs:
    """A source that is no file."""

    size, name = 4, "the discs"

    def read_into(self, offset: int, view: memoryview) -> int:
        raise AssertionError("discs are not read again for a hash")


@pytest.mark.parametrize("size", [0, 1, 2**20, 3 * 2**20 + 7])
def test_the_hash_is_what_sha256sum_says(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.tar.zst"
    path.write_bytes(b"q" * size)
    with FileSource(str(path)) as source, hashed(source) as found:
        row = found.row()
    assert row == {"name": "x.tar.zst", "sha256": sha256(b"q" * size), "size": size}


@pytest.mark.parametrize("left", [0, 50])
def test_a_file_that_got_shorter_has_no_hash(tmp_path: Path, left: int) -> None:
    path = tmp_path / "x.tar.zst"
    path.write_bytes(b"q" * 100)
    with FileSource(str(path)) as source:
        path.write_bytes(b"q" * left)
        with hashed(source) as found:
            row = found.row()
    assert row == {"name": "x.tar.zst", "sha256": None, "size": 100}


def test_discs_have_no_hash_of_a_file() -> None:
    with hashed(Discs()) as found:
        assert found.row() is None


def test_a_hash_that_was_begun_ahead_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.zst"
    path.write_bytes(MAGIC + b"q" * 100)
    with hashed_ahead([path]) as begun, FileSource(str(path)) as source, hashed(source, begun) as found:
        assert found is begun
        assert found.row() == {"name": "x.tar.zst", "sha256": sha256(MAGIC + b"q" * 100), "size": 104}


def test_another_file_of_the_same_name_is_hashed_anew(tmp_path: Path) -> None:
    path, other = tmp_path / "x.tar.zst", tmp_path / "y"
    path.write_bytes(MAGIC + b"q" * 100)
    other.write_bytes(MAGIC + b"r" * 100)
    with hashed_ahead([path]) as begun:
        other.replace(path)
        with FileSource(str(path)) as source, hashed(source, begun) as found:
            row = found.row()
    assert row == {"name": "x.tar.zst", "sha256": sha256(MAGIC + b"r" * 100), "size": 104}


@pytest.mark.parametrize("names", [[], ["iso"], ["empty"], ["folder"], ["nothing"], ["archive", "archive"]])
def test_what_is_not_one_archive_is_not_hashed_ahead(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "archive").write_bytes(MAGIC)
    (tmp_path / "iso").write_bytes(bytes(40_000))
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    with hashed_ahead([tmp_path / name for name in names]) as begun:
        assert begun is None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
