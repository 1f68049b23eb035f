"""Tar streams that another reader could take for something else: every header but the predicted one is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from loader.bundle.errors import BundleError, FormatError, TrustError
from tests.support.bundles import (
    ARCHIVE,
    Piece,
    Recipe,
    full_recipe,
    join_frames,
    lay_frames,
    make_piece,
    tiny_recipe,
    verify,
)
from tests.support.refusals import refused

HEAD = ("SHA256SUMS", "SHA256SUMS.builder.sig", "bundle.json")
VERSION = "images/0000-app0/version"


def with_field(header: bytes, start: int, data: bytes) -> bytes:
    """The header with bytes replaced and its checksum made right again."""
    changed = header[:start] + data + header[start + len(data) :]
    blank = changed[:148] + b" " * 8 + changed[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def packed(pieces: Sequence[Piece], end: bytes = bytes(1024)) -> bytes:
    return join_frames(lay_frames(pieces, end))


def changed(recipe: Recipe, path: str, change: Callable[[Piece], Piece]) -> bytes:
    return packed([change(piece) if piece.path == path else piece for piece in recipe.pieces()])


FIELDS: dict[str, tuple[int, bytes]] = {
    "executable": (100, b"0000755\0"),
    "setuid": (100, b"0004644\0"),
    "mode in another spelling": (100, b"000644 \0"),
    "another owner": (108, b"0001000\0"),
    "another group": (116, b"0001000\0"),
    "a time": (136, b"00000000001\0"),
    "a symlink": (156, b"2"),
    "a hard link": (156, b"1"),
    "a character device": (156, b"3"),
    "a block device": (156, b"4"),
    "a folder": (156, b"5"),
    "a FIFO": (156, b"6"),
    "an old regular file": (156, b"\0"),
    "a contiguous file": (156, b"7"),
    "a GNU sparse file": (156, b"S"),
    "a GNU long name": (156, b"L"),
    "a PAX header": (156, b"x"),
    "a global PAX header": (156, b"g"),
    "a link target": (157, b"/etc/passwd"),
    "the GNU magic": (257, b"ustar  \0"),
    "no magic": (257, bytes(8)),
    "an owner's name": (265, b"root"),
    "a group's name": (297, b"root"),
    "a device number": (329, b"0000001\0"),
    "a prefix": (345, b"../../etc"),
    "bytes behind the prefix": (500, b"x"),
    "a size in base-256": (124, b"\x80" + (33).to_bytes(11, "big")),
    "a size with a space": (124, b"0000000041 \0"),
    "a negative size": (124, b"\xff" * 12),
    "another name": (0, b"images/0000-app0/Version"),
    "an absolute name": (0, b"/mages/0000-app0/version"),
    "a name with ..": (0, b"images/../../etc/version"),
    "a name with bytes behind its end": (30, b"hidden"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_a_file_header_with(name: str) -> None:
    def change(piece: Piece) -> Piece:
        return replace(piece, header=with_field(piece.header, *FIELDS[name]))

    assert change(make_piece(VERSION, bytes(33))) != make_piece(VERSION, bytes(33))
    with refused(FormatError, VERSION):
        verify(changed(tiny_recipe(), VERSION, change))


@pytest.mark.parametrize("path", HEAD)
@pytest.mark.parametrize("name", FIELDS)
def test_a_head_header_with(name: str, path: str) -> None:
    def change(piece: Piece) -> Piece:
        return replace(piece, header=with_field(piece.header, *FIELDS[name]))

    with refused(FormatError, ARCHIVE):
        verify(changed(tiny_recipe(), path, change))


@pytest.mark.parametrize("path", [*HEAD, VERSION])
@pytest.mark.parametrize(
    "checksum", [b"000000\0 ", b"      \0 ", b"0000000\0", b"12345678"], ids=["zero", "blank", "long", "wrong"]
)
def test_a_wrong_header_checksum(path: str, checksum: bytes) -> None:
    def change(piece: Piece) -> Piece:
        return replace(piece, header=piece.header[:148] + checksum + piece.header[156:])

    with refused(FormatError, path):
        verify(changed(tiny_recipe(), path, change))


@pytest.mark.parametrize("path", [*HEAD, VERSION])
def test_padding_that_is_not_zero(path: str) -> None:
    def change(piece: Piece) -> Piece:
        assert piece.padding
        return replace(piece, padding=piece.padding[:-1] + b"x")

    with refused(FormatError, path):
        verify(changed(tiny_recipe(), path, change))


def test_padding_behind_a_big_member_that_is_not_zero() -> None:
    path = next(file.path for file in full_recipe().manifest.files if file.size > 2**20)
    with refused(FormatError, path):
        verify(changed(full_recipe(), path, lambda piece: replace(piece, padding=b"x" * len(piece.padding))))


@pytest.mark.parametrize("path", [*HEAD, VERSION])
def test_padding_left_out(path: str) -> None:
    with refused(FormatError, ARCHIVE):
        verify(changed(tiny_recipe(), path, lambda piece: replace(piece, padding=b"")))


@pytest.mark.parametrize(
    "end", [b"", bytes(512), bytes(1023), bytes(1536), bytes(10240)], ids=["none", "one", "short", "three", "blocked"]
)
def test_end_records_missing_or_too_many(end: bytes) -> None:
    with refused(FormatError, ARCHIVE):
        verify(packed(tiny_recipe().pieces(), end))


def test_end_records_that_are_not_zero() -> None:
    for end in (b"x" + bytes(1023), bytes(1023) + b"x", bytes(512) + b"x" + bytes(511)):
        with refused(FormatError, ARCHIVE, "the end of the tar"):
            verify(packed(tiny_recipe().pieces(), end))


def test_a_member_between_the_end_records() -> None:
    hidden = make_piece("documents/hidden", b"apply me")
    end = bytes(512) + hidden.header + hidden.content + hidden.padding + bytes(1024)
    with refused(FormatError, ARCHIVE):
        verify(packed(tiny_recipe().pieces(), end))


@pytest.mark.parametrize("place", range(8))
def test_an_extra_member(place: int) -> None:
    pieces = tiny_recipe().pieces()
    pieces.insert(place, make_piece("documents/extra", b"apply me"))
    with refused(FormatError, ARCHIVE):
        verify(packed(pieces))


@pytest.mark.parametrize("place", [0, 2, 3, 4, 5, 6])  # without 1, its signature, it is well formed and nobody's
def test_a_missing_member(place: int) -> None:
    pieces = tiny_recipe().pieces()
    assert len(pieces) == 7
    del pieces[place]
    with refused(FormatError, ARCHIVE):
        verify(packed(pieces))


@pytest.mark.parametrize("place", range(7))
def test_a_member_that_comes_twice(place: int) -> None:
    pieces = tiny_recipe().pieces()
    pieces.insert(place, pieces[place])
    with refused(FormatError, ARCHIVE):
        verify(packed(pieces))


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (0, FormatError),  # a signature where the list is due
        (1, TrustError),  # the head ends with bundle.json: nobody signed it
        (2, FormatError),  # a file where bundle.json is due
        (3, TrustError),  # from here on, the content at hand is not what was signed
        (4, TrustError),
        (5, TrustError),
    ],
)
def test_members_in_another_order(place: int, kind: type[BundleError]) -> None:
    pieces = tiny_recipe().pieces()
    pieces[place], pieces[place + 1] = pieces[place + 1], pieces[place]
    with refused(kind):
        verify(packed(pieces))


@pytest.mark.parametrize("path", [*HEAD, VERSION])
def test_a_pax_header_with_another_size(path: str) -> None:
    def change(piece: Piece) -> Piece:
        entry = tarfile.TarInfo(path)
        entry.size, entry.pax_headers = len(piece.content), {"size": "8"}
        header = entry.tobuf(tarfile.PAX_FORMAT)
        assert len(header) == 3 * 512
        return replace(piece, header=header)

    with refused(FormatError, ARCHIVE):
        verify(changed(tiny_recipe(), path, change))


@pytest.mark.parametrize("path", [*HEAD, VERSION])
def test_a_gnu_long_name_before_a_member(path: str) -> None:
    def change(piece: Piece) -> Piece:
        entry = tarfile.TarInfo("../" * 40 + "etc/cron.d/evil")
        entry.size = len(piece.content)
        header = entry.tobuf(tarfile.GNU_FORMAT)
        assert len(header) == 3 * 512
        return replace(piece, header=header[:1024] + piece.header)

    with refused(FormatError, ARCHIVE):
        verify(changed(tiny_recipe(), path, change))


def test_the_same_files_as_another_tar_program_packs_them() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for piece in tiny_recipe().pieces():
            entry = tarfile.TarInfo(piece.path)
            entry.size = len(piece.content)
            tar.addfile(entry, io.BytesIO(piece.content))
    whole = Piece("", buffer.getvalue(), b"", b"")
    with refused(FormatError, ARCHIVE):
        verify(packed([whole], b""))


def linked() -> tuple[Recipe, str, str]:
    """The full bundle, a hard link of it, and the file it stands for."""
    link = next(file for file in full_recipe().manifest.files if file.link_to)
    return full_recipe(), link.path, link.link_to or ""


@pytest.mark.parametrize("target", [VERSION, "/etc/passwd", "../../etc/passwd", "", "images/0000-app0/manifest.json"])
def test_a_link_whose_header_names_another_target(target: str) -> None:
    recipe, path, honest = linked()
    field = target.encode().ljust(100, b"\0")
    assert target != honest
    with refused(FormatError, path):
        verify(changed(recipe, path, lambda piece: replace(piece, header=with_field(piece.header, 157, field))))


def test_a_hard_link_made_symbolic() -> None:
    recipe, path, _ = linked()
    with refused(FormatError, path):
        verify(changed(recipe, path, lambda piece: replace(piece, header=with_field(piece.header, 156, b"2"))))


def test_a_link_with_a_size() -> None:
    recipe, path, _ = linked()
    with refused(FormatError, path):
        verify(
            changed(recipe, path, lambda piece: replace(piece, header=with_field(piece.header, 124, b"00000001000")))
        )


SIZES = {"SHA256SUMS": 64 * 2**20, "SHA256SUMS.builder.sig": 16 * 2**10, "bundle.json": 64 * 2**20}


@pytest.mark.parametrize("path", SIZES)
def test_a_head_that_claims_huge_sizes(path: str) -> None:
    # The content is not there, and must not be asked for: the cap comes before the first read.
    huge = SIZES[path] + 1

    def change(piece: Piece) -> Piece:
        return replace(piece, header=with_field(piece.header, 124, b"%011o" % huge))

    with refused(FormatError, ARCHIVE, path, "too large", str(huge)):
        verify(changed(tiny_recipe(), path, change))
