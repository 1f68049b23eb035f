from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from loader.archivehash import hashed
from loader.bundle.volumes import FileSource


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
    assert row == {"name": "x.tar.zst", "sha256": hashlib.sha256(b"q" * size).hexdigest(), "size": size}


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
