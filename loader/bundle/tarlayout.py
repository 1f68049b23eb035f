"""The tar stream, predicted: headers are made from names and sizes, never parsed for meaning.

One legal byte string per bundle leaves no room for parser differences (format.md section 1).
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Optional

from loader.bundle.errors import FormatError
from loader.bundle.frames import Frame
from loader.bundle.limits import BIG_MEMBER, FRAME, MAX_MEMBER
from loader.bundle.manifest import File

RECORD = 512
END = bytes(2 * RECORD)
_ZERO = b"0000000\x00"
NAME_FIELD = 100
PREFIX_FIELD = 155
OCTAL_LIMIT = 8**11
_NAME = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*")


def check_name(path: str) -> None:
    """Raise ``FormatError`` unless ``path`` is safe: ``[A-Za-z0-9._/-]``, no empty, ``.`` or ``..`` part."""
    if _NAME.fullmatch(path) is None or any(part in {".", ".."} for part in path.split("/")):
        raise FormatError(f"unsafe name {path[:120]!a}", why="names are [A-Za-z0-9._/-] without . or .. parts")
    split_name(path)


def split_name(path: str) -> tuple[str, str]:
    """Return (prefix, name) of a ustar header: split at the first ``/`` that leaves at most 100 bytes behind it."""
    if len(path) <= NAME_FIELD:
        return "", path
    cut = path.find("/", len(path) - NAME_FIELD - 1)
    if cut == -1 or cut > PREFIX_FIELD:
        raise FormatError(f"name {path[:120]!a} is too long", why="a tar header holds 155 + 100 bytes around a /")
    return path[:cut], path[cut + 1 :]


def header(path: str, size: int, link_to: Optional[str] = None) -> bytes:
    """Return the 512-byte ustar header of a regular file, or of a hard link to ``link_to``.

    Mode 0644, owner and times zero. Sizes are octal, GNU base-256 only from 8 GiB on.
    """
    prefix, name = split_name(path)
    if link_to is not None and len(link_to) > NAME_FIELD:
        raise FormatError(f"link target {link_to[:120]!a} is too long", why="at most 100 bytes")
    size_field = b"%011o\0" % size if size < OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    block = b"".join(
        (
            name.encode("ascii").ljust(NAME_FIELD, b"\0"),
            b"0000644\x00",
            _ZERO * 2,
            size_field,
            b"00000000000\0",
            b" " * 8,
            b"0" if link_to is None else b"1",
            (link_to or "").encode("ascii").ljust(NAME_FIELD, b"\0"),
            b"ustar\x0000",
            bytes(64),
            _ZERO * 2,
            prefix.encode("ascii").ljust(PREFIX_FIELD, b"\0"),
        )
    ).ljust(RECORD, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def parse_name_and_size(block: bytes) -> tuple[str, int]:
    """Return name and size of a regular file's header, the only two fields ever read from one.

    The caller caps the size; the header must then equal the regenerated one, else ``FormatError``.
    """
    name = block[:NAME_FIELD].split(b"\0", 1)[0].decode("ascii", "replace")
    digits = block[124:135]
    if re.fullmatch(rb"[0-7]{11}", digits) is None:
        raise FormatError("the archive does not begin with our tar headers", why=f"size field {digits!a}")
    size = int(digits, 8)
    check_name(name)
    if header(name, size) != block:
        raise FormatError(f"the tar header of {name} is not as predicted", why="a bundle is written in one way alone")
    return name, size


def padding(size: int) -> int:
    """Zero bytes after a member of ``size`` bytes."""
    return -size % RECORD


def padded_size(size: int, link_to: Optional[str]) -> int:
    """Bytes of a member in the tar stream: header, content, padding."""
    return RECORD if link_to is not None else RECORD + size + padding(size)


def payload_size(files: Iterable[File]) -> int:
    """Bytes of the tar stream after ``bundle.json``: every file padded, and the two zero records."""
    return sum(padded_size(file.size, file.link_to) for file in files) + len(END)


class Member(NamedTuple):
    """What a header and its frames are made from; there may be 200,000."""

    path: str
    size: int
    stored: str
    link_to: Optional[str] = None

    @property
    def is_big(self) -> bool:
        """Whether the content fills frames of its own."""
        return self.link_to is None and self.size >= BIG_MEMBER


class Span(NamedTuple):
    """A stretch of frames: one big member's own (``member`` is its index) or a run of glue (``member`` is -1)."""

    member: int
    first: int
    stop: int


class Layout:
    """Every member's place in the tar stream and every frame's content range, from names and sizes alone.

    ``starts[i]`` is where member i's header begins, ``end`` where the two zero records end.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self.starts = array("Q")
        self.frames: list[Frame] = []
        self.spans: list[Span] = []
        self.frame_of: dict[int, Span] = {}
        position = glue_start = 0
        for index, member in enumerate(self.members):
            if not 0 <= member.size <= MAX_MEMBER:
                raise FormatError(f"{member.path} has an impossible size", why=f"{member.size} bytes")
            self.starts.append(position)
            position += RECORD
            if member.link_to is not None:
                continue
            if member.is_big:
                self._add_span(-1, glue_start, position, "raw")
                self._add_span(index, position, position + member.size, member.stored)
                glue_start = position + member.size
            position += member.size + padding(member.size)
        self.end = position + len(END)
        self._add_span(-1, glue_start, self.end, "raw")

    def _add_span(self, member: int, start: int, stop: int, stored: str) -> None:
        first = len(self.frames)
        self.frames.extend(Frame(offset, min(FRAME, stop - offset), stored) for offset in range(start, stop, FRAME))
        span = Span(member, first, len(self.frames))
        self.spans.append(span)
        if member >= 0:
            self.frame_of[member] = span

    def content_offset(self, index: int) -> int:
        """Where the content of member ``index`` begins in the tar stream."""
        return self.starts[index] + RECORD

    def member_at(self, offset: int) -> int:
        """Index of the member whose header, content or padding holds stream byte ``offset``."""
        return bisect_right(self.starts, offset) - 1

    def literal_header(self, index: int) -> bytes:
        """The predicted header of member ``index``."""
        member = self.members[index]
        return header(member.path, 0 if member.link_to is not None else member.size, member.link_to)
