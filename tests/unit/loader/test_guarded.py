from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.bundle.errors import StorageError, TrustError
from loader.guarded import read_guarded, require_guarded
from tests.support.refusals import refused


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o755)
    path = folder / "file"
    path.write_bytes(b"content")
    path.chmod(0o644)
    return path


def test_a_file_of_ours_is_read(file: Path) -> None:
    assert read_guarded(file, 7) == b"content"
    file.chmod(0o400)
    assert read_guarded(file, 7) == b"content"


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "is writable by its group": (lambda path: path.chmod(0o664), "by its group (mode 0664)"),
    "is writable by others": (lambda path: path.chmod(0o646), "by others (mode 0646)"),
    "stands in a folder that everybody can write": (lambda path: path.parent.chmod(0o757), "everybody can write"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_refused_is_a_file_that(name: str, file: Path) -> None:
    change, word = CHANGES[name]
    change(file)
    with refused(TrustError, str(file), word):
        read_guarded(file, 7)


def test_a_folder_that_keeps_what_others_own_is_as_good_as_tmp(file: Path) -> None:
    file.parent.chmod(0o1777)
    require_guarded(file)


def test_refused_is_a_link_even_to_a_good_file(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with refused(TrustError, str(link), "symbolic link"):
        read_guarded(link, 7)


def test_refused_is_a_file_of_another_user(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = file.stat().st_uid + 1
    if os.geteuid() == 0:
        os.chown(file, stranger, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with refused(TrustError, str(file), "belongs to user"):
        read_guarded(file, 7)


def test_what_is_not_there(tmp_path: Path) -> None:
    with refused(StorageError, "gone"):
        read_guarded(tmp_path / "gone", 7)
