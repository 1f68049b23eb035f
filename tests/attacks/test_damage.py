"""Bytes changed, lost, added or spliced, anywhere in an archive, by someone who holds no key."""

from __future__ import annotations

import bisect
import itertools
import random
from collections.abc import Iterator

import pytest

from loader.bundle import frames
from loader.bundle.errors import BundleError, FormatError, TrustError
from loader.bundle.verify import VerifiedBundle, verify_content
from tests.support.bundles import (
    ARCHIVE,
    LaidFrame,
    MemorySource,
    Recipe,
    full_recipe,
    join_frames,
    lay_frames,
    open_head,
    tiny_recipe,
    verify,
)
from tests.support.refusals import refused


def flip(data: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1 << bit
    return bytes(changed)


def contents(bundle: VerifiedBundle) -> dict[str, bytes]:
    return {path: b"".join(map(bytes, bundle.open(path))) for path in bundle.files}


def expected(recipe: Recipe) -> dict[str, bytes]:
    return {file.path: recipe.contents[file.link_to or file.path] for file in recipe.manifest.files}


def outcome(data: bytes, recipe: Recipe | None = None) -> str:
    """``refused``, or ``the same bytes`` when what is handed out equals what was packed."""
    try:
        complete = verify(data)
    except BundleError:
        return "refused"
    return "the same bytes" if contents(complete.bundle) == expected(recipe or tiny_recipe()) else "OTHER BYTES"


class Places:
    """Where the bytes of an archive's regions are."""

    def __init__(self, recipe: Recipe) -> None:
        self.pieces = recipe.pieces()
        self.laid = lay_frames(self.pieces)
        self.frame_at = [0, *itertools.accumulate(len(frame.stored) for frame in self.laid)]
        self.stream_at = [0, *itertools.accumulate(len(frame.content) for frame in self.laid)]

    def in_archive(self, stream: int) -> int:
        """Archive offset of a byte of the tar stream that is stored raw."""
        number = bisect.bisect_right(self.stream_at, stream) - 1
        inside = stream - self.stream_at[number]
        offset, _ = frames.raw_range(len(self.laid[number].content), inside, inside + 1)
        return self.frame_at[number] + offset

    def regions(self) -> Iterator[tuple[str, range]]:
        """Yield (region, stream offsets) of everything stored raw."""
        position = 0
        for piece in self.pieces:
            after = position + len(piece.header)
            yield "tar header", range(position, after)
            position = after + len(piece.content)
            if piece.stored == "raw":
                yield self.kind(piece.path, len(piece.content)), range(after, position)
            yield "padding", range(position, position + len(piece.padding))
            position += len(piece.padding)
        yield "end records", range(position, position + 1024)

    @staticmethod
    def kind(path: str, size: int) -> str:
        if path.startswith("SHA256SUMS") or path == "bundle.json":
            return path
        if path.startswith("documents/"):
            return "document"
        name = path.rpartition("/")[2]
        return "small file" if len(name) != 64 else "small blob" if size < 2**20 else "big raw blob"

    def offsets(self, count: int) -> dict[str, list[int]]:
        """Some archive offsets of every region, the same ones at every run."""
        chosen: dict[str, list[int]] = {}
        for region, where in self.regions():
            chosen.setdefault(region, []).extend(self.in_archive(offset) for offset in where) if len(
                where
            ) < 2**16 else (
                chosen.setdefault(region, []).extend(self.in_archive(offset) for offset in where[:: len(where) // 500])
            )
        for start, frame in zip(self.frame_at, self.laid):
            head = len(frames.header(len(frame.content), checksum=False))
            kind = "zstd" if frame.stored[4] & 4 else "raw"
            chosen.setdefault(f"{kind} frame header", []).extend(range(start, start + head))
            chosen.setdefault(f"{kind} block header", []).extend(range(start + head, start + head + 3))
            if kind == "zstd":
                stop = start + len(frame.stored)
                chosen.setdefault("zstd block", []).extend(range(start + head + 3, stop - 4))
                chosen.setdefault("zstd checksum", []).extend(range(stop - 4, stop))
        table = frames.seek_table_size(len(self.laid))
        chosen["seek table"] = list(range(self.frame_at[-1], self.frame_at[-1] + table))
        pick = random.Random(7)
        return {region: sorted(pick.sample(found, min(count, len(found)))) for region, found in sorted(chosen.items())}


def test_one_bit_flipped_anywhere_in_the_head_of_a_tiny_bundle() -> None:
    data = tiny_recipe().archive()
    places = Places(tiny_recipe())
    end = places.in_archive(sum(512 + len(piece.content + piece.padding) for piece in places.pieces[:3]))
    accepted = [position for position in range(end) if outcome(flip(data, position, position % 8)) != "refused"]
    assert accepted == []


def test_one_bit_flipped_anywhere_in_a_tiny_bundle_once_its_head_was_read() -> None:
    data = tiny_recipe().archive()
    source = MemorySource(data)
    bundle = open_head(source)
    accepted = []
    for position in range(len(data) - frames.seek_table_size(1)):
        source.data = flip(data, position, position % 8)
        if not is_refused(bundle):
            accepted.append(position)
    assert accepted == []


def is_refused(bundle: VerifiedBundle) -> bool:
    try:
        verify_content(bundle, jobs=1)
    except BundleError:
        return True
    return False


def test_one_bit_flipped_anywhere_in_the_seek_table_of_a_tiny_bundle() -> None:
    data = tiny_recipe().archive()
    for position in range(len(data) - frames.seek_table_size(1), len(data)):
        for bit in range(8):
            with refused(FormatError, ARCHIVE):
                open_head(flip(data, position, bit))


def zstd_frames(recipe: Recipe) -> list[int]:
    """Archive offset of each frame that is not raw."""
    places = Places(recipe)
    return [start for start, frame in zip(places.frame_at, places.laid) if frame.stored[4] & 4]


REGIONS = Places(full_recipe()).offsets(24)


def test_every_region_of_a_bundle_is_struck() -> None:
    assert sorted(REGIONS) == [
        "SHA256SUMS",
        "SHA256SUMS.approver.sig",
        "SHA256SUMS.builder.sig",
        "big raw blob",
        "bundle.json",
        "document",
        "end records",
        "padding",
        "raw block header",
        "raw frame header",
        "seek table",
        "small blob",
        "small file",
        "tar header",
        "zstd block",
        "zstd block header",
        "zstd checksum",
        "zstd frame header",
    ]


@pytest.mark.parametrize(
    "region", [region for region in REGIONS if region not in {"zstd block", "SHA256SUMS.approver.sig"}]
)
def test_one_bit_flipped_in(region: str) -> None:
    data = full_recipe().archive()
    for position in REGIONS[region]:
        with pytest.raises((TrustError, FormatError)):
            verify(flip(data, position, position % 8))


def test_one_bit_flipped_in_a_zstd_block_is_refused_or_changes_nothing() -> None:
    recipe = full_recipe()
    data = recipe.archive()
    outcomes = {outcome(flip(data, position, position % 8), recipe) for position in REGIONS["zstd block"]}
    assert "refused" in outcomes
    assert outcomes <= {"refused", "the same bytes"}


def test_one_bit_flipped_in_a_signature_nobody_needs_takes_that_signer_away() -> None:
    recipe = full_recipe()
    data = recipe.archive()
    for position in REGIONS["SHA256SUMS.approver.sig"]:
        bundle = verify(flip(data, position, position % 8)).bundle
        assert [signer.key.name for signer in bundle.signers] == ["builder"]
        assert contents(bundle) == expected(recipe)
        assert bundle.id == recipe.head.id


def test_truncated_at_every_byte() -> None:
    data = tiny_recipe().archive()
    for length in range(len(data)):
        with pytest.raises(FormatError):
            verify(data[:length])


def test_truncated_at_every_frame_and_at_random_points() -> None:
    data = full_recipe().archive()
    places = Places(full_recipe())
    lengths = {*places.frame_at, *(random.Random(3).randrange(len(data)) for _ in range(60))}
    for length in sorted(lengths):
        with refused(FormatError, ARCHIVE):
            verify(data[:length])


@pytest.mark.parametrize("extra", [b"\0", b"\n", bytes(512), bytes(10240)])
def test_extra_bytes_at_the_end(extra: bytes) -> None:
    with refused(FormatError, ARCHIVE):
        verify(tiny_recipe().archive() + extra)


def test_extra_bytes_at_the_beginning() -> None:
    with refused(FormatError, ARCHIVE):
        verify(b"\0" + tiny_recipe().archive())


def test_a_second_archive_appended() -> None:
    data = tiny_recipe().archive()
    with refused(FormatError, ARCHIVE):
        verify(data + data)
    with refused(FormatError, ARCHIVE):
        verify(data + full_recipe().archive())


def test_the_head_of_one_archive_on_the_body_of_another() -> None:
    one, other = tiny_recipe(), tiny_recipe().put("images/0000-app0/signature-1", b"another")
    mixed = [*one.pieces()[:3], *other.pieces()[3:]]
    with refused(FormatError, ARCHIVE):
        verify(join_frames(lay_frames(mixed)))


def test_a_body_of_the_same_shape_from_another_archive() -> None:
    recipe = full_recipe()
    path = "documents/before-rook/common.json"
    other = recipe.put(path, recipe.contents[path].replace(b"List", b"Evil"))
    start = 4 + recipe.manifest.files.index(next(file for file in recipe.manifest.files if file.path == path))
    pieces = recipe.pieces()
    assert pieces[start].path == path
    pieces[start] = other.pieces()[start]
    bundle = open_head(join_frames(lay_frames(pieces)))
    with refused(TrustError, path):
        bundle.read(path)
    with refused(TrustError, path):
        verify(join_frames(lay_frames(pieces)))


def skippable(data: bytes) -> bytes:
    return (0x184D2A50).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data


def test_a_skippable_frame_before_the_first_frame() -> None:
    with refused(FormatError, ARCHIVE):
        verify(skippable(b"smuggled") + tiny_recipe().archive())


@pytest.mark.parametrize("number", range(1, 7))
def test_a_skippable_frame_between_frames(number: int) -> None:
    laid = lay_frames(full_recipe().pieces())
    assert len(laid) == 7
    table = join_frames(laid)[sum(len(frame.stored) for frame in laid) :]
    stored = [frame.stored for frame in laid]
    stored.insert(number, skippable(b"smuggled"))
    with refused(FormatError, ARCHIVE):
        verify(b"".join([*stored, table]))


def test_a_skippable_frame_before_the_seek_table() -> None:
    laid = lay_frames(tiny_recipe().pieces())
    with refused(FormatError, ARCHIVE):
        verify(join_frames([*laid, LaidFrame(skippable(b"smuggled"), b"")]))


def test_two_seek_tables() -> None:
    laid = lay_frames(tiny_recipe().pieces())
    data = join_frames(laid)
    with refused(FormatError, ARCHIVE):
        verify(data + data[len(laid[0].stored) :])


def test_an_empty_file() -> None:
    with refused(FormatError, ARCHIVE):
        verify(b"")
