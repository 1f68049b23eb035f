"""ISO images that lie: every field of a record, names, continuations, circles, and random bytes."""

from __future__ import annotations

import random
import stat
import struct

import pytest

from loader.bundle.errors import AirgapError, FormatError
from loader.media import iso9660
from loader.media.iso9660 import IsoDisc
from tests.support.bundles import MemorySource
from tests.support.isomaker import BLOCK, Entry, both32, folder, make_iso, mode, named, tree, use
from tests.support.refusals import refused


def disc_of(data: bytes) -> IsoDisc:
    return IsoDisc(MemorySource(data, "disc.iso"), "disc.iso")


def content(disc: IsoDisc, path: str) -> bytes:
    source = disc.open(path)
    data = bytearray(source.size)
    return bytes(data[: source.read_into(0, memoryview(data))])


def test_an_honest_image() -> None:
    files = {"set.json": b"{}", "bundle/SHA256SUMS": b"a" * 5000, "documents/a/b/c.yaml": b"", "x" * 120: b"long"}
    disc = disc_of(make_iso(tree(files), label="DEMO_V01"))
    assert {path: content(disc, path) for path in disc.entries()} == files
    assert disc.label == "DEMO_V01"


def test_many_files_over_several_blocks_of_records() -> None:
    files = {f"volumes/v{number:02d}.sha256": bytes([number]) for number in range(99)}
    disc = disc_of(make_iso(tree(files)))
    assert {path: content(disc, path) for path in disc.entries()} == files


def test_without_rock_ridge_names_are_the_short_ones() -> None:
    assert sorted(disc_of(make_iso(tree({"set.json": b""}), rock_ridge=False)).entries()) == ["SET.JSON"]


def test_a_name_in_a_continuation() -> None:
    image = bytearray(make_iso(folder(a=Entry(b"data", uses=named("first-", 1) + use(b"CE", bytes(24))))))
    rest = named("second")
    where = len(image)
    image += rest.ljust(BLOCK, b"\0")
    at = image.index(b"CE\x1c\x01") + 4
    image[at : at + 24] = both32(where // BLOCK) + both32(0) + both32(len(rest))
    assert content(disc_of(bytes(image)), "first-second") == b"data"


def test_a_continuation_that_goes_round() -> None:
    image = bytearray(make_iso(folder(a=Entry(uses=use(b"CE", bytes(24))))))
    where = len(image)
    body = both32(where // BLOCK) + both32(0) + both32(28)
    image += use(b"CE", body).ljust(BLOCK, b"\0")
    at = image.index(b"CE\x1c\x01") + 4
    image[at : at + 24] = body
    with refused(FormatError, "disc.iso", "circle"):
        disc_of(bytes(image))


def test_a_continuation_across_a_block() -> None:
    body = both32(18) + both32(BLOCK - 1) + both32(2)
    with refused(FormatError, "disc.iso", "crosses a block"):
        disc_of(make_iso(folder(a=Entry(uses=use(b"CE", body)))))


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        (Entry(uses=named("a") + use(b"SL", b"\0\0\4/etc")), "symlink"),
        (Entry(uses=named("a") + mode(stat.S_IFLNK | 0o777)), "device"),
        (Entry(uses=named("a") + mode(stat.S_IFBLK | 0o666)), "device"),
        (Entry(uses=named("a") + mode(stat.S_IFIFO | 0o666)), "device"),
        (Entry(uses=named("a") + use(b"CL", both32(20))), "relocated folder"),
    ],
)
def test_what_is_no_file_is_told_and_not_opened(entry: Entry, kind: str) -> None:
    disc = disc_of(make_iso(folder(a=entry)))
    assert disc.entries() == {"a": kind}
    with refused(FormatError, "a on disc.iso is not a regular file", kind):
        disc.open("a")
    with refused(FormatError, "b on disc.iso", "no such file"):
        disc.open("b")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (Entry(flags=0x80), "several extents"),
        (Entry(flags=0x04), "several extents"),
        (Entry(raw={1: 1}), "extended attributes"),
        (Entry(raw={26: 1}), "interleaving"),
        (Entry(raw={27: 1}), "interleaving"),
        (Entry(raw={2: 99}), "in two ways"),
        (Entry(raw={10: 99}), "in two ways"),
        (Entry(raw={0: 33}), "cut off"),
        (Entry(raw={32: 200}), "cut off"),
        (Entry(uses=named("../x")), "slash or dots"),
        (Entry(uses=named("..")), "slash or dots"),
        (Entry(uses=named("/etc/passwd")), "slash or dots"),
    ],
)
def test_a_record_that_lies(entry: Entry, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        disc_of(make_iso(folder(a=entry)))
    assert any(word in str(caught.value) for word in words.split("|")), str(caught.value)
    assert str(caught.value).isprintable()


def test_a_name_twice() -> None:
    with refused(FormatError, "'a'", "twice"):
        disc_of(make_iso(folder(a=Entry(), b=Entry(uses=named("a")))))


def test_a_folder_in_itself() -> None:
    image = make_iso(folder(a=folder()))
    extent = struct.unpack("<I", image[16 * BLOCK + 158 :][:4])[0]
    with refused(FormatError, "disc.iso", "circle"):
        disc_of(make_iso(folder(a=Entry(folder=True, flags=2, extent=extent, size=BLOCK))))


def test_folders_too_deep() -> None:
    deep = folder()
    for _ in range(20):
        deep = folder(a=deep)
    with refused(FormatError, "disc.iso", "too deeply"):
        disc_of(make_iso(deep))


def test_a_folder_that_claims_gigabytes() -> None:
    with refused(FormatError, "disc.iso", "its records take"):
        disc_of(make_iso(folder(a=Entry(folder=True, flags=2, size=2**31))))


def test_too_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iso9660, "MAX_MEMBERS", 3)
    with refused(FormatError, "disc.iso", "more than 3 files"):
        disc_of(make_iso(tree({str(number): b"" for number in range(4)})))


