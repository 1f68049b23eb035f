"""What media hold, and how an archive is cut for them: the one calculation that ``plan`` and ``media`` share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from loader.bundle.errors import ConfigError
from loader.bundle.limits import MIB
from loader.bundle.mediaset import CHUNK, HASH, MAX_DATA, MAX_DISCS, MAX_PARITY, MAX_SEGMENTS, SEGMENT, volume_names
from loader.units import human

# Usable bytes, a little below the smallest disc of each kind on the market: sectors by dvdisaster's tables and
# capacity sheets, Blu-ray with the spare area that most drives format by default.
MEDIA = {
    "cd": 730_000_000,
    "dvd": 4_690_000_000,
    "dvd-dl": 8_480_000_000,
    "bd25": 24_200_000_000,
    "bd50": 48_400_000_000,
    "bd100": 96_800_000_000,
    # A stick's size is its own: it takes the set as one volume, in files that FAT32 can hold.
    "usb-fat32": 2_000_000_000_000,
}
_UNITS = {"": 1, "MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
_SIZE = re.compile(r"([0-9]{1,15})(MB|GB|MiB|GiB)?")
_FILE_SYSTEM = 512 * 1024  # ISO 9660: 183 sectors with the default padding, and folders
_PER_FILE = 4096  # the end of its last block, its directory records in ISO 9660, Rock Ridge and Joliet
_SIGNATURES = 64 * 1024  # for those that are attached later
_READMES = 32 * 1024
_PAGE = 16 * 1024  # the page's frame; its tables take no more than the manifest they are made of, twice
_OTHERS = 12  # bundle.json, lists, signatures, texts, page, index, loader, keys
_PER_SEGMENT = 1024  # in set.json, in the volume's list, in the texts
# Room that is kept on every disc: as many data discs are needed with a loader and parity as without, as `plan` counts.
_LOADER = 4 * MIB
_LOADER_SHARE = 100  # of the disc's bytes one in so many at most
_PARITY = 4
_MANY_PARITY = 29  # beside 99 data discs; their lists and hashes take a tenth of a percent of a real medium at most
_MANY_SHARE = 500


@dataclass(frozen=True)
class Geometry:
    """Sizes of the volumes: ``k`` data discs of ``share`` bytes, the last one what is left, and ``m`` parity discs."""

    size: int
    share: int
    m: int
    segment: int = SEGMENT

    @property
    def k(self) -> int:
        """Number of data discs."""
        return -(-self.size // self.share)

    @property
    def names(self) -> list[str]:
        """``v01`` … then ``p01`` …."""
        return volume_names(self.k, self.m)

    def volume_size(self, name: str) -> int:
        """Bytes of a volume; a parity disc is as long as the longest data disc."""
        number = int(name[1:])
        if name[0] == "v" and number == self.k:
            return self.size - (number - 1) * self.share
        return min(self.share, self.size)

    def segments(self, name: str) -> list[int]:
        """Sizes of a volume's segments."""
        size = self.volume_size(name)
        return [min(self.segment, size - start) for start in range(0, size, self.segment)]


@dataclass(frozen=True)
class CommonFiles:
    """What every disc carries beside its segments: how many files known now, their bytes, and the loader's."""

    count: int
    size: int
    loader: int = 0


def common_files(head: int, documents: Sequence[int], loader: int = 0) -> CommonFiles:
    """What stands on every disc of a bundle, as ``plan`` and ``media`` both count it.

    ``head`` is the bytes of ``SHA256SUMS`` and ``bundle.json``, ``documents`` the size of each. The page about them,
    keys and texts are counted generously: they are written after the cut.
    """
    return CommonFiles(len(documents) + _OTHERS, 3 * head + sum(documents) + _PAGE, loader)


def parse_size(text: str) -> int:
    """Return bytes for ``N``, ``NMB``, ``NMiB``, ``NGB`` or ``NGiB``."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"{text[:40]!a} is not a size", why="a whole number with MB, MiB, GB or GiB", hint="for example 4690MB"
        )
    return int(match[1]) * _UNITS[match[2] or ""]


def capacity_of(medium: str) -> int:
    """Return the usable bytes of ``medium``; ``ConfigError`` lists the known ones."""
    if medium not in MEDIA:
        raise ConfigError(
            f"--medium {medium[:40]} is not known",
            why="its size is not in our table",
            hint=f"one of {', '.join(MEDIA)}, or --volume-size",
        )
    return MEDIA[medium]


def cut(size: int, capacity: int, m: int, common: CommonFiles) -> Geometry:
    """Return how an archive of ``size`` bytes is cut: as few discs of ``capacity`` as hold it, evenly filled.

    Raises ``ConfigError`` when a disc can't hold what every disc must carry, or too many are needed.
    """
    if not 0 <= m <= MAX_PARITY:
        raise ConfigError(f"--parity {m}: 0 to {MAX_PARITY} parity discs", why="the format has no room for more")
    chunks = -(-size // CHUNK)
    room = replace(common, loader=max(common.loader, min(_LOADER, capacity // _LOADER_SHARE)))
    for k in range(1, min(MAX_DATA, MAX_DISCS - m, chunks) + 1):
        geometry = Geometry(size, -(-chunks // k) * CHUNK, m)
        fits = geometry.share + _kept(geometry, room, capacity) <= capacity
        if fits and len(geometry.segments("v01")) <= MAX_SEGMENTS:
            return geometry
    raise ConfigError(
        f"{human(size)} do not fit on discs of {human(capacity)}",
        why=f"a set has at most {MAX_DATA} data discs and {MAX_DISCS} in all; "
        f"each carries {human(common.size + common.loader)} beside",
        hint="take a larger medium",
    )


def _kept(geometry: Geometry, room: CommonFiles, capacity: int) -> int:
    """What is kept free beside a share: the same for any number of parity discs that the medium has room for."""
    usual, many = (overhead(replace(geometry, m=m), room) for m in (_PARITY, _MANY_PARITY))
    needed = overhead(geometry, room) if geometry.m > _PARITY else usual
    return max(needed, min(many, usual + capacity // _MANY_SHARE))


def overhead(geometry: Geometry, common: CommonFiles) -> int:
    """Upper bound of what a disc holds beside its share: files, index, lists, signatures, file system."""
    names: Sequence[str] = geometry.names
    segments = sum(len(geometry.segments(name)) for name in names)
    chunks = sum(-(-geometry.volume_size(name) // CHUNK) for name in names)
    files = common.count + len(names) + segments + 24
    return (
        common.size
        + common.loader
        + chunks * HASH
        + segments * _PER_SEGMENT
        + image_overhead(files)
        + _SIGNATURES
        + _READMES
    )


def image_overhead(files: int) -> int:
    """Upper bound of what an ISO image of so many files takes beside their bytes."""
    return files * _PER_FILE + _FILE_SYSTEM
