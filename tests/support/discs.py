"""Media sets in memory: honest ones, and discs that are damaged, swapped, or fail while they are read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bundler.medium import Geometry
from loader.bundle import mediaset, parity
from loader.bundle.digest import sha256_hex
from loader.bundle.discs import FILE, Disc, DiscSet, open_set
from loader.bundle.errors import FormatError, StorageError
from loader.bundle.head import Head
from loader.bundle.mediaset import CHUNK, MediaSet, Segment, SetArchive, SetBundle, SetFile, Volume
from loader.bundle.verify import Trust
from loader.bundle.volumes import MediaSource
from loader.signing import Signer
from tests.support.bundles import full_recipe, make_signer, make_trust

SEGMENT = 2 * CHUNK


@dataclass
class MemoryFile:
    """A file on a disc; reads that touch a chunk of ``unreadable`` fail as a scratched disc does."""

    name: str
    data: bytes
    unreadable: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.size = len(self.data)

    def read_into(self, offset: int, view: memoryview) -> int:
        touched = set(range(offset // CHUNK, (offset + len(view) - 1) // CHUNK + 1))
        if touched & self.unreadable:
            raise StorageError(f"cannot read {self.name} at {offset}", why="Input/output error")
        part = self.data[offset : offset + len(view)]
        view[: len(part)] = part
        return len(part)


@dataclass
class MemoryDisc:
    """A disc in memory; ``kinds`` are entries that are no regular files."""

    name: str
    files: dict[str, bytes]
    kinds: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, frozenset[int]] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def entries(self) -> Mapping[str, str]:
        return {**dict.fromkeys(self.files, FILE), **self.kinds}

    def open(self, path: str) -> MemoryFile:
        self.opened.append(path)
        if path in self.kinds:
            raise FormatError(f"{path} on {self.name} is not a regular file", why=f"it is a {self.kinds[path]}")
        if path not in self.files:
            raise StorageError(f"{path} is not on {self.name}", why="no such file")
        return MemoryFile(path, self.files[path], self.unreadable.get(path, frozenset()))

    def flip(self, path: str, position: int) -> None:
        """Change one bit of a file."""
        data = bytearray(self.files[path])
        data[position] ^= 1
        self.files[path] = bytes(data)


@dataclass(frozen=True)
class MadeSet:
    """A set and what its discs hold."""

    media: MediaSet
    common: dict[str, bytes]
    shares: dict[str, dict[str, bytes]]
    signers: tuple[Signer, ...]

    def change(self, **fields: object) -> MadeSet:
        """The same with another ``set.json``, signed again: by someone who holds a trusted key."""
        return replace(self, media=replace(self.media, **fields))  # type: ignore[arg-type] # any field of it

    def disc(self, name: str, *, where: str = "") -> MemoryDisc:
        encoded = mediaset.encode(self.media)
        sums = mediaset.set_sums(self.media, encoded)
        files = {**self.common, **self.shares[name], "set.json": encoded, "SHA256SUMS": sums}
        files.update({f"SHA256SUMS.{signer.label}.sig": signer.sign(sums) for signer in self.signers})
        return MemoryDisc(where or f"disc-{name}", files)

    def discs(self, *names: str) -> list[MemoryDisc]:
        """The named discs, all without names."""
        return [self.disc(name) for name in names or self.shares]


def make_set(
    data: bytes,
    share: int,
    m: int,
    *,
    segment: int = SEGMENT,
    head: Head | None = None,
    signers: Sequence[Signer] = (),
    name: str = "demo",
    files: Mapping[str, bytes] | None = None,
) -> MadeSet:
    """Cut ``data`` into volumes of ``share`` bytes and add ``m`` parity discs."""
    geometry = Geometry(len(data), share, m, segment)
    volumes = {f"v{i + 1:02d}": data[i * share : (i + 1) * share] for i in range(geometry.k)}
    columns = list(volumes.values())
    rows: list[list[bytes]] = [[] for _ in range(m)]
    for start in range(0, min(share, len(data)), CHUNK):
        for row, part in enumerate(parity.encode([column[start : start + CHUNK] for column in columns], m)):
            rows[row].append(part)
    volumes.update({f"p{row + 1:02d}": b"".join(parts) for row, parts in enumerate(rows)})
    stem = f"{name}-1"
    shares = {
        volume: {
            mediaset.segment_name(stem, volume, number + 1): content[start : start + segment]
            for number, start in enumerate(range(0, len(content), segment))
        }
        for volume, content in volumes.items()
    }
    index = b"".join(
        hashlib.sha256(content[start : start + CHUNK]).digest()
        for content in volumes.values()
        for start in range(0, len(content), CHUNK)
    )
    entries = tuple(
        Volume(volume, tuple(Segment(path, len(part), sha256_hex(part)) for path, part in parts.items()))
        for volume, parts in shares.items()
    )
    head = head or Head(f"a list for {sha256_hex(data)}\n".encode("ascii"), (("builder", b"a signature"),), b"{}\n")
    common = {"README-VERIFY.txt": b"read me\n", "chunks.idx": index, **(files or {})}
    common.update({"bundle/SHA256SUMS": head.sums, "bundle/bundle.json": head.manifest})
    common.update({f"bundle/SHA256SUMS.{label}.sig": signature for label, signature in head.signatures})
    common.update({mediaset.list_path(volume.name): mediaset.volume_list(volume) for volume in entries})
    media = MediaSet(
        format_version=1,
        set_id=sha256_hex(index),
        program="airgap-bundler test",
        bundle=SetBundle(head.id, name, "1"),
        archive=SetArchive(f"{stem}.tar.zst", len(data), sha256_hex(data)),
        chunk_size=CHUNK,
        k=geometry.k,
        m=m,
        volumes=entries,
        files=tuple(SetFile(path, len(part), sha256_hex(part)) for path, part in sorted(common.items())),
    )
    return MadeSet(media, common, shares, tuple(signers) or (make_signer("builder"),))


@functools.cache
def bundle_set(m: int = 1) -> MadeSet:
    """The full recipe on three data discs of at most 2 MiB, and ``m`` parity discs."""
    recipe = full_recipe()
    documents = {path: data for path, data in recipe.contents.items() if path.startswith("documents/")}
    return make_set(recipe.archive(), 2 * CHUNK, m, segment=CHUNK, head=recipe.head, files=documents)


def opened(discs: Sequence[Disc], trust: Trust | None = None) -> DiscSet:
    """The set of ``discs``, under the builder's key unless told otherwise."""
    return open_set(discs, trust or make_trust())


def joined(discs: Sequence[Disc]) -> bytes:
    """The whole archive out of ``discs``."""
    source = MediaSource(opened(discs))
    data = bytearray(source.size)
    assert source.read_into(0, memoryview(data)) == source.size
    return bytes(data)