def test_folders_that_lie_over_each_other_are_not_collected_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iso9660, "_MAX_FOLDERS", 3)
    with refused(FormatError, "disc.iso", "too many"):
        disc_of(
            make_iso(folder(**{f"a{number}": Entry(folder=True, flags=2, extent=100 + number) for number in range(9)}))
        )


def test_a_name_that_goes_on_and_on() -> None:
    image = bytearray(make_iso(folder(a=Entry(uses=use(b"CE", bytes(24))))))
    rest = named("x" * 200, 1) * 2
    where = len(image)
    image += rest.ljust(BLOCK, b"\0")
    at = image.index(b"CE\x1c\x01") + 4
    image[at : at + 24] = both32(where // BLOCK) + both32(0) + both32(len(rest))
    with refused(FormatError, "disc.iso", "a name of more than 255 bytes"):
        disc_of(bytes(image))


def test_names_that_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iso9660, "_MAX_NAMES", 40)
    with refused(FormatError, "disc.iso", "its names take more than 40 bytes"):
        disc_of(make_iso(tree({f"name-{number}": b"" for number in range(9)})))


def test_a_file_beyond_the_end_reads_short_and_never_other_bytes() -> None:
    disc = disc_of(make_iso(folder(a=Entry(b"data", extent=2**31, size=2**32 - 1))))
    source = disc.open("a")
    assert source.size == 2**32 - 1
    assert source.read_into(0, memoryview(bytearray(100))) == 0


def test_a_read_stays_in_its_file() -> None:
    disc = disc_of(make_iso(tree({"a": b"mine", "b": b"other"})))
    source = disc.open("a")
    assert source.read_into(2, memoryview(bytearray(100))) == 2
    assert source.read_into(9, memoryview(bytearray(100))) == 0


@pytest.mark.parametrize("size", [0, 100, 16 * BLOCK, 17 * BLOCK - 1, 19 * BLOCK])
def test_an_image_cut_off(size: int) -> None:
    with pytest.raises(FormatError):
        disc_of(make_iso(tree({"bundle/a": b"x" * 10_000}))[:size])


def test_blocks_of_another_size() -> None:
    with refused(FormatError, "disc.iso", "blocks of another size"):
        disc_of(make_iso(folder(), block_size=512))


def test_an_image_without_a_primary_descriptor() -> None:
    image = bytearray(make_iso(folder()))
    image[16 * BLOCK] = 2
    with refused(FormatError, "disc.iso is no ISO 9660 image"):
        disc_of(bytes(image))


def test_descriptors_without_end() -> None:
    image = b"\2CD001\1".ljust(BLOCK, b"\0") * 60
    with refused(FormatError, "disc.iso is no ISO 9660 image"):
        disc_of(image)


def test_any_byte_of_the_names_may_be_anything() -> None:
    image = make_iso(tree({"set.json": b"{}", "bundle/SHA256SUMS": b"x", "volumes/v01.sha256": b""}))
    pick = random.Random(5)
    met = set()
    for _ in range(3000):
        changed = bytearray(image)
        for _ in range(pick.randint(1, 4)):
            changed[pick.randrange(16 * BLOCK, len(image))] = pick.randrange(256)
        try:
            disc = disc_of(bytes(changed))
            for path, kind in disc.entries().items():
                if kind == "file":
                    disc.open(path).read_into(0, memoryview(bytearray(64)))
        except AirgapError as error:
            met.add((type(error), error.message.isprintable()))
    assert met == {(FormatError, True)}
