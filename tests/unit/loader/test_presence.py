from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from loader.bundle.errors import StorageError
from loader.presence import is_file, is_folder, is_named
from tests.support.refusals import refused


def test_what_is_there_and_what_is_not(tmp_path: Path) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to("gone")
    assert [is_file(path) for path in (file, tmp_path, link, file / "below")] == [True, False, False, False]
    assert [is_folder(path) for path in (file, tmp_path, link, file / "below")] == [False, True, False, False]
    assert [is_named(path) for path in (file, tmp_path, link, file / "below")] == [True, True, True, False]


@pytest.mark.parametrize("asked", [is_file, is_folder, is_named])
def test_what_cannot_be_looked_for_is_no_absence(tmp_path: Path, asked: Callable[[Path], bool]) -> None:
    with refused(StorageError, str(tmp_path), "File name too long"):
        asked(tmp_path / ("a" * 300))
    assert not asked(tmp_path / "a\0b")
