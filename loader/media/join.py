"""The archive back from its discs, byte for byte, healed from parity where needed; from one drive disc by disc."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Optional

from loader.bundle import mediaset
from loader.bundle.archive import ByteSource, read_exact
from loader.bundle.discs import FILE
from loader.bundle.errors import ConfigError, MissingVolume, StorageError, TrustError
from loader.bundle.mediaset import CHUNK, MediaSet
from loader.bundle.volumes import FileSource, MediaSource, VolumeReader
from loader.media.drive import Drive, NotInserted, insert_line
from loader.media.healing import told
from loader.media.iso9660 import Extent
from loader.space import require_space

_BLOCK = 4 * CHUNK


class CopiedDisc:
    """What was copied so far, as a disc that carries the segments of every data volume."""

    def __init__(self, part: ByteSource, media: MediaSet) -> None:
        self.name = "what was copied before"
        self._part = part
        self._places: dict[str, tuple[int, int]] = {}
        start = 0
        for volume in media.volumes[: media.k]:
            for offset, segment in mediaset.spans(volume):
                self._places[segment.name] = (start + offset, segment.size)
            start += volume.size

    def entries(self) -> Mapping[str, str]:
        """Path of every segment -> its kind."""
        return dict.fromkeys(self._places, FILE)

    def open(self, path: str) -> Extent:
        """Open one segment: a range of the copy."""
        offset, size = self._places[path]
        return Extent(self._part, path, offset, size)


def join_archive(drive: Drive, target: Path, on_bytes: Callable[[int], None]) -> MediaSet:
    """Write the archive to ``target``, which must not exist; it stands there only when its SHA-256 matched.

    What the drives hold is copied in any order; where that is not enough, another disc is asked for. A run that is
    interrupted leaves a hidden file that the next one goes on from. Raises ``ConfigError`` for a target that
    exists, ``StorageError`` for a full disk, ``MissingVolume`` naming every lost disc when nobody can bring more.
    """
    if target.exists() or target.is_symlink():
        raise ConfigError(f"{target} exists", why="a file is never overwritten", hint="name another one with -o")
    part = target.with_name(f".{target.name}.part")
    require_space(part.parent, drive.media.archive.size, have=part.stat().st_blocks * 512 if part.exists() else 0)
    joining = _Joining(part, drive, on_bytes)
    missing = joining.copy()
    while missing is not None:
        wanted = joining.wanted()
        if not wanted:
            raise missing
        try:
            drive.change(wanted, joining.line(wanted))
        except NotInserted:
            raise missing from None
        missing = joining.copy()
    _finish(drive.media, part, target)
    return drive.media


class _Joining:
    """The copy, and which of its chunks are right."""

    def __init__(self, part: Path, drive: Drive, on_bytes: Callable[[int], None]) -> None:
        self._part = part
        self._drive = drive
        self._media = drive.media
        self._on_bytes = on_bytes
        self._done: set[tuple[int, int]] = set()
        self._seen: dict[str, int] = {}

    def copy(self) -> Optional[MissingVolume]:
        """Copy every chunk that can be read or healed; return the error of what can't be, None when all is there."""
        media, discs = self._media, self._drive.discs
        with self._open_part(media.archive.size) as stream, FileSource(str(self._part)) as copied:
            disc = CopiedDisc(copied, media)
            copies = {volume.name: (disc, *discs.copies.get(volume.name, ())) for volume in media.volumes[: media.k]}
            source = MediaSource(dataclasses.replace(discs, copies={**discs.copies, **copies}))
            for number in range(media.k):
                self._read(source, number, stream.fileno())
            if any(reader.copies for reader in source.parity):
                self._heal(source, stream.fileno())
            os.fsync(stream.fileno())
        self._seen.update((name, len(self._done)) for name in discs.copies)
        left = {name: count for name, count in self._left().items() if count}
        if not left:
            return None
        counts = (
            f"{name}: {count} chunks {'unreadable' if name in self._seen else 'missing'}"
            for name, count in left.items()
        )
        return MissingVolume(
            f"disc {', '.join(left)} of {media.name} is not here or not readable",
            why="; ".join([*counts, *discs.notes]),
            hint=self._next_line() or f"get another copy of disc {', '.join(left)}",
        )

    def _open_part(self, size: int) -> BinaryIO:
        try:
            stream = self._part.open("r+b" if self._part.exists() else "w+b")
            stream.truncate(size)
        except OSError as error:
            raise StorageError(f"cannot write {self._part}", why=error.strerror or str(error)) from error
        return stream

    def _read(self, source: MediaSource, number: int, fd: int) -> None:
        reader = source.data[number]
        start = sum(other.volume.size for other in source.data[:number])
        for chunk in self._missing(number, reader):
            data = bytearray(reader.size_of(chunk))
            if reader.read(chunk, memoryview(data)):
                self._keep(fd, start + chunk * CHUNK, data, (number, chunk))

    def _heal(self, source: MediaSource, fd: int) -> None:
        start = 0
        for number, reader in enumerate(source.data):
            for chunk in self._missing(number, reader):
                data = bytearray(reader.size_of(chunk))
                if _try_read(source, start + chunk * CHUNK, data):
                    self._keep(fd, start + chunk * CHUNK, data, (number, chunk))
            start += reader.volume.size

    def _missing(self, number: int, reader: VolumeReader) -> list[int]:
        return [chunk for chunk in range(reader.volume.chunks) if (number, chunk) not in self._done]

    def _keep(self, fd: int, offset: int, data: bytearray, key: tuple[int, int]) -> None:
        try:
            os.pwrite(fd, data, offset)
        except OSError as error:
            raise StorageError(f"cannot write {self._part}", why=error.strerror or str(error)) from error
        self._done.add(key)
        self._on_bytes(len(data))

    def _left(self) -> dict[str, int]:
        """How many chunks of each data volume are still to come."""
        media = self._media
        counts = [volume.chunks for volume in media.volumes[: media.k]]
        for number, _ in self._done:
            counts[number] -= 1
        return {volume.name: count for volume, count in zip(media.volumes, counts)}

    def wanted(self) -> list[str]:
        """The discs that could help, none when there is none: those not seen yet first, then parity."""
        left = self._left()
        fresh = [name for name, count in left.items() if count and name not in self._seen]
        # Parity that came before more was copied may heal now what it could not then.
        parity = [v.name for v in self._media.volumes[self._media.k :] if self._seen.get(v.name, -1) < len(self._done)]
        return [*fresh, *parity]

    def line(self, wanted: Sequence[str]) -> str:
        """The line that asks for the first of ``wanted``, and says what could not be read so far."""
        counts = {name: count for name, count in self._left().items() if count and name in self._seen}
        line = insert_line(self._media, wanted[0], wanted[1:])
        return f"{told(counts)}. {line}" if counts else line

    def _next_line(self) -> str:
        wanted = self.wanted()
        return self.line(wanted) if wanted else ""


def _try_read(source: MediaSource, offset: int, data: bytearray) -> bool:
    try:
        source.read_into(offset, memoryview(data))
    except MissingVolume:
        return False
    return True


def _finish(media: MediaSet, part: Path, target: Path) -> None:
    running = hashlib.sha256()
    with FileSource(str(part)) as source:
        buffer = bytearray(_BLOCK)
        for offset in range(0, source.size, _BLOCK):
            running.update(read_exact(source, offset, min(_BLOCK, source.size - offset), buffer))
    if running.hexdigest() != media.archive.sha256:
        part.unlink()
        raise TrustError(
            f"{target.name} does not match the SHA-256 of {media.archive.name}",
            why=f"expected {media.archive.sha256}, got {running.hexdigest()}",
        )
    part.replace(target)
