from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from bundler.output import partial_file, rewrite_file, write_file
from loader.bundle.errors import StorageError
from tests.support.refusals import refused


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_under_its_name_once_it_is_kept(tmp_path: Path) -> None:
    final = tmp_path / "new" / "folder" / "x"
    with partial_file(final) as partial:
        os.write(partial.fd, b"content")
        assert names(final.parent) == [".x.part"]
        partial.keep(final)
        assert names(final.parent) == ["x"]
    assert final.read_bytes() == b"content"


def test_a_file_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    with partial_file(tmp_path / "x") as partial:
        os.write(partial.fd, b"half")
    with pytest.raises(ValueError, match="a bug"), partial_file(tmp_path / "x"):
        raise ValueError("a bug")
    assert names(tmp_path) == []


def test_a_file_system_without_locks_is_no_other_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_: int, __: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with partial_file(tmp_path / "x") as partial:
        os.write(partial.fd, b"content")
        partial.keep(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"content"


def test_a_file_that_people_keep_stays_where_it_is_and_whose_it_is(tmp_path: Path) -> None:
    kept, link = tmp_path / "shared" / "kept", tmp_path / "link"
    kept.parent.mkdir()
    kept.write_bytes(b"old")
    kept.chmod(0o664)
    link.symlink_to("shared/kept")
    rewrite_file(link, b"new")
    assert link.is_symlink()
    assert (kept.read_bytes(), stat.S_IMODE(kept.stat().st_mode)) == (b"new", 0o664)
    assert names(kept.parent) == ["kept"]
    rewrite_file(tmp_path / "fresh", b"new")
    assert (tmp_path / "fresh").read_bytes() == b"new"
    with refused(StorageError, str(kept.parent)):
        rewrite_file(kept.parent, b"new")


def test_an_older_file_stands_until_the_new_one_is_kept(tmp_path: Path) -> None:
    final = tmp_path / "x"
    final.write_bytes(b"old")
    with partial_file(final) as partial:
        os.write(partial.fd, b"new")
        assert final.read_bytes() == b"old"
        partial.keep(final)
    assert final.read_bytes() == b"new"


@pytest.mark.parametrize("instead", ["file", "folder", "nothing"])
def test_what_took_its_name_is_neither_kept_nor_removed(tmp_path: Path, instead: str) -> None:
    hidden = tmp_path / ".x.part"
    with refused(StorageError, ".x.part", "removed or replaced"), partial_file(tmp_path / "x") as partial:
        hidden.unlink()
        if instead == "file":
            hidden.write_text("another's")
        elif instead == "folder":
            hidden.mkdir()
        partial.keep(tmp_path / "x")
    assert hidden.exists() == (instead != "nothing")
    assert not (tmp_path / "x").exists()


def test_a_final_name_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with refused(StorageError, "cannot write", "Is a directory"), partial_file(tmp_path / "x") as partial:
        partial.keep(tmp_path / "x")
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


@pytest.mark.parametrize("left", [True, False])
def test_what_an_earlier_build_left_stays_when_the_disk_is_full(tmp_path: Path, left: bool) -> None:
    hidden = tmp_path / ".x.part"
    if left:
        hidden.write_bytes(bytes(1000))
    full = StorageError("cannot write", why="No space left on device")

    def write() -> None:
        with partial_file(tmp_path / "x") as partial:
            os.pwrite(partial.fd, b"more", 1000)
            raise full

    with pytest.raises(StorageError):
        write()
    assert hidden.exists() == left
    assert ("goes on from the 1.00 kB" in full.hint) == left


def test_two_builds_of_one_file_do_not_mix(tmp_path: Path) -> None:
    with partial_file(tmp_path / "x") as partial:
        os.write(partial.fd, b"mine")
        with refused(StorageError, ".x.part", "is in use"), partial_file(tmp_path / "x"):
            pass
        assert names(tmp_path) == [".x.part"]
        partial.keep(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"mine"


def test_a_link_in_place_of_the_hidden_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / ".x.part").symlink_to(victim)
    with refused(StorageError, ".x.part"), partial_file(tmp_path / "x"):
        pass
    assert victim.read_bytes() == b"precious"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with refused(StorageError, str(tmp_path / "file")), partial_file(tmp_path / "file" / "x"):
        pass


def test_a_small_file_is_whole_and_has_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_file(path, b"secret", 0o600)
    assert path.read_bytes() == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    write_file(path, b"other", 0o600)
    assert (names(tmp_path), path.read_bytes()) == (["key"], b"other")


def test_a_file_left_by_a_killed_run_lends_nothing_to_a_new_one(tmp_path: Path) -> None:
    # Neither its mode, to a private key, nor its place, if it is a link.
    left = tmp_path / ".key.tmp"
    left.write_bytes(b"x" * 100)
    left.chmod(0o644)
    write_file(tmp_path / "key", b"secret", 0o600)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    left.symlink_to(victim)
    write_file(tmp_path / "key", b"secret", 0o600)
    assert (victim.read_bytes(), (tmp_path / "key").is_symlink()) == (b"precious", False)


def test_a_small_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with refused(StorageError, str(tmp_path / "x")):
        write_file(tmp_path / "x", b"content")
    assert names(tmp_path) == ["x"]
    with refused(StorageError, str(tmp_path / "none" / "x")):
        write_file(tmp_path / "none" / "x", b"content")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with refused(StorageError, str(tmp_path / "x"), "No space left"):
        write_file(tmp_path / "x", b"content")
    assert names(tmp_path) == []


def test_what_is_no_file_is_not_written_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".x.part")
    with refused(StorageError, ".x.part", "no file"), partial_file(tmp_path / "x"):
        pass
    assert names(tmp_path) == [".x.part"]
