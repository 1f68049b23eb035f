"""Discs that lie: changed, swapped, cut off, mixed with others, or not what a disc is at all."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from loader.bundle import mediaset
from loader.bundle.digest import sha256_hex
from loader.bundle.discs import bundle_head, open_set, read_disc
from loader.bundle.errors import BundleError, FormatError, MissingVolume, TrustError
from loader.bundle.mediaset import CHUNK
from loader.bundle.verify import verify_content, verify_head
from loader.bundle.volumes import MediaSource
from loader.media.disccheck import check_discs, disc_faults, require_clean
from loader.media.folder import FolderDisc
from loader.media.verifying import verify_opened
from loader.opening import open_bundle, open_told
from loader.zstd import find_decoder
from tests.attacks.test_damage import flip, outcome, zstd_frames
from tests.support.bundles import full_recipe, make_signer, make_trust
from tests.support.discs import MemoryDisc, bundle_set, joined, make_set, opened
from tests.support.refusals import refused
from tests.support.setfolder import no_progress, write_disc, write_discs


def verify(discs: list[MemoryDisc]) -> str:
    source = MediaSource(opened(discs))
    return verify_content(verify_head(source, make_trust(), find_decoder())).bundle.id


def test_one_bit_flipped_in_any_segment_is_healed_or_named() -> None:
    made = bundle_set()
    for name, parts in made.shares.items():
        for segment, data in parts.items():
            hurt = made.discs()
            disc = next(disc for disc in hurt if disc.name == f"disc-{name}")
            disc.flip(segment, len(data) // 2)
            assert verify(hurt) == made.media.bundle.id
            if name[0] == "v":
                with refused(MissingVolume, segment):
                    verify([one for one in hurt if one.name != "disc-p01"])


def test_one_bit_flipped_in_any_common_file_of_a_lone_disc() -> None:
    made = bundle_set()
    for path, data in sorted(made.disc("v01").files.items()):
        if path not in made.shares["v01"]:
            for position in {0, len(data) // 2, len(data) - 1}:
                disc = made.disc("v01")
                disc.flip(path, position)
                found = None
                try:
                    found = opened([disc])
                except BundleError:
                    continue
                assert path not in {"SHA256SUMS", "SHA256SUMS.builder.sig", "set.json", "chunks.idx"}
                assert found.media == made.media


def test_segments_with_swapped_names() -> None:
    made = bundle_set()
    discs = made.discs("v01", "v02", "v03")
    first, second = discs[0].files, discs[1].files
    first["demo-1.v01.s001"], second["demo-1.v02.s001"] = second["demo-1.v02.s001"], first["demo-1.v01.s001"]
    with refused(MissingVolume, "demo-1.v01.s001", "wrong hash"):
        verify(discs)


def test_disc_two_presented_as_disc_one() -> None:
    made = bundle_set()
    renamed = made.disc("v02")
    for name in made.shares["v02"]:
        renamed.files[name.replace(".v02.", ".v01.")] = renamed.files.pop(name)
    with refused(MissingVolume, "v01", "wrong hash"):
        verify([renamed, *made.discs("v02", "v03")])
    assert verify([renamed, *made.discs("v02", "v03", "p01")]) == made.media.bundle.id


def test_duplicate_discs_with_different_content() -> None:
    made = bundle_set()
    forged = made.disc("v01", where="forged")
    forged.files["demo-1.v01.s001"] = b"\0" * CHUNK
    for order in ([forged, made.disc("v01")], [made.disc("v01"), forged]):
        assert verify([*order, *made.discs("v02", "v03")]) == made.media.bundle.id


def test_parity_from_another_set_is_not_used() -> None:
    made = bundle_set()
    other = make_set(b"z" * (6 * CHUNK), 2 * CHUNK, 1, segment=CHUNK)
    stranger = made.disc("p01")
    stranger.files.update(other.shares["p01"])
    with refused(MissingVolume, "v02", "p01 wrong hash"):
        verify([*made.discs("v01", "v03"), stranger])


def test_tampered_parity_never_repairs_good_data() -> None:
    made = bundle_set()
    discs = made.discs()
    discs[-1].files["demo-1.p01.s001"] = b"\xff" * CHUNK
    source = MediaSource(opened(discs))
    verify_content(verify_head(source, make_trust(), find_decoder()))
    assert source.healed == {}
    assert joined(discs) == full_recipe().archive()


def test_a_disc_pulled_out_while_it_is_read() -> None:
    made = bundle_set()
    discs = made.discs()
    every = {name: frozenset(range(8)) for name in made.shares["v02"]}
    source = MediaSource(opened(discs))
    bundle = verify_head(source, make_trust(), find_decoder())
    discs[1].unreadable.update(every)
    assert verify_content(bundle).bundle.id == made.media.bundle.id
    del discs[3].files["demo-1.p01.s001"]
    discs[3].unreadable["demo-1.p01.s002"] = frozenset({0})
    with refused(MissingVolume, "v02", "p01"):
        joined(discs)


def test_a_bundle_list_offered_as_a_set_list() -> None:
    head = full_recipe().head
    disc = bundle_set().disc("v01")
    disc.files["SHA256SUMS"] = head.sums
    disc.files["SHA256SUMS.builder.sig"] = dict(head.signatures)["builder"]
    with refused(TrustError, "set.json does not match the signed SHA256SUMS", "not a set's list"):
        opened([disc])


def test_a_set_list_offered_as_a_bundle_list(tmp_path: Path) -> None:
    made = bundle_set()
    disc = made.disc("v01")
    signature = disc.files["SHA256SUMS.builder.sig"]
    recipe = full_recipe()
    archive = tmp_path / "demo-1.tar.zst"
    # The set's list and its good signature in the place of the bundle's own.
    archive.write_bytes(
        dataclasses.replace(recipe, sums=disc.files["SHA256SUMS"], signatures=(("builder", signature),)).archive()
    )
    with pytest.raises(BundleError), open_bundle(archive, make_trust()):
        pass


def test_a_set_json_that_disagrees_with_the_signed_list() -> None:
    made = bundle_set()
    disc = made.disc("v01")
    other = mediaset.encode(made.change(program="another").media)
    lines = disc.files["SHA256SUMS"].decode().splitlines()
    # Signed by a trusted key, and the hash of set.json is in it: but it is not the list that set.json gives.
    kept = [line for line in lines if not line.endswith(("  set.json", "  README-VERIFY.txt"))]
    sums = "".join(f"{line}\n" for line in sorted([*kept, f"{sha256_hex(other)}  set.json"])).encode()
    disc.files.update(
        {"set.json": other, "SHA256SUMS": sums, "SHA256SUMS.builder.sig": make_signer("builder").sign(sums)}
    )
    with refused(FormatError, "SHA256SUMS and set.json disagree"):
        opened([disc])


def test_an_archive_of_another_bundle_under_a_signed_list(tmp_path: Path) -> None:
    """A holder of a trusted key puts one bundle's list over another one's archive."""
    recipe = full_recipe()
    other = make_set(recipe.archive(), 4 * 2 * CHUNK, 0, segment=CHUNK)
    write_discs(tmp_path, other)
    with (
        refused(TrustError, "the archive on the discs is not the one their list names"),
        open_bundle(tmp_path, make_trust()),
    ):
        pass


@pytest.mark.parametrize("name", ["SET.JSON", "SET.JSO;1", "set.jso", "SET.JSON;1"])
def test_a_mount_that_cuts_or_raises_names(name: str) -> None:
    made = bundle_set().disc("v01")
    cut = MemoryDisc("tray", {name: made.files["set.json"], "SHA256SUM.": made.files["SHA256SUMS"]})
    with refused(FormatError, "tray shows cut or upper-cased file names"):
        opened([cut])


def test_what_is_no_disc_at_all() -> None:
    with refused(FormatError, "tray is no disc of a media set", "SHA256SUMS is not there"):
        opened([MemoryDisc("tray", {"holiday.jpg": b""})])
    with refused(FormatError, "tray is no disc of a media set", "set.json is not there"):
        opened([MemoryDisc("tray", {"SHA256SUMS": b""})])


def test_a_list_larger_than_its_limit_is_not_read() -> None:
    class Huge(MemoryDisc):
        def open(self, path: str) -> object:  # type: ignore[override] # a stand-in with a size alone
            return type("File", (), {"size": 2**40, "name": path})()

    with refused(FormatError, "SHA256SUMS on tray is too large"):
        read_disc(Huge("tray", {"SHA256SUMS": b"", "set.json": b""}))  # type: ignore[arg-type] # as above


def test_a_large_set_json_that_nobody_vouches_for_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loader.bundle.discs.MAX_UNSIGNED_SET", 10)
    stranger = make_set(b"x" * 3_000_000, 2**20, 0, name="other").disc("v01")
    found = opened([*bundle_set().discs(), stranger])
    assert any("which was not checked" in note for note in found.notes)
    with refused(FormatError, "set.json is too large to be read before anybody vouches for it"):
        open_set(bundle_set().discs(), None)


def test_a_document_of_another_size_than_listed() -> None:
    made = bundle_set()
    disc = made.disc("v01")
    disc.files["chunks.idx"] += b"\0"
    with refused(TrustError, "chunks.idx", "too large"):
        opened([disc])


# The same on a real folder: what a file system can hold and a disc in memory cannot.


def test_a_folder_of_discs_is_read_in_place(tmp_path: Path) -> None:
    write_discs(tmp_path, bundle_set())
    before = sorted(tmp_path.rglob("*"))
    with open_bundle(tmp_path, make_trust()) as bundle:
        verify_content(bundle)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["symlink", "fifo"])
def test_a_segment_that_is_no_file(tmp_path: Path, kind: str) -> None:
    made = bundle_set()
    write_discs(tmp_path, made)
    target = tmp_path / "v02/demo-1.v02.s001"
    moved = tmp_path / "elsewhere"
    target.rename(moved)
    target.symlink_to(moved) if kind == "symlink" else os.mkfifo(target)
    told: list[str] = []
    with open_bundle(tmp_path, make_trust(), say=lambda step, text: told.append(f"{step} {text}")) as bundle:
        verify_content(bundle)
    assert any(f"a segment of v02 is a {kind}" in line for line in told)
    assert any(line.startswith("media disc v02: 1 of 2 chunks unreadable, 1 made from parity") for line in told)
    found = check_discs([tmp_path / "v02"], make_trust(), no_progress)
    with refused(TrustError, f"a segment of v02 is a {kind}"):
        require_clean(found)


@pytest.mark.parametrize("name", ["set.json", "SHA256SUMS", "chunks.idx"])
def test_a_list_that_is_a_link_is_not_followed(tmp_path: Path, name: str) -> None:
    write_disc(tmp_path / "v01", bundle_set().disc("v01"))
    (tmp_path / "v01" / name).rename(tmp_path / "there")
    (tmp_path / "v01" / name).symlink_to(tmp_path / "there")
    with FolderDisc(tmp_path / "v01") as disc, pytest.raises(BundleError) as caught:
        opened([disc])
    assert name in str(caught.value)
    assert "symlink" in str(caught.value)


def test_a_link_in_place_of_a_segment_is_called_what_it_is(tmp_path: Path) -> None:
    folder = write_discs(tmp_path, bundle_set(), "v01")[0]
    for path in sorted(folder.glob("demo-1.v01.s*")):
        path.rename(tmp_path / path.name)
        path.symlink_to(tmp_path / path.name)
    found = check_discs([folder], make_trust(), no_progress)
    assert "demo-1.v01.s001 is a symlink" in [fault.what for fault in found.faults]
    assert not any("is on no list" in fault.what for fault in found.faults)


def test_a_folder_reached_through_a_link_is_not_a_file(tmp_path: Path) -> None:
    made = bundle_set()
    write_disc(tmp_path / "v01", made.disc("v01"))
    (tmp_path / "v01/bundle").rename(tmp_path / "there")
    (tmp_path / "v01/bundle").symlink_to(tmp_path / "there")
    with FolderDisc(tmp_path / "v01") as disc, refused(TrustError, "bundle/SHA256SUMS"):
        bundle_head(opened([disc]))


def checked(disc: Path) -> None:
    require_clean(check_discs([disc], make_trust(), no_progress))


def test_an_unlisted_file(tmp_path: Path) -> None:
    write_disc(tmp_path / "v01", bundle_set().disc("v01"))
    checked(tmp_path / "v01")
    (tmp_path / "v01/SHA256SUMS.sh").write_text("rm -rf /\n")
    with refused(FormatError, "SHA256SUMS.sh is on no list"):
        checked(tmp_path / "v01")


@pytest.mark.parametrize("path", ["README-VERIFY.txt", "bundle/SHA256SUMS.builder.sig", "volumes/v03.sha256"])
def test_a_changed_common_file_is_named(tmp_path: Path, path: str) -> None:
    disc = bundle_set().disc("v01")
    disc.flip(path, 0)
    write_disc(tmp_path / "v01", disc)
    with refused(TrustError, path, "listed"):
        checked(tmp_path / "v01")


def test_a_padded_and_a_truncated_segment_are_named(tmp_path: Path) -> None:
    made = bundle_set()
    for name, data in (("padded", made.shares["v01"]["demo-1.v01.s001"] + b"\0"), ("cut", b"\0" * (CHUNK - 1))):
        disc = made.disc("v01")
        disc.files["demo-1.v01.s001"] = data
        write_disc(tmp_path / name, disc)
    with refused(FormatError, "demo-1.v01.s001 has 1 bytes more than listed"):
        checked(tmp_path / "padded")
    with refused(MissingVolume, "disc v01: 1 chunks unreadable or wrong"):
        checked(tmp_path / "cut")
    assert verify([disc, *made.discs("v02", "v03", "p01")]) == made.media.bundle.id


def test_a_set_signed_by_nobody_trusted(tmp_path: Path) -> None:
    made = dataclasses.replace(bundle_set(), signers=(make_signer("eve"),))
    write_discs(tmp_path, made)
    with refused(TrustError, "no trusted key signed this media set"), open_bundle(tmp_path, make_trust()):
        pass


def test_a_bit_of_a_zstd_frame_that_changes_nothing_is_told() -> None:
    recipe = full_recipe()
    data, frame = recipe.archive(), zstd_frames(recipe)[0]
    position, bit = next(
        (position, bit)
        for position in range(frame + 12, frame + 40)
        for bit in range(8)
        if outcome(flip(data, position, bit), recipe) == "the same bytes"
    )
    # The first disc ends within the frame: what is read of the archive's end is on the other one.
    documents = {path: content for path, content in recipe.contents.items() if path.startswith("documents/")}
    hurt = make_set(data, frame + 64, 1, segment=CHUNK, head=recipe.head, files=documents).discs()
    segment = f"demo-1.v01.s{position // CHUNK + 1:03d}"
    hurt[0].files[segment] = flip(hurt[0].files[segment], position % CHUNK, bit)
    source = MediaSource(opened(hurt))
    bundle = verify_head(source, make_trust(), find_decoder())
    assert not source.data[0].damage
    with source.proven_by_content():
        verify_content(bundle, doubt=source.doubt)
    assert source.data[0].damage == {position // CHUNK: "wrong hash"}


@pytest.mark.parametrize("path", ["set.json", "SHA256SUMS.builder.sig"])
def test_what_no_list_names_is_damaged_on_one_disc(path: str) -> None:
    made = bundle_set()
    hurt = made.discs()
    hurt[1].flip(path, len(hurt[1].files[path]) // 2)
    found = opened(hurt)
    told = [*found.notes, *(f"{fault.disc}: {fault.what}" for fault in disc_faults(found, MediaSource(found)))]
    assert len(told) == 1
    assert told[0].startswith(f"{hurt[1].name}: {path} is not ")


def test_a_longer_segment_is_told_by_verify(tmp_path: Path) -> None:
    paths = write_discs(tmp_path, bundle_set())
    segment = next((tmp_path / "v02").glob("demo-1.v02.s*"))
    segment.write_bytes(segment.read_bytes() + b"\0")
    with open_told(paths, make_trust()) as told, refused(FormatError, segment.name, "1 bytes more than listed"):
        verify_opened(told, lambda _: None)


def test_a_listed_text_that_was_taken_away(tmp_path: Path) -> None:
    paths = write_discs(tmp_path, bundle_set())
    (tmp_path / "v02/README-VERIFY.txt").unlink()
    with open_told(paths, make_trust()) as told, refused(TrustError, "v02: README-VERIFY.txt is missing"):
        verify_opened(told, lambda _: None)
