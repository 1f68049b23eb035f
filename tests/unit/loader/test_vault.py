from __future__ import annotations

import stat
from pathlib import Path

import pytest

from loader.bundle.errors import AirgapError, StorageError
from loader.vault import Vault

SECRET = {"kind": "Secret", "data": {"password": "Y29ycmVjdA=="}}


def test_a_secret_is_found_by_its_hash_and_is_its_owners_alone(tmp_path: Path) -> None:
    digest = Vault(tmp_path / "state").keep(SECRET)
    assert Vault(tmp_path / "state").kept(digest) == SECRET
    path = tmp_path / "state/secrets" / digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_secret_that_was_changed_or_is_not_here_is_an_error(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    digest = vault.keep(SECRET)
    (tmp_path / "secrets" / digest).write_text("{}")
    with pytest.raises(StorageError, match="is not the Secret it was"):
        vault.kept(digest)
    with pytest.raises(AirgapError):
        vault.kept("0" * 64)
    with pytest.raises(StorageError, match="cannot be found"):
        vault.kept("../reports/x")


def test_the_last_two_versions_of_a_report_are_ours(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    assert not vault.sealed("a", b"1")
    for data in (b"1", b"2", b"3"):
        vault.seal("a", tmp_path / "report", data)
    assert [vault.sealed("a", data) for data in (b"1", b"2", b"3")] == [False, True, True]
    assert not vault.sealed("b", b"3")
    assert not Vault(tmp_path / "other").sealed("a", b"3")


def test_a_report_stays_ours_when_a_later_run_writes_one_elsewhere(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    vault.seal("a", tmp_path / "monday/report", b"1")
    for data in (b"2", b"3", b"4"):
        vault.seal("a", tmp_path / "tuesday/report", data)
    assert [vault.sealed("a", data) for data in (b"1", b"2", b"3", b"4")] == [True, False, True, True]
    assert not vault.sealed("b", b"1")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write") as caught:
        Vault(tmp_path / "file").seal("a", tmp_path / "report", b"1")
    assert "--state" in caught.value.hint
