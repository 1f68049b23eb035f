"""Small ISO 9660 images with Rock Ridge names, made byte by byte so that any field can lie."""

from __future__ import annotations

import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

BLOCK = 2048
SP = b"SP\x07\x01\xbe\xef\x00"


def both32(value: int) -> bytes:
    return struct.pack("<I", value) + struct.pack(">I", value)


def both16(value: int) -> bytes:
    return struct.pack("<H", value) + struct.pack(">H", value)


def use(kind: bytes, body: bytes) -> bytes:
    """A system use entry."""
    return kind + bytes([4 + len(body), 1]) + body


def named(name: str, flags: int = 0) -> bytes:
    return use(b"NM", bytes([flags]) + name.encode())


def mode(value: int) -> bytes:
    return use(b"PX", both32(value) + both32(1) + both32(0) * 2)


@dataclass
class Entry:
    """A file or folder of an image; ``uses`` replaces its Rock Ridge entries, ``extent`` and ``size`` its place."""

    data: bytes = b""
    inside: dict[str, Entry] = field(default_factory=dict)
    folder: bool = False
    flags: int = 0
    uses: bytes | None = None
    extent: int | None = None
    size: int | None = None
    raw: Mapping[int, int] = field(default_factory=dict)


def folder(**inside: Entry) -> Entry:
    return Entry(inside=inside, folder=True, flags=2)


def record(name: bytes, extent: int, size: int, flags: int, uses: bytes, raw: Mapping[int, int]) -> bytes:
    """A directory record; ``raw`` overwrites single bytes of it."""
    body = b"\0" + both32(extent) + both32(size) + bytes(7) + bytes([flags, 0, 0]) + both16(1)
    body += bytes([len(name)]) + name + (b"" if len(name) % 2 else b"\0") + uses
    body += b"" if len(body) % 2 else b"\0"
    whole = bytearray([len(body) + 1]) + body
    for position, value in raw.items():
        whole[position] = value
    return bytes(whole)


class _Writer:
    def __init__(self, rock_ridge: bool) -> None:
        self.blocks: list[bytes] = [bytes(BLOCK)] * 18
        self.rock_ridge = rock_ridge

    def place(self, data: bytes) -> int:
        first = len(self.blocks)
        for start in range(0, len(data), BLOCK):
            self.blocks.append(data[start : start + BLOCK].ljust(BLOCK, b"\0"))
        return first

    def add(self, entry: Entry, *, root: bool = False) -> tuple[int, int]:
        """Write an entry and what is in it; return extent and size."""
        found = self._add_folder(entry, root) if entry.folder else (self.place(entry.data), len(entry.data))
        return (found[0] if entry.extent is None else entry.extent, found[1] if entry.size is None else entry.size)

    def _add_folder(self, entry: Entry, root: bool) -> tuple[int, int]:
        placed = {name: self.add(one) for name, one in entry.inside.items()}
        start = (SP if self.rock_ridge else b"") if root else b""
        packed = [b""]
        here = len(self.blocks)
        rows = [record(b"\0", here, BLOCK, 2, start, {}), record(b"\1", here, BLOCK, 2, b"", {})]
        for name, one in entry.inside.items():
            kind = stat.S_IFDIR if one.folder else stat.S_IFREG
            uses = (named(name) + mode(kind | 0o444) if self.rock_ridge else b"") if one.uses is None else one.uses
            short = name.upper().encode()[:20]
            rows.append(record(short, *placed[name], one.flags, uses, one.raw))
        for row in rows:
            if len(packed[-1]) + len(row) > BLOCK:
                packed.append(b"")
            packed[-1] += row
        data = b"".join(block.ljust(BLOCK, b"\0") for block in packed)
        return self.place(data), len(data)


def make_iso(root: Entry, *, rock_ridge: bool = True, label: str = "DEMO", block_size: int = BLOCK) -> bytes:
    """The image of ``root``, which is a folder."""
    writer = _Writer(rock_ridge)
    extent, size = writer.add(root, root=True)
    descriptor = bytearray(BLOCK)
    descriptor[0:7] = b"\1CD001\1"
    descriptor[40:72] = label.encode().ljust(32)
    descriptor[80:88] = both32(len(writer.blocks))
    descriptor[128:132] = both16(block_size)
    descriptor[156:190] = record(b"\0", extent, size, 2, b"", {})[:34]
    writer.blocks[16] = bytes(descriptor)
    writer.blocks[17] = b"\xffCD001\1".ljust(BLOCK, b"\0")
    return b"".join(writer.blocks)


def tree(files: Mapping[str, bytes]) -> Entry:
    """The folders and files of ``files`` by path."""
    root = folder()
    for path, data in files.items():
        *parts, name = path.split("/")
        here = root
        for part in parts:
            here = here.inside.setdefault(part, folder())
        here.inside[name] = Entry(data)
    return root
