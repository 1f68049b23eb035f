"""A set in one drive, any damage: healed within the limit, told beyond it, and every disc asked for in order."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.bundle.errors import MissingVolume
from loader.bundle.mediaset import CHUNK
from loader.bundle.verify import Complete
from loader.media.drive import DrivePorts, disc_word, insert_line
from loader.media.opendrive import is_enough, open_drive
from loader.media.verifying import bytes_to_read, verify_opened
from loader.opening import DriveOptions, all_signatures, open_source
from tests.support.bundles import full_recipe, make_trust
from tests.support.discs import bundle_set
from tests.support.setfolder import write_discs

LABEL = f"DEMO_{bundle_set().media.bundle.id[:4].upper()}"


class OneTray:
    """A tray in which a person puts just what is asked for."""

    def __init__(self, folder: Path, m: int = 1) -> None:
        self.discs = {path.name: path for path in write_discs(folder / "set", bundle_set(m))}
        self.tray = folder / "tray"
        self.asked: list[str] = []
        self.told: list[str] = []
        self.answer: Callable[[str, Callable[[], bool]], bool] = self.ask
        self.put("v01")

    def put(self, name: str) -> None:
        self.tray.unlink(missing_ok=True)
        self.tray.symlink_to(self.discs[name])

    def ask(self, line: str, _: object) -> bool:
        name = line.partition(f"label {LABEL}_")[2][:3].lower()
        self.asked.append(name)
        self.put(name)
        return True

    def scratch(self, name: str, chunk: int) -> None:
        """Damage one chunk; segments of this set are one chunk long."""
        path = self.discs[name] / f"demo-1.{name}.s{chunk + 1:03d}"
        path.write_bytes(b"scratched" + path.read_bytes()[9:])

    def read(self) -> Complete:
        """Verify everything in one pass."""
        ports = DrivePorts(self.answer, lambda _, text: self.told.append(text))
        signatures = lambda discs: all_signatures(discs, [self.tray], ())  # noqa: E731 - as the callers bind it
        with open_drive([self.tray], make_trust(), ports, signatures=signatures) as drive:
            drive.begin()
            drive.run(drive.one.left, lambda number: drive.one.check(number, lambda _: None))
            return drive.complete()


def test_ascending_each_disc_once(tmp_path: Path) -> None:
    tray = OneTray(tmp_path)
    assert not is_enough([tray.tray], make_trust())
    assert tray.read().bundle.id == full_recipe().head.id
    assert tray.asked == ["v02", "v03"]


CHUNKS = [(volume.name, chunk) for volume in bundle_set().media.volumes for chunk in range(volume.chunks)]


@settings(max_examples=12, deadline=None)
@given(st.sets(st.sampled_from(CHUNKS), max_size=3))
def test_any_damage_is_healed_or_told(damage: set[tuple[str, int]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        tray = OneTray(folder)
        for name, chunk in damage:
            tray.scratch(name, chunk)
        by_stripe = [[name for name, at in damage if at == chunk] for chunk in range(2)]
        # Parity that is bad where nothing else is costs nothing.
        lost = [names for names in by_stripe if len(names) > 1 and any(name[0] == "v" for name in names)]
        if lost:
            with pytest.raises(MissingVolume) as caught:
                tray.read()
            assert "can't be read in full" in caught.value.message
            assert caught.value.hint.startswith("get another copy of disc")
        else:
            assert tray.read().bundle.id == full_recipe().head.id
        assert all(name in tray.discs for name in tray.asked)
    finally:
        shutil.rmtree(folder)


def test_the_line_names_what_is_bad_and_what_it_takes(tmp_path: Path) -> None:
    tray = OneTray(tmp_path)
    tray.scratch("v02", 1)
    tray.read()
    assert tray.told[0] == "disc 2: 1 chunk unreadable; to heal insert P1, 1 once more, any order (1 MiB each)"
    assert tray.asked[:2] == ["v02", "v03"]
    assert sorted(tray.asked[2:4]) == ["p01", "v01"]


def test_progress_counts_no_byte_twice_where_healed_spans_are_read_again(tmp_path: Path) -> None:
    tray = OneTray(tmp_path)
    tray.scratch("v02", 1)
    counted: list[int] = []
    ports = DrivePorts(tray.ask, lambda *_: None)
    with open_source([tray.tray], make_trust(), drive=DriveOptions(ports)) as opened:
        total = bytes_to_read(opened)
        verify_opened(opened, counted.append)
    assert tray.asked != ["v02", "v03"]
    assert sum(counted) == total == opened.bundle.unpacked


def test_a_disc_that_is_taken_out_while_it_is_read_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tray = OneTray(tmp_path)
    whole = tray.discs["v02"] / "demo-1.v02.s001"
    gone = tmp_path / "gone"

    def ask(line: str, changed: object) -> bool:
        if "again: it was taken out" in line:
            gone.rename(whole)
            tray.put("v01")
        elif "_V02" in line:
            whole.rename(gone)  # as the drive is opened while the disc is put in
        answered = tray.ask(line, changed)
        if "_V02" in line and gone.exists():
            monkeypatch.setattr("loader.media.drive.Drive.is_gone", lambda _: gone.exists())
        return answered

    tray.answer = ask
    assert tray.read().bundle.id == full_recipe().head.id
    assert tray.asked == ["v02", "v02", "v03"]
    assert tray.told == []


def test_a_disc_that_does_not_come_is_no_dead_end(tmp_path: Path) -> None:
    tray = OneTray(tmp_path)

    def ask(_: str, __: object) -> bool:
        tray.put("p01")
        return not tray.told

    tray.answer = ask
    with pytest.raises(MissingVolume) as caught:
        tray.read()
    way = "with --stage DIR the discs are copied in any order, one a run if need be, and up to 1 may be lost"
    assert tray.told == [f"this is disc P1 ({LABEL}_P01); disc 2 is needed now", way]
    assert caught.value.hint.endswith(f"by turns, a blob stands on both: {way}")


def test_discs_are_called_by_their_numbers() -> None:
    media = bundle_set().media
    assert [disc_word(volume.name) for volume in media.volumes] == ["1", "2", "3", "P1"]
    assert insert_line(media, "v02") == f"Insert disc 2 of 4, label {LABEL}_V02"
    assert insert_line(media, "p01", ["v03"]) == f"Insert disc P1 of 4, label {LABEL}_P01 (or 3)"
    assert media.chunk_size == CHUNK
