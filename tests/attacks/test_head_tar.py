"""``X.head.tar``, from which a delta learns what its base had: the head alone, to the last byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.pack import head_tar
from loader.bundle.errors import FormatError
from loader.bundle.filesource import FileSource
from loader.bundle.head import Head, read_head_tar

HEAD = Head(b"a" * 64 + b"  bundle.json\n", (("approver", b"1" * 70), ("builder", b"2" * 70)), b'{"x":1}\n' * 200_000)


def read(path: Path, data: bytes) -> Head:
    path.write_bytes(data)
    with FileSource(str(path)) as source:
        return read_head_tar(source)


def test_a_head_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read(tmp_path / "x.head.tar", head_tar(HEAD)) == HEAD


@pytest.mark.parametrize("size", [0, 1, 511, 512, 600, 1024, 1_000_000])
def test_a_truncated_head(tmp_path: Path, size: int) -> None:
    with pytest.raises(FormatError, match=r"x\.head\.tar.*truncated"):
        read(tmp_path / "x.head.tar", head_tar(HEAD)[:size])


def test_another_member_first(tmp_path: Path) -> None:
    whole = head_tar(HEAD)
    with pytest.raises(FormatError, match="unexpected member"):
        read(tmp_path / "x.head.tar", whole[1024:])


@pytest.mark.parametrize("place", [3, 130, 500])
def test_a_changed_header(tmp_path: Path, place: int) -> None:
    data = bytearray(head_tar(HEAD))
    data[place] ^= 1
    with pytest.raises(FormatError):
        read(tmp_path / "x.head.tar", bytes(data))
