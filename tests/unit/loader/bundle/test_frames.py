from __future__ import annotations

import functools
import hashlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from loader.bundle import frames
from loader.bundle.errors import FormatError
from loader.bundle.frames import Frame, FrameDecoder
from loader.bundle.limits import BLOCK, FRAME
from loader.zstd import _libzstd, _zstandard
from tests.support.bundles import zstd_frame

EDGES = [1, 2, 255, 256, 257, 65791, 65792, 65793, BLOCK - 1, BLOCK, BLOCK + 1, FRAME - 1, FRAME]
SIZE = st.sampled_from(EDGES) | st.integers(1, FRAME)
FEW_BLOCKS = st.sampled_from([size for size in EDGES if size < 2 * BLOCK]) | st.integers(1, 3 * BLOCK)


@functools.cache
def pattern() -> bytes:
    """4 MiB in which no stretch occurs twice."""
    return hashlib.shake_256(b"pattern").digest(FRAME)


def raw(size: int) -> bytes:
    return b"".join(frames.raw_frame(pattern()[:size]))


def decompress(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)


@given(SIZE, st.booleans())
def test_a_header_says_to_zstandard_what_is_meant(size: int, checksum: bool) -> None:
    found = zstandard.get_frame_parameters(frames.header(size, checksum=checksum))
    assert (found.content_size, found.dict_id, found.has_checksum) == (size, 0, checksum)
    assert found.window_size == size  # single segment


@given(SIZE, st.booleans(), st.binary(max_size=4))
def test_a_header_is_read_back(size: int, checksum: bool, rest: bytes) -> None:
    head = frames.header(size, checksum=checksum)
    assert frames.parse_header(head + rest) == (size, checksum, len(head))


@given(st.integers(0, 255), st.binary(max_size=8), st.booleans())
def test_whatever_is_read_as_a_header_is_the_one_we_make(descriptor: int, rest: bytes, magic: bool) -> None:
    data = (frames.MAGIC if magic else b"\x28\xb5\x2f\xfc") + bytes([descriptor]) + rest
    try:
        size, checksum, length = frames.parse_header(data)
    except FormatError:
        return
    assert magic
    assert data[:length] == frames.header(size, checksum=checksum)


@pytest.mark.parametrize("descriptor", [0x60, 0xA0])
def test_a_header_that_is_cut_off(descriptor: int) -> None:
    with pytest.raises(FormatError, match="cut off"):
        frames.parse_header(frames.MAGIC + bytes([descriptor, 1]))


@pytest.mark.parametrize("size", [0, FRAME + 1])
def test_a_size_out_of_range(size: int) -> None:
    with pytest.raises(FormatError, match="out of range"):
        frames.parse_header(frames.header(size, checksum=False))


@pytest.mark.parametrize("size", EDGES)
def test_a_raw_frame_decodes_with_zstandard(size: int) -> None:
    data = raw(size)
    assert len(data) == frames.raw_size(size)
    assert decompress(data) == pattern()[:size]
    assert b"".join(frames.raw_blocks(memoryview(data), size)) == pattern()[:size]


@pytest.mark.parametrize("size", [*EDGES, frames.PIECE - 1, frames.PIECE, frames.PIECE + 1, 3 * frames.PIECE + 5])
def test_the_pieces_of_a_raw_frame_are_the_frame(size: int) -> None:
    data = memoryview(raw(size))
    position, content = 0, b""
    for start, stop, offset, length in frames.raw_pieces(size):
        assert offset == position
        assert (start, stop) == (len(content), min(len(content) + frames.PIECE, size))
        content += b"".join(frames.raw_blocks(data[offset : offset + length], size, start, stop))
        position += length
    assert position == len(data)
    assert content == pattern()[:size]


@given(FEW_BLOCKS, st.data())
def test_any_bit_of_a_raw_frames_frame_is_watched(size: int, data: st.DataObject) -> None:
    frame = bytearray(raw(size))
    position = data.draw(st.integers(0, len(frame) - 1))
    frame[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        blocks = frames.raw_blocks(memoryview(frame), size)
    except FormatError:
        return
    # What is left is content: exactly one bit of it differs.
    got = int.from_bytes(b"".join(blocks), "big") ^ int.from_bytes(pattern()[:size], "big")
    assert bin(got).count("1") == 1


@pytest.mark.parametrize("change", [-1, 1])
def test_a_raw_frame_of_another_length(change: int) -> None:
    with pytest.raises(FormatError, match="length differs"):
        frames.raw_blocks(memoryview(raw(1000)), 1000 + change)


@given(FEW_BLOCKS, st.data())
def test_a_range_of_a_raw_frame_is_that_range_of_its_content(size: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, size - 1) | st.just(BLOCK).filter(lambda at: at < size))
    stop = data.draw(st.integers(start + 1, size))
    offset, length = frames.raw_range(size, start, stop)
    part = raw(size)[offset : offset + length]
    assert frames.strip_blocks(part, size, start, stop) == pattern()[start:stop]


