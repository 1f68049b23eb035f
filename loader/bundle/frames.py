"""Zstandard frames of the one form the format allows, and the seek table (RFC 8878, Seekable Format 0.1.0).

A frame is single segment, with its content size in the shortest form, no dictionary, 1 byte to
4 MiB of content. Raw frames (raw blocks, no checksum) are predicted byte for byte; ``zstd`` frames
carry a checksum and are checked by decoding.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Optional, Protocol, Union

from loader.bundle.errors import FormatError
from loader.bundle.limits import BLOCK, FRAME

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE_MAGIC = 0x184D2A5E
SEEKABLE_MAGIC = 0x8F92EAB1
MAX_HEADER = 9  # magic, descriptor, four bytes of content size
CHECKSUM = 4
PIECE = 8 * BLOCK
"""Content read at once from a raw frame: it stays in a core's cache from the copy to the hash to the send."""
_RLE, _RESERVED = 1, 3  # block types, RFC 8878 section 3.1.1.2.2
SEEK_ENTRY = struct.Struct("<II")
SEEK_HEADER = struct.Struct("<II")
SEEK_FOOTER = struct.Struct("<IBI")
# zstd never makes a frame of 4 MiB larger than this (ZSTD_compressBound, header and checksum).
MAX_ZSTD_FRAME = FRAME + (FRAME >> 8) + 64

Buffer = Union[bytes, bytearray, memoryview]


class FrameDecoder(Protocol):
    """Decodes a zstd frame that :func:`check_zstd_frame` let pass: one, whole, and nothing behind it."""

    def decode(self, frame: memoryview, room: memoryview) -> memoryview:
        """Return content as long as ``room``, there or in memory of its own, or raise ``FormatError``."""
        ...


class Frame(NamedTuple):
    """A frame's content in the tar stream: ``offset`` and ``size`` in bytes; ``stored`` is raw or zstd."""

    offset: int
    size: int
    stored: str


def header(size: int, *, checksum: bool) -> bytes:
    """Return the only frame header allowed for ``size`` bytes of content (RFC 8878 section 3.1.1.1)."""
    descriptor = 0x20 | (0x04 if checksum else 0)
    if size <= 0xFF:
        return MAGIC + struct.pack("<BB", descriptor, size)
    if size <= 0xFFFF + 256:
        return MAGIC + struct.pack("<BH", descriptor | 0x40, size - 256)
    return MAGIC + struct.pack("<BI", descriptor | 0x80, size)


def parse_header(data: Buffer) -> tuple[int, bool, int]:
    """Return (content size, has checksum, header length) of the frame that ``data`` begins with.

    Raises ``FormatError`` for every header that :func:`header` does not make.
    """
    if bytes(data[:4]) != MAGIC or len(data) < 6:
        raise FormatError("not a zstd frame where one must begin", why=f"found {bytes(data[:4]).hex() or 'nothing'}")
    descriptor = data[4]
    try:
        if descriptor & 0xC0 == 0x80:
            (size,) = struct.unpack_from("<I", data, 5)
        elif descriptor & 0xC0 == 0x40:
            size = struct.unpack_from("<H", data, 5)[0] + 256
        else:
            size = data[5]
    except struct.error as error:
        raise FormatError("a zstd frame header is cut off", why=str(error)) from error
    if not 1 <= size <= FRAME:
        raise FormatError("a zstd frame declares a size out of range", why=f"{size} bytes; 1 to {FRAME} are allowed")
    checksum = bool(descriptor & 0x04)
    expected = header(size, checksum=checksum)
    if bytes(data[: len(expected)]) != expected:
        raise FormatError("a zstd frame header is not of the allowed form", why=f"descriptor 0x{descriptor:02x}")
    return size, checksum, len(expected)


def _block_header(size: int, *, last: bool) -> bytes:
    return struct.pack("<I", size << 3 | (1 if last else 0))[:3]


_FULL_BLOCK = _block_header(BLOCK, last=False)


