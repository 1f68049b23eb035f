"""A reader of ISO 9660 images with Rock Ridge names (ECMA-119; IEEE P1281 and P1282), for hostile images.

It reads what a media set's images are made of: one extent per file, 2048-byte blocks, Rock Ridge names. Anything
else that ISO 9660 allows (several extents, interleaving, extended attributes) is refused, not guessed at: readers
that guess return wrong bytes beyond 4 GiB. Joliet names are not looked at.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from loader.bundle.archive import ByteSource, read_exact
from loader.bundle.discs import FILE
from loader.bundle.errors import FormatError
from loader.bundle.limits import MAX_MEMBERS, MIB

BLOCK = 2048
MAGIC_OFFSET = 16 * BLOCK + 1
MAGIC = b"CD001"
_DESCRIPTORS = 32  # an image has two to four
_MAX_FOLDER = 16 * MIB  # one folder's records; 200,000 names of 80 bytes
_MAX_FOLDERS = 10_000
_MAX_DEPTH = 16
_MAX_CONTINUATIONS = 4  # two hold the longest name and all else
_MAX_NAME = 255
_MAX_NAMES = 16 * MIB  # all paths together
_FOLDER, _ASSOCIATED, _MULTI_EXTENT = 0x02, 0x04, 0x80


@dataclass(frozen=True)
class Record:
    """One directory record: where its bytes are, its flags, and the name and mode that Rock Ridge gives."""

    extent: int
    size: int
    flags: int
    name: str
    mode: int
    special: str


class Extent:
    """The bytes of one file of an image, as a source of its own; reads stop at the image's end."""

    def __init__(self, image: ByteSource, name: str, offset: int, size: int) -> None:
        self.name = name
        self.size = size
        self._image = image
        self._offset = offset

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset`` within the file."""
        return self._image.read_into(self._offset + offset, view[: max(0, self.size - offset)])


class IsoImage:
    """Names and extents of an image's files. Raises ``FormatError`` for what is not such an image."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._skip = -1
        self.kinds: dict[str, str] = {}
        self._extents: dict[str, tuple[int, int]] = {}
        descriptor = self._descriptor()
        self.label = descriptor[40:72].decode("ascii", "replace").rstrip()
        root = self._record(descriptor[156:190], 0)
        self._walk(root)

    def open(self, path: str) -> Extent:
        """Open one of ``kinds`` that is a file."""
        offset, size = self._extents[path]
        return Extent(self._source, f"{path} on {self._source.name}", offset, size)

    def _descriptor(self) -> bytes:
        for number in range(16, 16 + _DESCRIPTORS):
            block = bytes(read_exact(self._source, number * BLOCK, BLOCK))
            if block[1:6] != MAGIC or block[0] == 255:
                break
            if block[0] == 1:
                if _both16(block[128:132], "the block size") != BLOCK:
                    raise FormatError(
                        f"{self._source.name} has blocks of another size than {BLOCK}",
                        why="discs have blocks of 2048 bytes",
                    )
                return block
        raise FormatError(f"{self._source.name} is no ISO 9660 image", why="it has no primary volume descriptor")

    def _walk(self, root: Record) -> None:
        waiting = [("", root, 0)]
        seen = {root.extent}
        room = _MAX_NAMES
        while waiting:
            prefix, folder, depth = waiting.pop()
            for record in self._folder(folder, prefix):
                path = prefix + record.name
                room -= len(path)
                if room < 0:
                    raise self._refused(prefix, f"its names take more than {_MAX_NAMES} bytes")
                if not record.flags & _FOLDER:
                    self._add(path, record)
                    continue
                # Seen when it is met, not when it is read: what waits takes memory too.
                if depth == _MAX_DEPTH or len(seen) == _MAX_FOLDERS or record.extent in seen:
                    raise self._refused(path, "folders are nested too deeply, too many, or in a circle")
                seen.add(record.extent)
                waiting.append((f"{path}/", record, depth + 1))

    def _add(self, path: str, record: Record) -> None:
        if path in self.kinds:
            raise self._refused(path, "the name occurs twice")
        if len(self.kinds) >= MAX_MEMBERS:
            raise self._refused(path, f"more than {MAX_MEMBERS} files")
        if record.flags & (_MULTI_EXTENT | _ASSOCIATED):
            raise self._refused(path, "the file is in several extents")
        self.kinds[path] = record.special or FILE
        self._extents[path] = (record.extent * BLOCK, record.size)

    def _folder(self, folder: Record, prefix: str) -> Iterator[Record]:
        """Yield the records of a folder but its own and its parent's; a record never crosses a block."""
        if folder.size > _MAX_FOLDER:
            raise self._refused(prefix, f"its records take {folder.size} bytes, more than {_MAX_FOLDER}")
        data = bytes(read_exact(self._source, folder.extent * BLOCK, folder.size))
        for start in range(0, len(data), BLOCK):
            block = data[start : start + BLOCK]
            position = 0
            while position < len(block) and block[position]:
                raw = block[position : position + block[position]]
                if len(raw) < 34 or len(raw) != block[position] or len(raw) < 33 + raw[32]:
                    raise self._refused(prefix, "a directory record is cut off")
                name = raw[33 : 33 + raw[32]]
                if self._skip < 0:
                    self._skip = self._rock_ridge(raw)
                if name not in {b"\0", b"\1"}:
                    yield self._record(raw, self._skip)
                position += len(raw)

    def _rock_ridge(self, raw: bytes) -> int:
        """How many bytes to skip before system use entries: the SP entry of the root's own record says it."""
        use = raw[34:41]
        return use[6] if use[:6] == b"SP\x07\x01\xbe\xef" else 0

    def _record(self, raw: bytes, skip: int) -> Record:
        if raw[1] or raw[26] or raw[27]:
            raise self._refused("", "extended attributes or interleaving")
        extent, size = _both32(raw[2:10], "an extent"), _both32(raw[10:18], "a size")
        length = raw[32]
        name, mode, special = "", 0, ""
        for kind, body in self._uses(raw[33 + length + (1 - length % 2) + skip :]):
            if kind == b"NM" and body and not body[0] & 0x06:
                name += body[1:].decode("ascii", "replace")
            elif kind == b"PX" and len(body) >= 8:
                mode = _both32(body[:8], "a mode")
            elif kind == b"SL":
                special = "symlink"
            elif kind in {b"CL", b"PL", b"RE"}:
                special = "relocated folder"
        if mode and not special and stat.S_IFMT(mode) not in {stat.S_IFREG, stat.S_IFDIR}:
            special = "device"
        if not name:
            name = raw[33 : 33 + length].decode("ascii", "replace")
        if len(name) > _MAX_NAME:
            raise self._refused(name, f"a name of more than {_MAX_NAME} bytes")
        if "/" in name or name in {".", ".."}:
            raise self._refused(name, "a name with a slash or dots alone")
        return Record(extent, size, raw[25], name, mode, special)

    def _uses(self, area: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield (signature, body) of the system use entries, continuations followed a bounded number of times."""
        for _ in range(_MAX_CONTINUATIONS):
            following = b""
            while len(area) >= 4 and area[2] >= 4 and area[:2] != b"ST":
                body = area[4 : area[2]]
                if area[:2] == b"CE" and len(body) >= 24:
                    following = body
                else:
                    yield area[:2], body
                area = area[area[2] :]
            if not following:
                return
            block, offset = _both32(following[:8], "a continuation"), _both32(following[8:16], "a continuation")
            size = _both32(following[16:24], "a continuation")
            if offset + size > BLOCK:
                raise self._refused("", "a continuation of names crosses a block")
            area = bytes(read_exact(self._source, block * BLOCK + offset, size))
        raise self._refused("", "continuations of names go round in a circle")

    def _refused(self, path: str, why: str) -> FormatError:
        where = f" at {path[:120]!a}" if path else ""
        return FormatError(f"{self._source.name} is not an image this loader reads{where}", why=why)


def _both32(field: bytes, what: str) -> int:
    little, big = struct.unpack("<I", field[:4])[0], struct.unpack(">I", field[4:8])[0]
    return _same(little, big, what)


def _both16(field: bytes, what: str) -> int:
    little, big = struct.unpack("<H", field[:2])[0], struct.unpack(">H", field[2:4])[0]
    return _same(little, big, what)


def _same(little: int, big: int, what: str) -> int:
    """ISO 9660 writes every number twice; an image where they differ shows each reader another file."""
    if little != big:
        raise FormatError(f"{what} of an ISO image is written in two ways", why=f"{little} and {big}")
    return little


class IsoDisc:
    """A disc as an ISO image: ``source`` is the image file or the device."""

    def __init__(self, source: ByteSource, name: str) -> None:
        self.name = name
        self._image = IsoImage(source)

    @property
    def label(self) -> str:
        """The volume label."""
        return self._image.label

    def entries(self) -> Mapping[str, str]:
        """Path of everything that is no folder -> its kind."""
        return self._image.kinds

    def open(self, path: str) -> Extent:
        """Open a regular file; ``FormatError`` for anything else."""
        kind = self._image.kinds.get(path)
        if kind != FILE:
            why = f"it is a {kind}" if kind else "no such file"
            raise FormatError(f"{path} on {self.name} is not a regular file", why=why)
        return self._image.open(path)
