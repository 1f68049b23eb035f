from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from loader.bundle.errors import StorageError
from loader.durable import make_folders, require_reports, write_whole
from tests.support.refusals import refused


def test_a_file_is_written_with_its_folder_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_whole(path, b"one", mode=0o600)
    assert path.read_bytes() == b"one"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_named_and_left_clean(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with refused(StorageError, str(tmp_path / "folder")):
        write_whole(tmp_path / "folder", b"x", hint="try another")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_folder_that_cannot_be_synced_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, said = os.fsync, [errno.EINVAL]

    def files_alone(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(said[0], os.strerror(said[0]))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", files_alone)
    write_whole(tmp_path / "file", b"one")
    assert (tmp_path / "file").read_bytes() == b"one"
    said[0] = errno.EIO
    with refused(StorageError, str(tmp_path / "file"), os.strerror(errno.EIO)):
        write_whole(tmp_path / "file", b"two")


def test_a_folder_for_reports_is_made_and_tried(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "reports"
    require_reports(folder)
    assert list(folder.iterdir()) == []
    (folder / "file").touch()
    for path in (folder / "file", folder / "file" / "below"):
        with refused(StorageError, f"no report can be written to {path}"):
            require_reports(path)


def test_every_folder_that_is_made_has_the_mode(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_folders(tmp_path / "state" / "loader" / "logs", 0o700)
        make_folders(tmp_path / "state" / "loader" / "logs", 0o700)
    finally:
        os.umask(before)
    made = [tmp_path / "state", tmp_path / "state/loader", tmp_path / "state/loader/logs"]
    assert [folder.stat().st_mode & 0o777 for folder in made] == [0o700] * 3
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        make_folders(tmp_path / "file" / "logs", 0o700)
