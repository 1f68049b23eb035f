"""What a SOURCE is, and the archive back from it."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import ConfigError, FormatError, MissingVolume, StorageError, TrustError
from loader.bundle.mediaset import CHUNK
from loader.claims import read_claim, read_vouched
from loader.media.disccheck import check_discs, require_clean
from loader.media.folder import FolderDisc
from loader.media.opened import damage_lines, media_notes
from loader.media.places import ImageFile, disc_paths, find_archive
from loader.media.verifying import bytes_to_read, media_document, verify_opened
from loader.opening import open_source
from tests.support.bundles import full_recipe, make_trust
from tests.support.discs import bundle_set, make_set
from tests.support.isomaker import make_iso, tree
from tests.support.refusals import refused
from tests.support.setfolder import no_progress, write_disc, write_discs


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return write_discs(tmp_path / "set", bundle_set())


def write_images(folder: Path) -> list[Path]:
    folder.mkdir()
    made = bundle_set()
    for name in made.shares:
        (folder / f"{name}.iso").write_bytes(make_iso(tree(made.disc(name).files)))
    return sorted(folder.iterdir())


def test_archives_and_discs_are_told_apart(tmp_path: Path, folders: list[Path]) -> None:
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(full_recipe().archive())
    images = write_images(tmp_path / "images")
    assert find_archive([archive]) == archive
    assert find_archive([*images, *folders]) is None
    for several in ([archive, archive], [archive, folders[0]]):
        with refused(ConfigError, "is an archive and not the only SOURCE"):
            find_archive(several)
    with refused(StorageError, "cannot open"):
        find_archive([tmp_path / "nothing"])


def test_a_folder_may_hold_discs_or_be_one(tmp_path: Path, folders: list[Path]) -> None:
    images = write_images(tmp_path / "images")
    assert disc_paths(tmp_path / "set") == sorted(folders)
    assert disc_paths(tmp_path / "images") == images
    assert disc_paths(folders[0]) == [folders[0]]
    empty = tmp_path / "empty"
    empty.mkdir()
    with refused(FormatError, "holds no discs"):
        disc_paths(empty)
    (empty / "SET.JSO").write_bytes(b"")
    assert disc_paths(empty) == [empty]


@pytest.mark.parametrize("mixed", [False, True])
def test_images_and_folders_verify_together(tmp_path: Path, folders: list[Path], mixed: bool) -> None:
    images = write_images(tmp_path / "images")
    sources: Sequence[Path] = [images[1], folders[1], images[3]] if mixed else images
    counted: list[int] = []
    with open_source(sources, make_trust()) as opened:
        assert verify_opened(opened, counted.append).bundle.id == bundle_set().media.bundle.id
        parity = bundle_set().media.volumes[-1].size
        assert sum(counted) == bytes_to_read(opened) == opened.bundle.unpacked + (0 if mixed else parity)
        assert media_document(opened)["healable"] is None


def hurt(image: Path, way: str) -> None:
    data = image.read_bytes()
    if way == "cut off":
        image.write_bytes(data[: 18 * 2048])
    elif way == "empty":
        image.write_bytes(b"")
    elif way == "a stranger":
        image.write_bytes(b"no image at all" * 10_000)
    else:
        image.chmod(0)


@pytest.mark.parametrize("way", ["cut off", "empty", "a stranger", "closed"])
def test_an_image_that_cannot_be_opened_is_lost_and_stops_no_other(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_images(tmp_path / "images")
    hurt(images[1], way)
    if way == "closed":  # to root as well
        opening = ImageFile.__init__

        def refuse(self: ImageFile, path: str, **more: int) -> None:
            if path == str(images[1]):
                raise StorageError(f"cannot open {path}", why="Permission denied")
            opening(self, path, **more)

        monkeypatch.setattr(ImageFile, "__init__", refuse)
    for sources in ([tmp_path / "images"], images):
        with open_source(sources, make_trust()) as opened:
            assert verify_opened(opened, lambda _: None).bundle.id == bundle_set().media.bundle.id
            assert any(str(images[1]) in text for _, text in media_notes(opened.media))
    with pytest.raises((FormatError, StorageError)), open_source([images[1]], make_trust()):
        pass


def test_a_broken_disc_is_told_apart_from_a_stray(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    hurt(images[1], "cut off")
    found = check_discs(images, make_trust(), no_progress)
    assert [fault.disc for fault in found.faults] == [str(images[1])]
    with refused(FormatError, str(images[1]), "truncated"):
        require_clean(found)
    other = write_disc(tmp_path / "other", make_set(b"x" * 3_000_000, 2**20, 0, name="other").disc("v01"))
    found = check_discs([images[0], other], None, no_progress)
    with pytest.raises(TrustError) as caught:
        require_clean(found)
    assert "among the discs of this set" in caught.value.why
    assert "one set at a time" in caught.value.hint


def test_what_is_not_there_was_typed_wrong(tmp_path: Path, folders: list[Path]) -> None:
    with refused(StorageError, "cannot open", "nowhere"):
        check_discs([*folders, tmp_path / "nowhere"], make_trust(), no_progress)


def test_names_in_capitals_as_fat_shows_them(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images")
    for image in images:
        image.rename(image.with_name(image.name.upper()))
    with open_source([tmp_path / "images"], make_trust()) as opened:
        assert verify_opened(opened, lambda _: None).bundle.id == bundle_set().media.bundle.id


def test_a_folder_that_may_not_be_read(tmp_path: Path, folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in folders:
        (folder / "lost+found").mkdir()
    opening = os.open

    def refuse(name: Any, flags: int, *more: Any, **fds: int) -> int:  # root may read everything
        if name in {"lost+found", "closed"}:
            raise PermissionError(13, "Permission denied")
        return opening(name, flags, *more, **fds)

    monkeypatch.setattr(os, "open", refuse)
    with open_source([tmp_path / "set"], make_trust()) as opened:
        assert verify_opened(opened, lambda _: None).bundle.id == bundle_set().media.bundle.id
    (folders[0] / "closed").mkdir()
    found = check_discs([folders[0]], make_trust(), no_progress)
    assert [fault.what for fault in found.faults] == ["closed is a folder that may not be read"]


def test_what_to_name_instead_is_told(tmp_path: Path) -> None:
    (tmp_path / "demo-1.tar.zst").touch()
    with pytest.raises(FormatError) as caught:
        disc_paths(tmp_path)
    assert caught.value.hint == f"name the archive itself: {tmp_path / 'demo-1.tar.zst'}"


def test_everything_that_is_lost_is_told_not_the_first_alone(folders: list[Path]) -> None:
    for name in ("v01", "v02"):
        path = folders[0].parent / name / f"demo-1.{name}.s001"
        path.write_bytes(b"\0" * CHUNK)
    with pytest.raises(MissingVolume) as caught, open_source(folders, make_trust()):
        pass
    for name in ("v01", "v02"):
        assert f"disc {name}: 1 of 2 chunks unreadable" in caught.value.why
        folder = folders[0].parent / name
        (folder / f"demo-1.{name}.s001").write_bytes(bundle_set().shares[name][f"demo-1.{name}.s001"])
        (folder / f"demo-1.{name}.s002").write_bytes(b"")
    with open_source(folders, make_trust()) as opened, pytest.raises(MissingVolume) as caught:
        verify_opened(opened, lambda _: None)
    assert all(f"disc {name}: 1 of 2 chunks unreadable" in caught.value.why for name in ("v01", "v02"))


def test_an_archive_is_no_media_set(tmp_path: Path) -> None:
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(full_recipe().archive())
    with open_source(archive, make_trust()) as opened:
        assert opened.media is None
        verify_opened(opened, lambda _: None)
        assert [*media_notes(None), *damage_lines(None)] == []
        assert media_document(opened) == {"healable": None, "media": None}


def test_any_one_disc_shows_what_is_inside(tmp_path: Path, folders: list[Path]) -> None:
    for source in (folders[3], write_images(tmp_path / "images")[0]):
        assert read_claim(source).manifest == full_recipe().manifest
        assert list(read_vouched(source, make_trust()).documents) == ["documents/before-rook/common.json"]


def test_a_disc_that_goes_away_between_listing_and_opening(tmp_path: Path) -> None:
    folder = write_disc(tmp_path / "v01", bundle_set().disc("v01"))
    with FolderDisc(folder) as disc:
        assert disc.entries()["set.json"] == "file"
        (folder / "set.json").unlink()
        with refused(StorageError, "cannot open set.json"):
            disc.open("set.json")
        with refused(StorageError, "nothing is not on"):
            disc.open("nothing")
    with refused(StorageError, "cannot open"):
        FolderDisc(tmp_path / "nowhere")


def test_a_disc_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "set.json").write_bytes(b"")

    def failing(*_: object, **__: object) -> os.stat_result:
        raise OSError(5, "Input/output error")

    with FolderDisc(tmp_path) as disc, monkeypatch.context() as patch:
        patch.setattr("loader.media.folder.os.stat", failing)
        with refused(StorageError, f"cannot read {tmp_path}", "Input/output error"):
            disc.entries()


def test_a_folder_with_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loader.media.folder.MAX_MEMBERS", 3)
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"")
    with FolderDisc(tmp_path) as disc, refused(FormatError, "too many files"):
        disc.entries()


def test_the_end_of_a_block_device_is_its_size(tmp_path: Path) -> None:
    path = tmp_path / "disc.iso"
    path.write_bytes(bytes(5000))
    with ImageFile(str(path)) as image:
        device = os.stat_result((stat.S_IFBLK | 0o660, *[0] * 9))
        assert image.measure(device, "/dev/sr0") == 5000
        with refused(FormatError, "/dev/tty is not a regular file, a folder or a block device"):
            image.measure(os.stat_result((stat.S_IFCHR | 0o660, *[0] * 9)), "/dev/tty")
