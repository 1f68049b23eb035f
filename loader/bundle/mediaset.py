"""The types of ``set.json`` and what it may say (format.md section 3).

A media set is an archive cut into volumes, one per disc, with parity discs over them. Everything a disc
carries beside its own segments stands on every disc and in the set's list, which is made from ``set.json``
and never parsed. All functions raise ``FormatError`` naming the entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from loader.bundle import strictjson
from loader.bundle.digest import is_hex, sha256_hex
from loader.bundle.errors import FormatError
from loader.bundle.head import LABEL, SUMS, signature_label
from loader.bundle.limits import MAX_DOCUMENT, MAX_HEAD_FILE, MAX_MEMBERS, MAX_SIGNATURE, MIB
from loader.bundle.rules import NAME, VERSION
from loader.bundle.tarlayout import check_name

SET = "set.json"
INDEX = "chunks.idx"
LOADER = "airgap-loader.pyz"
CHUNK = MIB
HASH = 32
SEGMENT = 1024 * MIB  # default size of a segment
MAX_SEGMENT = 2048 * MIB  # FAT32 ends at 4 GiB - 1, and ISO readers return wrong data beyond 4 GiB
MAX_SEGMENTS = 999
MAX_DATA = 99
MAX_PARITY = 99  # two digits as well: the glob NAME.p??.s??? must match them all
MAX_DISCS = 128
MAX_LOADER = 64 * MIB
_TEXTS = frozenset({"README-VERIFY.txt", "README-BY-HAND.txt", "report.html", LOADER})
_KEY = re.compile(rf"keys/{LABEL.pattern}\.pub")
_NEEDED = (INDEX, f"bundle/{SUMS}", "bundle/bundle.json")


@dataclass(frozen=True)
class SetBundle:
    """The bundle inside: its id, name and version."""

    id: str
    name: str
    version: str


@dataclass(frozen=True)
class SetArchive:
    """The archive as one file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Segment:
    """One file of a disc's share."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Volume:
    """One disc's share: its segments in order. ``name`` is ``v01`` … for data, ``p01`` … for parity."""

    name: str
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Bytes of the share."""
        return sum(segment.size for segment in self.segments)

    @property
    def chunks(self) -> int:
        """How many chunks the share has; the last one may be short."""
        return -(-self.size // CHUNK)


@dataclass(frozen=True)
class SetFile:
    """A file that stands on every disc."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class MediaSet:
    """``set.json``. ``volumes`` are the ``k`` data discs, then the ``m`` parity discs."""

    format_version: int
    set_id: str
    program: str
    bundle: SetBundle
    archive: SetArchive
    chunk_size: int
    k: int
    m: int
    volumes: tuple[Volume, ...]
    files: tuple[SetFile, ...]

    @property
    def name(self) -> str:
        """``NAME-VERSION``, with which every segment's name begins."""
        return f"{self.bundle.name}-{self.bundle.version}"

    @property
    def first_chunks(self) -> list[int]:
        """The number of each volume's first chunk in the index, and of the end."""
        return [0, *accumulate(volume.chunks for volume in self.volumes)]


def encode(media: MediaSet) -> bytes:
    """Return the canonical bytes of ``media``."""
    return strictjson.encode(media)


def decode(data: bytes) -> MediaSet:
    """Return the set that ``data`` is the canonical form of, its values checked."""
    media = strictjson.decode(MediaSet, data, SET)
    check_media_set(media)
    return media


def volume_names(k: int, m: int) -> list[str]:
    """``v01`` … then ``p01`` …."""
    return [*(f"v{number:02d}" for number in range(1, k + 1)), *(f"p{number:02d}" for number in range(1, m + 1))]


def segment_name(stem: str, volume: str, number: int) -> str:
    """Name of a volume's segment, counted from 1: zero-padded, so that a glob's order is the order of the bytes."""
    return f"{stem}.{volume}.s{number:03d}"


def label(media_bundle: SetBundle, volume: str) -> str:
    """The volume label of a disc, at most 15 of ``A-Z 0-9 _``: name, start of the bundle id, disc."""
    stem = re.sub("[^A-Z0-9]", "", media_bundle.name.upper())[:6]
    return f"{stem}_{media_bundle.id[:4].upper()}_{volume.upper()}"


def volume_list(volume: Volume) -> bytes:
    """``volumes/vNN.sha256``: one line per segment of the disc."""
    return "".join(f"{segment.sha256}  {segment.name}\n" for segment in volume.segments).encode("ascii")


def list_path(volume: str) -> str:
    """Where the list of a disc's segments stands."""
    return f"volumes/{volume}.sha256"


def set_sums(media: MediaSet, set_json: bytes) -> bytes:
    """The set's ``SHA256SUMS``, made from ``media``: a ``set.json`` line where a bundle's list has ``bundle.json``."""
    lines = [f"{file.sha256}  {file.path}\n" for file in media.files]
    lines.append(f"{sha256_hex(set_json)}  {SET}\n")
    return "".join(sorted(lines)).encode("ascii")