def test_a_block_header_inside_a_range_is_compared() -> None:
    size = 3 * BLOCK + 7
    offset, length = frames.raw_range(size, BLOCK - 10, 3 * BLOCK + 1)
    part = bytearray(raw(size)[offset : offset + length])
    for position in (10, 11, 12, 13 + BLOCK, 16 + 2 * BLOCK):
        changed = part[:position] + bytes([part[position] ^ 1]) + part[position + 1 :]
        with pytest.raises(FormatError, match="a block header differs"):
            frames.strip_blocks(bytes(changed), size, BLOCK - 10, 3 * BLOCK + 1)


COMPRESSIBLE = st.builds(
    lambda seed, times, tail: (seed * times)[: FRAME - len(tail)] + tail,
    st.binary(min_size=1, max_size=300),
    st.integers(1, 3000),
    st.binary(max_size=300),
)


@given(COMPRESSIBLE)
def test_frames_of_the_compressor_are_of_the_allowed_form(content: bytes) -> None:
    frame = memoryview(zstd_frame(content))
    frames.check_zstd_frame(frame, len(content))
    assert len(frame) <= frames.MAX_ZSTD_FRAME
    assert frames.least_stored(len(content), "zstd") <= len(frame)


def verdict(decoder: FrameDecoder, frame: memoryview, size: int) -> bytes:
    try:
        return bytes(decoder.decode(frame, memoryview(bytearray(size))))
    except FormatError:
        return b"refused"


@given(COMPRESSIBLE, st.data())
def test_a_damaged_frame_of_the_allowed_form_is_refused_or_decodes_to_the_same(
    content: bytes, data: st.DataObject
) -> None:
    frame = bytearray(zstd_frame(content))
    position = data.draw(st.integers(0, len(frame) - 1))
    frame[position] ^= 1 << data.draw(st.integers(0, 7))
    frame += data.draw(st.sampled_from([b"", b"\0", zstandard.ZstdCompressor().compress(b"")]))
    try:
        frames.check_zstd_frame(memoryview(frame), len(content))
    except FormatError:
        return
    # Versions of libzstd differ in the unused bits they look at, never in the bytes they give.
    decoders = filter(None, (_zstandard(), _libzstd()))
    assert {verdict(decoder, memoryview(frame), len(content)) for decoder in decoders} <= {b"refused", content}


@pytest.mark.parametrize("size", [1, FRAME])
def test_incompressible_content_fits_the_bound(size: int) -> None:
    frame = zstd_frame(pattern()[:size])
    frames.check_zstd_frame(memoryview(frame), size)
    assert len(frame) <= frames.MAX_ZSTD_FRAME


def test_the_least_a_member_takes() -> None:
    assert [frames.least_stored(FRAME, stored) for stored in ("raw", "zstd", None)] == [FRAME, 128, 0]
    assert len(zstd_frame(bytes(FRAME))) >= 128
    assert frames.least_stored(1, "zstd") == 4


STORED = st.lists(
    st.one_of(
        SIZE.map(lambda size: (Frame(0, size, "raw"), frames.raw_size(size))),
        st.tuples(
            SIZE.map(lambda size: Frame(0, size, "zstd")), st.integers(frames.MAX_HEADER + 1, frames.MAX_ZSTD_FRAME)
        ),
    ),
    min_size=1,
    max_size=6,
)


@given(STORED)
def test_a_seek_table_is_read_back_and_skipped_by_decoders(rows: list[tuple[Frame, int]]) -> None:
    table = frames.seek_table([(stored, frame.size) for frame, stored in rows])
    assert len(table) == frames.seek_table_size(len(rows))
    assert frames.parse_seek_table(table, [frame for frame, _ in rows]) == [stored for _, stored in rows]
    assert zstandard.ZstdDecompressor().stream_reader(raw(5) + table).read() == pattern()[:5]


@given(STORED, st.data())
def test_a_seek_table_with_a_changed_byte_is_refused_or_moves_a_zstd_frame(
    rows: list[tuple[Frame, int]], data: st.DataObject
) -> None:
    table = bytearray(frames.seek_table([(stored, frame.size) for frame, stored in rows]))
    position = data.draw(st.integers(0, len(table) - 1))
    table[position] ^= data.draw(st.integers(1, 255))
    try:
        sizes = frames.parse_seek_table(bytes(table), [frame for frame, _ in rows])
    except FormatError:
        return
    moved = [frame.stored for (frame, stored), size in zip(rows, sizes) if size != stored]
    assert moved == ["zstd"]
