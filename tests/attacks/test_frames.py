"""Zstandard frames that are not the one form the format allows, under a seek table that fits them."""

from __future__ import annotations

import resource
import struct
from dataclasses import replace

import pytest
import zstandard

from loader import zstd
from loader.bundle import frames
from loader.bundle.errors import FormatError
from loader.bundle.frames import FrameDecoder
from loader.bundle.limits import BLOCK, FRAME
from tests.support.bundles import ARCHIVE, LaidFrame, full_recipe, join_frames, lay_frames, verify, zstd_frame
from tests.support.refusals import refused

SKIPPABLE = struct.pack("<II", 0x184D2A50, 8) + b"smuggled"
EMPTY_FRAME = zstandard.ZstdCompressor().compress(b"")


def with_zstd_frame(stored: bytes) -> bytes:
    """The full bundle, the first frame of its zstd layer stored as ``stored``."""
    laid = lay_frames(full_recipe().pieces())
    number = next(i for i, frame in enumerate(laid) if frame.stored[4] & 4)
    laid[number] = replace(laid[number], stored=stored)
    return join_frames(laid)


def layer_frame() -> LaidFrame:
    return next(frame for frame in lay_frames(full_recipe().pieces()) if frame.stored[4] & 4)


def block(size: int, kind: int, *, last: bool) -> bytes:
    return struct.pack("<I", size << 3 | kind << 1 | int(last))[:3]


def rle_frame(count: int) -> bytes:
    """A frame that declares 4 MiB and holds ``count`` blocks of 128 KiB, in four bytes each."""
    blocks = b"".join(block(BLOCK, 1, last=number == count - 1) + b"A" for number in range(count))
    return frames.header(FRAME, checksum=True) + blocks + b"0000"


def with_header(descriptor: int, fields: bytes) -> bytes:
    """The layer's frame under another header."""
    return frames.MAGIC + bytes([descriptor]) + fields + layer_frame().stored[frames.MAX_HEADER :]


