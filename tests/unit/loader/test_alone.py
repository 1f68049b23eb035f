from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from loader.alone import alone_in
from loader.bundle.errors import StorageError
from tests.support.refusals import refused


def test_who_comes_second_is_told_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a/b"
    with alone_in(folder):
        (folder / "file").touch()
        with refused(StorageError, f"{folder} is in use", "another run"), alone_in(folder):
            pass
        assert (folder / "file").exists()
    with alone_in(folder):
        pass
    assert (folder / "file").exists()


def test_what_was_made_and_is_empty_goes_again(tmp_path: Path) -> None:
    with alone_in(tmp_path / "a/b"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with alone_in(tmp_path / "a"):
        pass
    assert (tmp_path / "a").is_dir()


def test_a_link_is_followed_where_a_person_named_it_and_not_where_we_did(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with refused(StorageError, "link"), alone_in(tmp_path / "link", hidden=True):
        pass
    with alone_in(tmp_path / "link"), refused(StorageError, "in use"), alone_in(tmp_path / "real"):
        pass
    assert (tmp_path / "link").is_symlink()


def test_a_file_system_without_such_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_: int, __: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with alone_in(tmp_path / "a"):
        (tmp_path / "a/file").touch()
