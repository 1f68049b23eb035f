"""Writing a media set: what stands on the discs, and that nothing is left where it fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from bundler import stripes
from bundler.iso import find_xorriso
from bundler.media import MediaOptions, MediaPorts, make_media, planned_discs
from bundler.mediafolder import part_folder
from bundler.medium import cut
from bundler.setsign import make_images, read_set_folder, sign_set
from loader.bundle import mediaset, parity
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import BundleError, ConfigError, FormatError, MissingVolume, StorageError, TrustError
from loader.bundle.mediaset import CHUNK
from loader.bundle.verify import verify_content
from loader.media.opened import open_media
from loader.opening import open_bundle
from loader.signing import Signer
from tests.support.bundles import full_recipe, make_signer, make_trust, tiny_recipe
from tests.support.fakebin import Reply, fake_bin
from tests.support.refusals import refused
from tests.support.setfolder import no_progress

PORTS = MediaPorts(lambda _, __: None, no_progress)
SMALL = MediaOptions(4 * CHUNK, 1)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "demo-1.tar.zst"
    path.write_bytes(full_recipe().archive())
    return path


def make(archive: Path, options: MediaOptions = SMALL, signer: Signer | None = None) -> Path:
    output = archive.parent / "set"
    make_media(archive, output, options, signer or make_signer("builder"), PORTS)
    return output


def test_what_is_written_is_what_is_read(archive: Path) -> None:
    output = make(archive)
    assert sorted(path.name for path in output.iterdir()) == ["TRANSFER-RECORD.txt", "p01", "v01", "v02"]
    with open_bundle(output, make_trust()) as bundle:
        verify_content(bundle)
        assert {signer.key.name for signer in bundle.signers} == {"builder"}
    joined = b"".join((output / name / f"demo-1.{name}.s001").read_bytes() for name in ("v01", "v02"))
    assert joined == archive.read_bytes()


def test_the_parity_disc_is_the_plain_xor(archive: Path) -> None:
    output = make(archive)
    one, two, row = ((output / n / f"demo-1.{n}.s001").read_bytes() for n in ("v01", "v02", "p01"))
    assert row == bytes(a ^ b for a, b in zip(one, two.ljust(len(one), b"\0")))
    assert parity.encode([one, two], 1) == [row]


def test_every_signature_known_stands_on_every_disc(archive: Path) -> None:
    head = full_recipe().head
    third = make_signer("third")
    archive.with_name("demo-1.tar.zst.third.sig").write_bytes(third.sign(head.sums))
    archive.with_name("demo-1.tar.zst.builder.sig").write_bytes(make_signer("other").sign(head.sums))
    output = make(archive)
    for disc in ("v01", "p01"):
        names = sorted(path.name for path in (output / disc / "bundle").glob("*.sig"))
        assert names == [f"SHA256SUMS.{label}.sig" for label in ("approver", "builder-2", "builder", "third")]


def test_the_readme_names_the_key_of_each_signature_on_the_bundle(archive: Path) -> None:
    large = make_signer("large", "P-384")
    archive.write_bytes(replace(full_recipe(), signers=(make_signer("builder"), large)).archive())
    text = (make(archive, signer=large) / "v01/README-BY-HAND.txt").read_text("ascii")
    for label, digest in (("builder", "sha256"), ("large", "sha384")):
        line = f"openssl dgst -{digest} -verify /trusted/{label}.pub -signature SHA256SUMS.{label}.sig SHA256SUMS"
        assert f"\n    {line}\n" in text


def test_the_same_input_gives_the_same_discs(archive: Path, tmp_path: Path) -> None:
    first = make(archive)
    second = tmp_path / "again"
    make_media(archive, second, SMALL, make_signer("builder"), PORTS)
    files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in files)


def test_the_plan_and_the_set_agree(archive: Path) -> None:
    for size in range(3, 9):
        geometry = planned_discs(archive, size * CHUNK, 1)
        output = archive.parent / f"set{size}"
        made = make_media(archive, output, MediaOptions(size * CHUNK, 1), None, PORTS)
        assert (made.media.k, made.media.m) == (geometry.k, 1)
        for path in made.paths:
            assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) <= size * CHUNK


def test_a_tiny_bundle_makes_one_disc(tmp_path: Path) -> None:
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(tiny_recipe().archive())
    make(archive, MediaOptions(MIB_DVD))
    with open_media([archive.parent / "set"], make_trust()) as media:
        assert [v.name for v in media.discs.media.volumes] == ["v01"]


MIB_DVD = 4_690_000_000


def test_a_sidecar_that_disagrees_stops_it(archive: Path) -> None:
    archive.with_name("demo-1.tar.zst.sha256").write_text(f"{'0' * 64}  demo-1.tar.zst\n")
    with refused(TrustError, "is not what demo-1.tar.zst.sha256 says"):
        make(archive)
    assert not (archive.parent / "set").exists()


def test_an_archive_that_changes_between_the_two_reads(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = stripes.read_archive

    def then_changed(*args: object, **options: object) -> object:
        found = honest(*args, **options)  # type: ignore[arg-type] # passed on as they came
        data = bytearray(archive.read_bytes())
        data[3 * CHUNK + 9] ^= 1
        archive.write_bytes(data)
        return found

    monkeypatch.setattr("bundler.media.read_archive", then_changed)
    with refused(TrustError, "changed while it was read", "demo-1.tar.zst"):
        make(archive)
    assert not (archive.parent / "set").exists()


def test_a_full_disk_is_told_before_and_while_it_is_written(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
        with refused(StorageError, "not enough space", "free 1.00 kB"):
            make(archive)

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bundler.stripes.os.write", full)
    with refused(StorageError, "cannot write", "No space left on device"):
        make(archive)
    assert not (archive.parent / "set").exists()


def test_a_disk_that_fails_when_it_is_synced(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.fsync", failing)
    with refused(StorageError, "cannot write", "demo-1.", "Input/output error"):
        make(archive)
    assert not (archive.parent / "set").exists()


def test_the_sidecar_is_believed_only_until_the_archive_is_hashed(archive: Path) -> None:
    archive.with_name("demo-1.tar.zst.sha256").write_text(f"{sha256_hex(archive.read_bytes())}  demo-1.tar.zst\n")
    with_sidecar = make(archive)
    archive.with_name("demo-1.tar.zst.sha256").unlink()
    without = archive.parent / "without"
    make_media(archive, without, SMALL, make_signer("builder"), PORTS)
    assert (with_sidecar / "v01/set.json").read_bytes() == (without / "v01/set.json").read_bytes()


@pytest.mark.parametrize("capacity", [4 * CHUNK, 64 * CHUNK], ids=["two discs", "one disc"])
@pytest.mark.parametrize("segment", [CHUNK, 1024 * CHUNK], ids=["many segments", "one segment"])
@pytest.mark.parametrize("told", [True, False], ids=["sidecar", "none"])
def test_the_archives_hash_goes_on_from_the_first_segment(
    archive: Path, monkeypatch: pytest.MonkeyPatch, capacity: int, segment: int, told: bool
) -> None:
    sha256 = sha256_hex(archive.read_bytes())
    if told:
        archive.with_name("demo-1.tar.zst.sha256").write_text(f"{sha256}  demo-1.tar.zst\n")
    monkeypatch.setattr("bundler.media.cut", lambda *args: replace(cut(*args), segment=segment))
    output = make(archive, MediaOptions(capacity))
    media = mediaset.decode((output / "v01/set.json").read_bytes())
    assert media.archive.sha256 == sha256
    assert (media.k == 1) == (capacity > 4 * CHUNK)
    assert (len(media.volumes[0].segments) == 1) == (segment > CHUNK)


def test_an_image_that_cannot_be_written_stops_the_others(archive: Path) -> None:
    fake_bin(archive.parent, "xorriso", [Reply(stderr="FAILURE : no space left", status=32)])
    xorriso = find_xorriso(str(archive.parent))
    output = archive.parent / "images"
    with refused(StorageError, "cannot write", ".iso", "FAILURE : no space left"):
        make_media(archive, output, replace(SMALL, xorriso=xorriso), make_signer("builder"), PORTS)
    assert not output.exists()


def test_what_is_no_bundle_makes_no_set(tmp_path: Path) -> None:
    archive = tmp_path / "demo-1.tar.zst"
    archive.write_bytes(b"no bundle at all")
    with refused(FormatError):
        make(archive)
    assert not (tmp_path / "set").exists()


def test_a_folder_with_older_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "v01").mkdir()
    with refused(ConfigError, "is not empty", "v01"), part_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["v01"]
    (tmp_path / "file").write_bytes(b"")
    with refused(StorageError, "cannot write"), part_folder(tmp_path / "file"):
        pass


def test_what_an_interrupted_run_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".media.part/v01").mkdir(parents=True)
    with part_folder(tmp_path) as parts:
        assert not list(parts.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_one_whole_set_is_not_signed(archive: Path, tmp_path: Path) -> None:
    output = make(archive)
    (output / "v02").rename(tmp_path / "away")
    with refused(ConfigError, "is not one whole media set", "v02 is missing"):
        sign_set(output, make_signer("approver"))
    (tmp_path / "away").rename(output / "v02")
    assert len(sign_set(output, make_signer("approver"))) == 3
    assert [volume.name for volume in read_set_folder(output).discs.media.volumes] == ["v01", "v02", "p01"]
    assert make_signer("approver").public.fingerprint in (output / "TRANSFER-RECORD.txt").read_text()


def test_an_unsigned_set_makes_no_images(archive: Path, tmp_path: Path) -> None:
    make_media(archive, tmp_path / "bare", SMALL, None, PORTS)
    with refused(ConfigError, "is not signed yet"):
        make_images(tmp_path / "bare", tmp_path / "iso", "xorriso", lambda _, __: None)
    assert not (tmp_path / "iso").exists()


@pytest.mark.parametrize(
    ("harm", "kind", "words"),
    [
        ("unlisted", FormatError, "v02: notes.txt is on no list"),
        ("changed", TrustError, "v02: report.html is not as listed"),
        ("short", MissingVolume, "v02: demo-1.v02.s001 has 5 of"),
    ],
)
def test_a_folder_that_was_changed_is_neither_signed_nor_imaged(
    archive: Path, tmp_path: Path, harm: str, kind: type[BundleError], words: str
) -> None:
    output = make(archive)
    disc = output / "v02"
    if harm == "unlisted":
        (disc / "notes.txt").write_text("to do\n")
    elif harm == "changed":
        (disc / "report.html").write_text("another page\n")
    else:
        (disc / "demo-1.v02.s001").write_bytes(b"short")
    with refused(kind, words):
        sign_set(output, make_signer("approver"))
    with refused(kind, words):
        make_images(output, tmp_path / "iso", "xorriso", lambda _, __: None)
    assert not list(output.glob("*/SHA256SUMS.approver.sig"))


def test_images_ask_for_their_space_first(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = make(archive)
    segments = sum(path.stat().st_size for path in output.rglob("*.s001"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=segments))
    with refused(StorageError, "not enough space"):
        make_images(output, tmp_path / "iso", "/nowhere/xorriso", lambda _, __: None)
    assert not (tmp_path / "iso").exists()


def test_a_program_that_is_not_there_is_named() -> None:
    with refused(ConfigError, "xorriso is not installed"):
        find_xorriso("/nowhere")


def test_lists_are_made_from_the_set(archive: Path) -> None:
    output = make(archive)
    media = mediaset.decode((output / "v01/set.json").read_bytes())
    for volume in media.volumes:
        text = (output / "v01/volumes" / f"{volume.name}.sha256").read_bytes()
        assert text == mediaset.volume_list(volume)