def raw_size(size: int) -> int:
    """Length in bytes of the raw frame of ``size`` bytes of content."""
    return len(header(size, checksum=False)) + 3 * -(-size // BLOCK) + size


def raw_frame(content: Buffer) -> list[Buffer]:
    """Return the raw frame of ``content`` (1 byte to 4 MiB) as buffers to write, without copying it."""
    view = memoryview(content)
    size = len(view)
    parts: list[Buffer] = [header(size, checksum=False)]
    for start in range(0, size, BLOCK):
        block = view[start : start + BLOCK]
        parts.append(_block_header(len(block), last=True) if start + BLOCK >= size else _FULL_BLOCK)
        parts.append(block)
    return parts


def raw_pieces(size: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut the raw frame of ``size`` bytes into pieces of whole blocks: (start, stop) of content, (offset, length).

    The first piece begins with the frame's header, so that together they are the frame.
    """
    head = len(header(size, checksum=False))
    for start in range(0, size, PIECE):
        stop = min(start + PIECE, size)
        first = head + 3 * (start // BLOCK) + start if start else 0
        last = head + 3 * -(-stop // BLOCK) + stop
        yield start, stop, first, last - first


def raw_blocks(piece: memoryview, size: int, start: int = 0, stop: Optional[int] = None) -> list[memoryview]:
    """Return content ``start`` to ``stop`` of the raw frame of ``size`` bytes as views of its blocks.

    ``piece`` must be exactly the one that :func:`raw_pieces` names, or the whole frame, else ``FormatError``.
    """
    stop = size if stop is None else stop
    head = b"" if start else header(size, checksum=False)
    position = len(head)
    if len(piece) != position + 3 * -(-(stop - start) // BLOCK) + stop - start or piece[:position] != head:
        raise FormatError("a raw zstd frame is not as predicted", why="its header or length differs")
    blocks = []
    for begin in range(start, stop, BLOCK):
        length = min(BLOCK, size - begin)
        due = _FULL_BLOCK if begin + BLOCK < size else _block_header(length, last=True)
        if piece[position : position + 3] != due:
            raise FormatError("a raw zstd frame is not as predicted", why=f"the header of the block at {begin} differs")
        blocks.append(piece[position + 3 : position + 3 + length])
        position += 3 + length
    return blocks


def raw_range(size: int, start: int, stop: int) -> tuple[int, int]:
    """Where content bytes ``start`` to ``stop`` stand in the raw frame of ``size`` bytes: (offset, length).

    The range holds the block headers that fall inside it; :func:`strip_blocks` takes them out.
    """
    head = len(header(size, checksum=False))
    first = head + 3 * (start // BLOCK + 1) + start
    last = head + 3 * ((stop - 1) // BLOCK + 1) + stop
    return first, last - first


def strip_blocks(data: bytes, size: int, start: int, stop: int) -> bytes:
    """Return content ``start`` to ``stop`` from the bytes of :func:`raw_range`, comparing block headers."""
    parts = []
    position = 0
    while start < stop:
        end = min(stop, (start // BLOCK + 1) * BLOCK)
        parts.append(data[position : position + end - start])
        position += end - start
        if end < stop:
            length = min(BLOCK, size - end)
            if data[position : position + 3] != _block_header(length, last=end + length == size):
                raise FormatError("a raw zstd frame is not as predicted", why="a block header differs")
            position += 3
        start = end
    return b"".join(parts)


def least_stored(size: int, stored: Optional[str]) -> int:
    """Fewest bytes of an archive that ``size`` bytes of content can take, stored ``raw``, ``zstd``, or None for a link.

    A zstd block holds at most 128 KiB (RFC 8878 section 3.1.1.2.4) and takes 4 bytes at least.
    """
    if stored is None:
        return 0
    return size if stored == "raw" else 4 * -(-size // BLOCK)


def most_stored(frame: Frame) -> int:
    """Most bytes of an archive that ``frame`` can take."""
    return raw_size(frame.size) if frame.stored == "raw" else MAX_ZSTD_FRAME


def is_possible(frame: Frame, size: int) -> bool:
    """Tell whether ``frame`` can take ``size`` bytes of an archive."""
    return size == raw_size(frame.size) if frame.stored == "raw" else MAX_HEADER < size <= MAX_ZSTD_FRAME


def walk_zstd_frame(buffer: memoryview, size: int, fill: Callable[[int, int], None]) -> int:
    """Read a frame of ``size`` bytes of content of which only the beginning is known, and return its length.

    ``fill(start, stop)`` reads these bytes of it into ``buffer``; it is asked for each byte once, in order. Nothing
    is checked here but that the frame stays in ``buffer``: :func:`check_zstd_frame` and the decoder follow.
    """
    position, last = len(header(size, checksum=True)), 0
    fill(0, position)
    while not last:
        fill(position, position + 3)
        value = int.from_bytes(buffer[position : position + 3], "little")
        last, kind, length = value & 1, value >> 1 & 3, value >> 3
        stop = position + 3 + (1 if kind == _RLE else length)
        if stop + 3 + CHECKSUM > len(buffer):
            raise FormatError("a zstd frame is longer than one can be", why=f"more than {len(buffer)} bytes")
        fill(position + 3, stop)
        position = stop
    fill(position, position + CHECKSUM)
    return position + CHECKSUM


def check_zstd_frame(frame: memoryview, size: int) -> None:
    """Raise ``FormatError`` unless ``frame`` is one frame of ``size`` bytes with a checksum, and nothing else.

    Its blocks are walked, not decoded (RFC 8878 section 3.1.1.2): libzstd's one-shot decoder and the zstd
    program go on with whatever frame follows, skippable and empty ones too, without a word.
    """
    expected = header(size, checksum=True)
    if frame[: len(expected)] != expected:
        raise FormatError("a zstd frame is not as predicted", why="its header differs")
    position, last = len(expected), 0
    while not last:
        value = int.from_bytes(frame[position : position + 3], "little")
        last, kind, length = value & 1, value >> 1 & 3, value >> 3
        position += 3 + (1 if kind == _RLE else length)
        if kind == _RESERVED or length > BLOCK or position + CHECKSUM > len(frame):
            raise FormatError("a zstd frame is not as predicted", why=f"a block before byte {position} is impossible")
    if position + CHECKSUM != len(frame):
        raise FormatError("a zstd frame is not as predicted", why=f"{len(frame) - position - CHECKSUM} bytes follow it")


def seek_table(entries: Iterable[tuple[int, int]]) -> bytes:
    """Return the skippable frame with the (compressed, content) sizes of all frames, descriptor 0."""
    body = b"".join(SEEK_ENTRY.pack(*entry) for entry in entries)
    body += SEEK_FOOTER.pack(len(body) // SEEK_ENTRY.size, 0, SEEKABLE_MAGIC)
    return SEEK_HEADER.pack(SKIPPABLE_MAGIC, len(body)) + body


def seek_table_size(count: int) -> int:
    """Length in bytes of the seek table of ``count`` frames."""
    return SEEK_HEADER.size + count * SEEK_ENTRY.size + SEEK_FOOTER.size


def parse_seek_table(data: bytes, frames: Sequence[Frame]) -> list[int]:
    """Return the stored size of every frame from the seek table ``data``.

    Each content size must be the predicted one, each raw size too; a ``zstd`` size must be possible.
    Raises ``FormatError`` otherwise.
    """
    footer = SEEK_FOOTER.pack(len(frames), 0, SEEKABLE_MAGIC)
    head = SEEK_HEADER.pack(SKIPPABLE_MAGIC, len(data) - SEEK_HEADER.size)
    if data[: SEEK_HEADER.size] != head or data[-SEEK_FOOTER.size :] != footer:
        raise FormatError(
            "the archive does not end with the predicted seek table", why="it is cut off, or something follows its end"
        )
    sizes: list[int] = []
    position = SEEK_HEADER.size
    for frame in frames:
        stored_size, content_size = SEEK_ENTRY.unpack_from(data, position)
        position += SEEK_ENTRY.size
        if content_size != frame.size or not is_possible(frame, stored_size):
            raise FormatError("the seek table is not as predicted", why=f"frame {len(sizes)}")
        sizes.append(stored_size)
    return sizes