def check_media_set(media: MediaSet) -> None:
    """Check every value of ``media``."""
    _require(media.format_version == 1, "formatVersion", str(media.format_version), "this loader reads version 1")
    _require(is_hex(media.set_id), "setId", media.set_id, "64 hex digits")
    _require(is_hex(media.bundle.id), "bundle.id", media.bundle.id, "64 hex digits")
    _require(NAME.fullmatch(media.bundle.name) is not None, "bundle.name", media.bundle.name, "it breaks its pattern")
    version = media.bundle.version
    _require(VERSION.fullmatch(version) is not None, "bundle.version", version, "it breaks its pattern")
    archive = media.archive
    _require(archive.name == f"{media.name}.tar.zst", "archive.name", archive.name, "it follows from name and version")
    _require(is_hex(archive.sha256), "archive.sha256", archive.sha256, "64 hex digits")
    _require(media.chunk_size == CHUNK, "chunkSize", str(media.chunk_size), f"chunks are {CHUNK} bytes")
    _check_geometry(media)
    _check_files(media)


def _require(ok: bool, where: str, value: str, rule: str) -> None:
    if not ok:
        raise FormatError(f"{SET} {where} is not allowed: {value[:120]!a}", why=rule)


def _check_geometry(media: MediaSet) -> None:
    k, m = media.k, media.m
    _require(1 <= k <= MAX_DATA, "k", str(k), f"1 to {MAX_DATA} data discs")
    _require(m <= MAX_PARITY and k + m <= MAX_DISCS, "m", str(m), f"at most {MAX_DISCS} discs in all")
    names = ", ".join(volume.name for volume in media.volumes[:MAX_DISCS])
    _require([v.name for v in media.volumes] == volume_names(k, m), "volumes", names, "v01 to k, then p01 to m")
    for volume in media.volumes:
        _check_segments(media.name, volume)
    data = [volume.size for volume in media.volumes[:k]]
    _require(sum(data) == media.archive.size, "archive.size", str(media.archive.size), "what the data discs add up to")
    for volume in media.volumes[k:]:
        _require(
            volume.size == max(data), f"volumes {volume.name}", str(volume.size), "as long as the longest data disc"
        )
    chunks = media.first_chunks[-1]
    _require(chunks * HASH <= MAX_HEAD_FILE, "volumes", str(chunks), f"{INDEX} is at most {MAX_HEAD_FILE} bytes")


def _check_segments(stem: str, volume: Volume) -> None:
    where = f"volumes {volume.name}"
    count = len(volume.segments)
    _require(1 <= count <= MAX_SEGMENTS, where, str(count), f"1 to {MAX_SEGMENTS} segments")
    for number, segment in enumerate(volume.segments, 1):
        _require(
            segment.name == segment_name(stem, volume.name, number), where, segment.name, "names follow the number"
        )
        _require(1 <= segment.size <= MAX_SEGMENT, where, segment.name, f"1 to {MAX_SEGMENT} bytes")
        # Only the last one may end within a chunk: each chunk then stands in one file.
        whole = segment.size % CHUNK == 0 or number == count
        _require(whole, where, segment.name, "only the last segment has a part of a chunk")
        _require(is_hex(segment.sha256), where, segment.name, "its sha256 is 64 hex digits")


def _check_files(media: MediaSet) -> None:
    paths = [file.path for file in media.files]
    _require(len(paths) <= MAX_MEMBERS, "files", str(len(paths)), f"at most {MAX_MEMBERS} files")
    _require(paths == sorted(set(paths)), "files", ", ".join(paths[:8]), "sorted, each path once")
    folded = {path.lower() for path in paths}
    _require(len(folded) == len(paths), "files", ", ".join(paths[:8]), "two paths differ only by case")
    lists = {list_path(volume.name): volume_list(volume) for volume in media.volumes}
    for file in media.files:
        check_name(file.path)
        limit = MAX_HEAD_FILE if file.path in lists else _cap(file.path)
        _require(file.size <= limit, "files", file.path, "not a file of a disc, or too large")
        _require(is_hex(file.sha256), "files", file.path, "its sha256 is 64 hex digits")
    known = {file.path: (file.size, file.sha256) for file in media.files}
    for path in (*_NEEDED, *lists):
        _require(path in known, "files", path, "it is missing")
    for path, data in lists.items():
        _require(known[path] == (len(data), sha256_hex(data)), "files", path, "it disagrees with volumes")
    index = (media.first_chunks[-1] * HASH, media.set_id)
    _require(known[INDEX] == index, "files", INDEX, "one hash per chunk, and its own hash is the set id")
    _require(known[f"bundle/{SUMS}"][1] == media.bundle.id, "bundle.id", media.bundle.id, f"the hash of bundle/{SUMS}")


def _cap(path: str) -> int:
    """The largest size a common file may have, -1 for a path that has no place on a disc."""
    folder, _, name = path.rpartition("/")
    if path in _TEXTS:
        return MAX_LOADER
    if path in _NEEDED:
        return MAX_HEAD_FILE
    if folder == "bundle" and signature_label(name) is not None:
        return MAX_SIGNATURE
    if path.startswith("documents/"):
        return MAX_DOCUMENT
    return MAX_SIGNATURE if _KEY.fullmatch(path) else -1


def spans(volume: Volume) -> Iterator[tuple[int, Segment]]:
    """Yield each segment with the offset at which it begins in its volume."""
    offset = 0
    for segment in volume.segments:
        yield offset, segment
        offset += segment.size