SIZE = struct.pack("<I", FRAME)
HOSTILE = {
    "inflates far past its declared size": rle_frame(100_000),
    "inflates past its declared size by a block": rle_frame(33),
    "inflates to less than its declared size": rle_frame(31),
    "declares gigabytes": with_header(0xA4, struct.pack("<I", 2**32 - 1)),
    "declares one byte less": with_header(0xA4, struct.pack("<I", FRAME - 1)),
    "declares one byte more": with_header(0xA4, struct.pack("<I", FRAME + 1)),
    "declares its size in eight bytes": with_header(0xE4, struct.pack("<Q", FRAME)),
    "has a window descriptor": with_header(0x84, b"\x60" + SIZE),
    "has a window of two gigabytes": with_header(0x84, b"\xa8" + SIZE),
    "has a dictionary id": with_header(0xA5, b"\x01" + SIZE),
    "has the reserved bit set": with_header(0xAC, SIZE),
    "has the unused bit set": with_header(0xB4, SIZE),
    "has no checksum": zstd_frame(layer_frame().content, checksum=False),
    "has no content size": zstd_frame(layer_frame().content, content_size=False),
    "has a wrong checksum": layer_frame().stored[:-1] + bytes([layer_frame().stored[-1] ^ 1]),
    "has a block of the reserved kind": frames.header(FRAME, checksum=True) + block(8, 3, last=True) + bytes(12),
    "has a block larger than 128 KiB": frames.header(FRAME, checksum=True) + block(FRAME, 1, last=True) + b"A0000",
    "ends inside a block": layer_frame().stored[:-100],
    "ends before its checksum": layer_frame().stored[:-4],
    "ends after its header": layer_frame().stored[:11],
    "is followed by a skippable frame": layer_frame().stored + SKIPPABLE,
    "is followed by an empty frame": layer_frame().stored + EMPTY_FRAME,
    "is followed by a byte": layer_frame().stored + b"\0",
    "stands behind a skippable frame": SKIPPABLE + layer_frame().stored,
    "is two frames": zstd_frame(layer_frame().content[:BLOCK]) + zstd_frame(layer_frame().content[BLOCK:]),
    "is a raw frame": b"".join(frames.raw_frame(layer_frame().content)),
    "is a skippable frame": SKIPPABLE,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_zstd_frame_that(name: str) -> None:
    with refused(FormatError, ARCHIVE, "frame"):
        verify(with_zstd_frame(HOSTILE[name]))


def decoders() -> dict[str, FrameDecoder]:
    found = {"zstandard": zstd._zstandard(), "compression.zstd": zstd._stdlib(), "libzstd": zstd._libzstd()}
    return {name: decoder for name, decoder in found.items() if decoder is not None}


@pytest.mark.parametrize("name", HOSTILE)
def test_every_decoder_refuses_a_frame_that(name: str) -> None:
    # One verdict whatever the host has: where the frame is refused before it is decoded, none is asked.
    assert "zstandard" in decoders()
    for decoder in decoders().values():
        with refused(FormatError, ARCHIVE, "frame"):
            verify(with_zstd_frame(HOSTILE[name]), decoder=decoder)


def test_a_zstd_bomb_takes_no_memory() -> None:
    # 13 GB in 400 kB: the size a decoder may fill is the declared one.
    bomb = memoryview(rle_frame(100_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for decoder in decoders().values():
        with refused(FormatError, "does not decode"):
            decoder.decode(bomb, memoryview(bytearray(FRAME)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


def relaid(number: int, stored: bytes) -> bytes:
    laid = lay_frames(full_recipe().pieces())
    laid[number] = replace(laid[number], stored=stored)
    return join_frames(laid)


def test_a_compressed_head() -> None:
    with refused(FormatError, ARCHIVE, "the head is stored raw"):
        verify(relaid(0, zstd_frame(lay_frames(full_recipe().pieces())[0].content)))


def test_a_compressed_frame_where_a_raw_one_is_due() -> None:
    laid = lay_frames(full_recipe().pieces())
    with refused(FormatError, ARCHIVE, "seek table"):
        verify(relaid(2, zstd_frame(laid[2].content)))


def test_raw_content_cut_into_other_blocks() -> None:
    content = lay_frames(full_recipe().pieces())[1].content
    blocks = [content[start : start + BLOCK // 2] for start in range(0, len(content), BLOCK // 2)]
    parts = [block(len(part), 0, last=number == len(blocks) - 1) + part for number, part in enumerate(blocks)]
    with refused(FormatError, ARCHIVE, "seek table"):
        verify(relaid(1, frames.header(len(content), checksum=False) + b"".join(parts)))


def test_one_frame_split_in_two() -> None:
    laid = lay_frames(full_recipe().pieces())
    first, second = laid[1].content[:BLOCK], laid[1].content[BLOCK:]
    laid[1:2] = [LaidFrame(b"".join(frames.raw_frame(part)), part) for part in (first, second)]
    with refused(FormatError, ARCHIVE, "seek table"):
        verify(join_frames(laid))


TABLE = frames.seek_table([(len(frame.stored), len(frame.content)) for frame in lay_frames(full_recipe().pieces())])
TABLES = {
    "gives a frame another stored size": TABLE[:8] + struct.pack("<I", 9) + TABLE[12:],
    "gives a frame another content size": TABLE[:12] + struct.pack("<I", 9) + TABLE[16:],
    "gives a frame 4 GiB": TABLE[:8] + b"\xff" * 8 + TABLE[16:],
    "has checksums": TABLE[:-5] + b"\x80" + TABLE[-4:],
    "has a reserved bit set": TABLE[:-5] + b"\x40" + TABLE[-4:],
    "counts one frame less": TABLE[:-9] + struct.pack("<I", 6) + TABLE[-5:],
    "counts four billion frames": TABLE[:-9] + b"\xff" * 4 + TABLE[-5:],
    "has another magic number": TABLE[:-1] + b"\0",
    "is another skippable frame": b"\x50" + TABLE[1:],
    "declares another length": TABLE[:4] + struct.pack("<I", 1) + TABLE[8:],
    "has one entry less": TABLE[:8] + TABLE[16:],
    "is empty": frames.seek_table([]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_seek_table_that(name: str) -> None:
    data = full_recipe().archive()
    with refused(FormatError, ARCHIVE):
        verify(data[: -len(TABLE)] + TABLES[name])


def test_zstd_frames_whose_stored_sizes_were_swapped() -> None:
    laid = lay_frames(full_recipe().pieces())
    numbers = [number for number, frame in enumerate(laid) if frame.stored[4] & 4]
    assert len(numbers) == 2
    entries = [(len(frame.stored), len(frame.content)) for frame in laid]
    one, two = numbers
    entries[one], entries[two] = (entries[two][0], entries[one][1]), (entries[one][0], entries[two][1])
    with refused(FormatError, ARCHIVE, "frame"):
        verify(b"".join(frame.stored for frame in laid) + frames.seek_table(entries))
