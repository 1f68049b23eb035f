"""The head of an archive: ``SHA256SUMS``, its signatures, ``bundle.json`` (steps 1 and 2 of format.md section 2).

This is the only code that touches bytes before a signature was checked. It reads raw frames of the
one allowed form, and from three kinds of tar header only name and size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from loader.bundle import frames
from loader.bundle.archive import ByteSource, naming, read_exact
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import FormatError
from loader.bundle.limits import MAX_HEAD_FILE, MAX_SIGNATURE, MAX_SIGNATURES, MIB
from loader.bundle.pieces import BlockStream
from loader.bundle.tarlayout import RECORD, Member, padding, parse_name_and_size

SUMS = "SHA256SUMS"
MANIFEST = "bundle.json"
HEAD_TAR = ".head.tar"
LABEL = re.compile(r"[a-z0-9-]{1,32}")
_SIGNATURE = re.compile(rf"SHA256SUMS\.({LABEL.pattern})\.sig")


@dataclass(frozen=True)
class Head:
    """The unverified head; ``signatures`` are (label, bytes) in archive order, a label being no identity."""

    sums: bytes
    signatures: tuple[tuple[str, bytes], ...]
    manifest: bytes

    @property
    def id(self) -> str:
        """The bundle id: SHA-256 of ``SHA256SUMS``, 64 hex digits."""
        return sha256_hex(self.sums)

    @property
    def members(self) -> list[tuple[Member, str]]:
        """The head's members and their SHA-256, for the layout."""
        named = [(SUMS, self.sums)]
        named += [(signature_name(label), data) for label, data in self.signatures]
        named.append((MANIFEST, self.manifest))
        return [(Member(path, len(data), "raw"), sha256_hex(data)) for path, data in named]


def signature_name(label: str) -> str:
    """Member name of the signature labelled ``label``."""
    return f"{SUMS}.{label}.sig"


def signature_label(name: str) -> str | None:
    """The label in a signature's member name, or None if ``name`` is not one."""
    match = _SIGNATURE.fullmatch(name)
    return match[1] if match else None


def read_head(source: ByteSource) -> Head:
    """Read the head of ``source``; raises ``FormatError`` for anything but the one allowed form."""
    with naming(source):
        return _read_head(BlockStream(_raw_blocks(source)))


def read_head_tar(source: ByteSource) -> Head:
    """Read the head from ``X.head.tar``, where it stands alone and not in frames; as :func:`read_head`."""
    with naming(source):
        return _read_head(BlockStream(_plain_blocks(source)))


def _read_head(stream: BlockStream) -> Head:
    sums = _member(stream, SUMS, MAX_HEAD_FILE)
    signatures: list[tuple[str, bytes]] = []
    while True:
        name, size = parse_name_and_size(stream.take(RECORD))
        if name == MANIFEST:
            return Head(sums, tuple(signatures), _content(stream, name, size, MAX_HEAD_FILE))
        label = signature_label(name)
        if label is None:
            raise FormatError(f"unexpected member {name} in the head", why="a signature or bundle.json is due")
        if signatures and label <= signatures[-1][0]:
            raise FormatError(f"signature {name} is out of order", why="labels are sorted, each once")
        if len(signatures) == MAX_SIGNATURES:
            raise FormatError("too many signatures", why=f"at most {MAX_SIGNATURES} in an archive")
        signatures.append((label, _content(stream, name, size, MAX_SIGNATURE)))


def _member(stream: BlockStream, wanted: str, cap: int) -> bytes:
    name, size = parse_name_and_size(stream.take(RECORD))
    if name != wanted:
        raise FormatError(f"unexpected member {name}", why=f"{wanted} is due")
    return _content(stream, name, size, cap)


def _content(stream: BlockStream, name: str, size: int, cap: int) -> bytes:
    if size > cap:
        raise FormatError(f"{name} is too large", why=f"{size} bytes; at most {cap}")
    data = stream.take(size)
    if stream.take(padding(size)).strip(b"\0"):
        raise FormatError(
            f"the padding after {name} is not zero",
            why="a bundle is written in one way alone, and nothing hides in its padding",
        )
    return data


def _plain_blocks(source: ByteSource) -> Iterator[memoryview]:
    offset = 0
    while offset < source.size:
        block = read_exact(source, offset, min(MIB, source.size - offset))
        offset += len(block)
        yield block
    raise FormatError(f"{source.name} is truncated", why=f"it ends at {offset} bytes, within the head")


def _raw_blocks(source: ByteSource) -> Iterator[memoryview]:
    """Yield the content of raw frames from the start of the archive; anything else ends it with ``FormatError``."""
    offset = 0
    while True:
        head = memoryview(bytearray(min(frames.MAX_HEADER, max(0, source.size - offset))))
        got = source.read_into(offset, head)
        size, checksum, _ = frames.parse_header(head[:got])
        if checksum:
            raise FormatError("a frame of the head is compressed", why="the head is stored raw")
        length = frames.raw_size(size)
        yield from frames.raw_blocks(read_exact(source, offset, length), size)
        offset += length
