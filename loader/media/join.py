"""The archive back from its discs, byte for byte, healed from parity where needed; from one drive disc by disc."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Optional

from loader.alone import alone_in
from loader.bundle import mediaset
from loader.bundle.archive import ByteSource, read_exact
from loader.bundle.discs import FILE
from loader.bundle.errors import ConfigError, MissingVolume, StorageError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.mediaset import CHUNK, MediaSet
from loader.bundle.pieces import Buffers
from loader.bundle.volumes import MISSING, MediaSource, VolumeReader
from loader.media.drive import Drive, NotInserted, insert_line
from loader.media.healing import told
from loader.media.iso9660 import Extent
from loader.space import require_space
from loader.writeback import WriteBack

_BLOCK = 4 * CHUNK
_THREADS = 2  # one reads or writes while the other hashes


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


def join_archive(drive: Drive, target: Path, on_bytes: Callable[[int], None], *, option: str = "with -o") -> MediaSet:
    """Write the archive to ``target``, which must not exist; it stands there only when its SHA-256 matched.

    What the drives hold is copied in any order; where that is not enough, another disc is asked for. A run that is
    interrupted leaves a hidden file that the next one goes on from. ``option``: how to name another place. Raises
    ``ConfigError`` for a target that exists, ``StorageError`` for a full disk, ``MissingVolume`` naming every lost
    disc when nobody can bring more.
    """
    part = target.with_name(f".{target.name}.part")
    # A folder is locked, and not the file: on SMB nothing else could read or write that.
    with alone_in(target.with_name(f".{target.name}.lock"), hidden=True, parents=False):
        # Looked at under the lock: another run may just have finished it.
        if target.exists() or target.is_symlink():
            raise ConfigError(f"{target} exists", why="a file is never overwritten", hint=f"name another one {option}")
        have = part.stat().st_blocks * 512 if part.exists() else 0
        require_space(part.parent, drive.media.archive.size, have=have, option=option)
        _copy_all(drive, _Joining(part, drive, on_bytes))
        _finish(drive.media, part, target)
    return drive.media


def _copy_all(drive: Drive, joining: _Joining) -> None:
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


@dataclasses.dataclass(frozen=True)
class _Copy:
    """Where chunks go: the file, what is told of bytes written, and the threads that read, check and write."""

    fd: int
    wrote: Callable[[int], None]
    pool: Executor


class _Joining:
    """The copy, and which of its chunks are right."""

    def __init__(self, part: Path, drive: Drive, on_bytes: Callable[[int], None]) -> None:
        self._part = part
        self._drive = drive
        self._media = drive.media
        self._on_bytes = on_bytes
        self._buffers = Buffers(CHUNK)
        self._done: set[tuple[int, int]] = set()
        self._seen: dict[str, int] = {}

    def copy(self) -> Optional[MissingVolume]:
        """Copy every chunk that can be read or healed; return the error of what can't be, None when all is there."""
        media, discs, resumed = self._media, self._drive.discs, self._part.exists()
        with self._open_part(media.archive.size) as stream, FileSource(str(self._part)) as part:
            with WriteBack(stream.fileno(), str(self._part)) as back, ThreadPoolExecutor(_THREADS) as pool:
                copy = _Copy(stream.fileno(), back.wrote, pool)
                self._read(copy, self._with_part(part) if resumed else MediaSource(discs))
                source = self._with_part(part)
                if any(reader.copies for reader in source.parity):
                    self._heal(copy, source)
            _sync(stream.fileno(), self._part)
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
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            stream = os.fdopen(os.open(self._part, flags, 0o644), "r+b")
            stream.truncate(size)
        except OSError as error:
            raise StorageError(f"cannot write {self._part}", why=error.strerror or str(error)) from error
        return stream

    def _with_part(self, part: ByteSource) -> MediaSource:
        """The discs at hand, and what was copied as one more disc that comes first."""
        discs, disc = self._drive.discs, CopiedDisc(part, self._media)
        data = self._media.volumes[: self._media.k]
        copies = {volume.name: (disc, *discs.copies.get(volume.name, ())) for volume in data}
        return MediaSource(dataclasses.replace(discs, copies={**discs.copies, **copies}))

    def _read(self, copy: _Copy, source: MediaSource) -> None:
        def read(number: int, chunk: int, view: memoryview) -> bool:
            return source.data[number].read(chunk, view)

        self._each(copy, source, read)

    def _heal(self, copy: _Copy, source: MediaSource) -> None:
        for number, reader in enumerate(source.data):
            # What was copied was checked then, and what is rebuilt of it is checked; the rest can't be read.
            reader.proven = {chunk for other, chunk in self._done if other == number}
            reader.damage = dict.fromkeys(self._missing(number, reader), MISSING)

        def heal(number: int, chunk: int, view: memoryview) -> bool:
            try:
                source.read_into(source.start(number) + chunk * CHUNK, view)
            except MissingVolume:
                return False
            return True

        self._each(copy, source, heal)

    def _each(self, copy: _Copy, source: MediaSource, get: Callable[[int, int, memoryview], bool]) -> None:
        """Have ``get`` fill in every chunk that is missing so far, some at a time in the archive's order."""

        def one(number: int, chunk: int) -> None:
            with self._buffers.taken() as buffer:
                view = buffer[: source.data[number].size_of(chunk)]
                if get(number, chunk, view):
                    self._keep(copy, source.start(number) + chunk * CHUNK, view)
                    self._done.add((number, chunk))

        work = [
            copy.pool.submit(one, number, chunk)
            for number, reader in enumerate(source.data)
            for chunk in self._missing(number, reader)
        ]
        try:
            for done in work:
                done.result()
        finally:
            for waiting in work:
                waiting.cancel()

    def _missing(self, number: int, reader: VolumeReader) -> list[int]:
        return [chunk for chunk in range(reader.volume.chunks) if (number, chunk) not in self._done]

    def _keep(self, copy: _Copy, offset: int, view: memoryview) -> None:
        try:
            os.pwrite(copy.fd, view, offset)
        except OSError as error:
            raise StorageError(f"cannot write {self._part}", why=error.strerror or str(error)) from error
        copy.wrote(len(view))
        self._on_bytes(len(view))

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


def _sync(fd: int, path: Path) -> None:
    try:
        os.fsync(fd)
    except OSError as error:
        raise StorageError(f"cannot write {path}", why=error.strerror or str(error)) from error


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
