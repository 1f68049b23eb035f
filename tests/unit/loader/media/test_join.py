"""The archive back from its discs: all at hand, or one after the other in one drive."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from loader.alone import alone_in
from loader.bundle.errors import ConfigError, MissingVolume, StorageError, TrustError
from loader.bundle.volumes import MediaSource
from loader.media.drive import Drive, DrivePorts
from loader.media.join import join_archive
from loader.media.staging import stage
from tests.support.bundles import full_recipe, make_policy, make_signer, make_trust
from tests.support.discs import MadeSet, bundle_set, make_set
from tests.support.refusals import refused
from tests.support.setfolder import write_disc, write_discs


class Desk:
    """One drive: a folder that shows the disc put in last; ``changes`` are made when a disc is asked for."""

    def __init__(self, folder: Path, *changes: Path) -> None:
        self.tray = folder / "tray"
        self.asked: list[str] = []
        self.told: list[str] = []
        self.read = 0
        self._changes = list(changes)
        self.put(self._changes.pop(0))

    def put(self, disc: Path) -> None:
        self.tray.unlink(missing_ok=True)
        self.tray.symlink_to(disc)

    def ask(self, line: str, changed: Callable[[], bool]) -> bool:
        assert not changed()
        self.asked.append(line)
        if not self._changes:
            return False
        before = self.tray.resolve()
        self.put(self._changes.pop(0))
        assert changed() == (self.tray.resolve() != before and (self.tray / "set.json").exists())
        return True

    def count(self, size: int) -> None:
        self.read += size

    def join(self, target: Path) -> None:
        ports = DrivePorts(self.ask, lambda _, text: self.told.append(text))
        with contextlib.closing(Drive([self.tray], make_trust(), ports)) as drive:
            join_archive(drive, target, self.count)


@pytest.fixture
def discs(tmp_path: Path) -> dict[str, Path]:
    return {path.name: path for path in write_discs(tmp_path / "set", bundle_set())}


def join(sources: Sequence[Path], target: Path) -> None:
    with contextlib.closing(Drive(sources, make_trust(), nobody())) as drive:
        join_archive(drive, target, lambda _: None)


def nobody() -> DrivePorts:
    """Where nobody can answer."""
    return DrivePorts(lambda _, __: False, lambda _, __: None)


def test_all_discs_at_hand(tmp_path: Path, discs: dict[str, Path]) -> None:
    target = tmp_path / "joined"
    join([discs[name] for name in ("p01", "v03", "v01")], target)
    assert target.read_bytes() == full_recipe().archive()
    with refused(ConfigError, "joined exists"):
        join(list(discs.values()), target)


def test_another_run_is_not_disturbed(tmp_path: Path, discs: dict[str, Path]) -> None:
    with alone_in(tmp_path / ".joined.lock", hidden=True), refused(StorageError, ".joined.lock is in use"):
        join(list(discs.values()), tmp_path / "joined")
    join(list(discs.values()), tmp_path / "joined")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["joined", "set"]


def test_what_is_staged_already_has_to_be_the_archive_of_these_discs(tmp_path: Path, discs: dict[str, Path]) -> None:
    data = full_recipe().archive()
    staged = tmp_path / "copy" / bundle_set().media.archive.name

    def stage_it() -> Path:
        with contextlib.closing(Drive(list(discs.values()), make_trust(), nobody())) as drive:
            return stage(drive, [], tmp_path / "copy", lambda _: None)

    assert stage_it() == staged
    assert stage_it().read_bytes() == data
    for other in (data[:-1], bytes([data[0] ^ 1]) + data[1:]):
        staged.write_bytes(other)
        with refused(StorageError, f"{staged} is not the archive of these discs"):
            stage_it()
        assert staged.read_bytes() == other


@pytest.mark.parametrize(
    "order",
    [
        ("v01", "v02", "v03"),
        ("v03", "v01", "v02"),
        ("v01", "v03", "p01"),
        ("v01", "p01", "v03", "p01"),
        ("p01", "v01", "v02", "p01"),
    ],
)
def test_one_drive_takes_any_order(tmp_path: Path, discs: dict[str, Path], order: tuple[str, ...]) -> None:
    drive = Desk(tmp_path, *(discs[name] for name in order))
    drive.join(tmp_path / "joined")
    data = full_recipe().archive()
    assert (tmp_path / "joined").read_bytes() == data
    assert len(drive.asked) == len(order) - 1
    assert drive.read == len(data)
    assert all(line.startswith("Insert disc ") for line in drive.asked)


def test_the_question_names_the_disc_and_what_else_helps(tmp_path: Path, discs: dict[str, Path]) -> None:
    drive = Desk(tmp_path, discs["v01"])
    with refused(MissingVolume, "disc v02, v03 of demo-1", "v02: 2 chunks missing"):
        drive.join(tmp_path / "joined")
    stem = f"DEMO_{bundle_set().media.bundle.id[:4].upper()}"
    assert drive.asked == [f"Insert disc 2 of 4, label {stem}_V02 (or one of 3, P1)"]


def test_a_scratched_disc_is_healed_by_the_parity_asked_for(tmp_path: Path, discs: dict[str, Path]) -> None:
    (discs["v02"] / "demo-1.v02.s002").write_bytes(b"scratched")
    drive = Desk(tmp_path, *(discs[name] for name in ("v01", "v02", "v03", "p01")))
    drive.join(tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == full_recipe().archive()
    assert drive.asked[-1].startswith("disc 2: 1 chunk unreadable. Insert disc P1 of 4, label DEMO_")


def test_what_no_disc_can_heal_ends_it(tmp_path: Path) -> None:
    made: MadeSet = bundle_set(0)
    discs = write_discs(tmp_path / "set", made)
    (discs[1] / "demo-1.v02.s001").unlink()
    drive = Desk(tmp_path, *discs)
    with pytest.raises(MissingVolume) as caught:
        drive.join(tmp_path / "joined")
    assert "v02: 1 chunks unreadable" in caught.value.why
    assert caught.value.hint == "get another copy of disc v02"


def test_wrong_discs_are_said_by_name_and_the_right_one_goes_on(tmp_path: Path, discs: dict[str, Path]) -> None:
    other = write_disc(tmp_path / "other", make_set(b"x" * 3_000_000, 2**20, 0, name="other").disc("v01"))
    empty = tmp_path / "empty"
    empty.mkdir()
    drive = Desk(tmp_path, discs["v01"], other, empty, discs["v01"], discs["v02"], discs["v03"])
    drive.join(tmp_path / "joined")
    assert (tmp_path / "joined").read_bytes() == full_recipe().archive()
    assert any("another set: other-1" in text for text in drive.told)
    assert any("holds no discs" in text for text in drive.told)
    assert len(drive.asked) == 5


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, discs: dict[str, Path]) -> None:
    target = tmp_path / "out/joined"
    target.parent.mkdir()
    with pytest.raises(MissingVolume):
        Desk(tmp_path, discs["v01"], discs["v02"]).join(target)
    assert not target.exists()
    drive = Desk(tmp_path, discs["v03"])
    drive.join(target)
    assert drive.asked == []
    assert target.read_bytes() == full_recipe().archive()
    assert [path.name for path in target.parent.iterdir()] == ["joined"]


def test_an_untrusted_disc_ends_it(tmp_path: Path, discs: dict[str, Path]) -> None:
    trust = make_trust(make_policy(make_signer("approver")))
    with refused(TrustError, "no trusted key signed this media set"):
        Drive([discs["v01"]], trust, nobody())


def test_no_room_for_it(tmp_path: Path, discs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(StorageError, "cannot write"):
        join(list(discs.values()), tmp_path / "nowhere/joined")
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 5})())
    output = tmp_path / "out"
    output.mkdir()
    with refused(StorageError, "not enough space", "free 5 B"):
        join(list(discs.values()), output / "joined")
    assert list(output.iterdir()) == []


def test_a_disk_that_fills_up(tmp_path: Path, discs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("loader.media.join.os.pwrite", full)
    with refused(StorageError, "cannot write", "No space left on device"):
        join(list(discs.values()), tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_disk_that_fails_when_it_is_synced(
    tmp_path: Path, discs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", failing)
    with refused(StorageError, "cannot write", "Input/output error"):
        join(list(discs.values()), tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_a_copy_that_changes_between_being_read_and_used_is_not_healed_from(
    tmp_path: Path, discs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingVolume):
        Desk(tmp_path, discs["v01"], discs["v02"]).join(tmp_path / "joined")
    part = tmp_path / ".joined.part"
    honest = MediaSource.read_into

    def after_a_change(source: MediaSource, offset: int, view: memoryview) -> int:
        with part.open("r+b") as stream:
            stream.seek(5)
            stream.write(b"other")
        return honest(source, offset, view)

    monkeypatch.setattr(MediaSource, "read_into", after_a_change)
    with refused(TrustError, "rebuilt from parity does not match its hash"):
        join([discs["p01"]], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_an_archive_whose_own_hash_is_not_the_signed_one(tmp_path: Path) -> None:
    made = bundle_set()
    lied = made.change(archive=dataclasses.replace(made.media.archive, sha256="0" * 64))
    with refused(TrustError, "does not match the SHA-256 of demo-1.tar.zst"):
        join(write_discs(tmp_path / "set", lied), tmp_path / "joined")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]
