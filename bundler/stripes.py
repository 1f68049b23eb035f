"""An archive on its way to discs: hashed from end to end and, at the same time, by chunk and segment, with parity."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from bundler.medium import Geometry
from loader.bundle import mediaset, parity
from loader.bundle.archive import read_exact
from loader.bundle.errors import StorageError, TrustError
from loader.bundle.mediaset import CHUNK, Segment, Volume
from loader.bundle.volumes import FileSource

_WORKERS = 3  # one of them is busy with the whole archive


@dataclass
class ArchiveSums:
    """Every hash of a set: of the archive, of each chunk and each segment by volume."""

    sha256: str
    chunks: dict[str, list[bytes]]
    segments: dict[str, list[str]] = field(default_factory=dict)

    def index(self) -> bytes:
        """``chunks.idx``: the chunks of v01 …, then those of p01 …."""
        return b"".join(digest for hashes in self.chunks.values() for digest in hashes)

    def volumes(self, stem: str, geometry: Geometry) -> tuple[Volume, ...]:
        """The volumes with their segments, as ``set.json`` has them."""
        return tuple(
            Volume(
                name,
                tuple(
                    Segment(mediaset.segment_name(stem, name, number), size, sha256)
                    for number, (size, sha256) in enumerate(zip(geometry.segments(name), self.segments[name]), 1)
                ),
            )
            for name in geometry.names
        )


class _Column:
    """One volume as its chunks come in order: their hashes, its segments' hashes, and its segments written."""

    def __init__(self, sizes: list[int], writer: Optional[SegmentWriter]) -> None:
        self.chunks: list[bytes] = []
        self.segments: list[str] = []
        self._sizes = sizes
        self._writer = writer
        self._running = hashlib.sha256()
        self._done = 0

    def take(self, chunk: bytes | memoryview) -> None:
        """Take the next chunk; none stands in two segments."""
        self.chunks.append(hashlib.sha256(chunk).digest())
        self._running.update(chunk)
        self._done += len(chunk)
        if self._done == self._sizes[len(self.segments)]:
            self.segments.append(self._running.hexdigest())
            self._running, self._done = hashlib.sha256(), 0
        if self._writer is not None:
            self._writer.write(chunk)


def read_archive(
    archive: Path,
    geometry: Geometry,
    folders: Mapping[str, Path],
    *,
    stem: str,
    on_bytes: Callable[[int], None],
) -> ArchiveSums:
    """Read ``archive`` from end to end for its own hash and, beside that, stripe by stripe for all the others.

    Parity is made on the way, and the segments of every volume in ``folders`` are written.
    """
    stop = threading.Event()
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(SegmentWriter(folder, stem, name, geometry.segments(name)))
            for name, folder in folders.items()
        }
        columns = {name: _Column(geometry.segments(name), writers.get(name)) for name in geometry.names}
        source = stack.enter_context(FileSource(str(archive)))
        # hashlib lets go of the interpreter lock, which leaves it to parity.
        pool = stack.enter_context(ThreadPoolExecutor(_WORKERS, thread_name_prefix="hash"))
        stack.callback(stop.set)
        whole = pool.submit(_whole, archive, stop)
        buffers = [bytearray(CHUNK) for _ in range(geometry.k)]
        for chunk in range(-(-geometry.volume_size("v01") // CHUNK)):
            stripe = _read_stripe(source, geometry, chunk, buffers)
            _take_stripe(pool, columns, geometry, stripe)
            on_bytes(sum(map(len, stripe)))
        sha256 = whole.result()
    chunks = {name: column.chunks for name, column in columns.items()}
    return ArchiveSums(sha256, chunks, {name: column.segments for name, column in columns.items()})


def _take_stripe(
    pool: ThreadPoolExecutor, columns: Mapping[str, _Column], geometry: Geometry, stripe: list[memoryview]
) -> None:
    """Let every volume take its chunk of a stripe, all at once; a column sees its chunks in order."""
    work = [pool.submit(columns[name].take, part) for name, part in zip(geometry.names, stripe) if len(part)]
    if geometry.m:
        rows = zip(geometry.names[geometry.k :], parity.encode(stripe, geometry.m))
        work += [pool.submit(columns[name].take, row) for name, row in rows]
    for done in work:
        done.result()


def _read_stripe(source: FileSource, geometry: Geometry, chunk: int, buffers: list[bytearray]) -> list[memoryview]:
    sizes = [max(0, min(CHUNK, geometry.volume_size(name) - chunk * CHUNK)) for name in geometry.names[: geometry.k]]
    return [
        read_exact(source, number * geometry.share + chunk * CHUNK, size, buffers[number])
        for number, size in enumerate(sizes)
    ]


@contextlib.contextmanager
def unchanged(archive: Path) -> Iterator[None]:
    """Raise ``TrustError`` when ``archive`` was written to or replaced while the block lasted: it is read twice."""
    before = _state(archive)
    yield
    if _state(archive) != before:
        raise TrustError(
            f"{archive} changed while it was read",
            why="its size or time of change is another than before",
            hint="make the set again when nothing writes to the archive",
        )


def _state(archive: Path) -> tuple[int, int, int]:
    found = archive.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


class SegmentWriter:
    """Writes one volume's chunks into its segments, each synced when it is full."""

    def __init__(self, folder: Path, stem: str, volume: str, sizes: list[int]) -> None:
        self._paths = [folder / mediaset.segment_name(stem, volume, number) for number in range(1, len(sizes) + 1)]
        self._sizes = sizes
        self._fd = -1
        self._current = -1
        self._left = 0

    def write(self, chunk: bytes | memoryview) -> None:
        """Append one chunk; ``StorageError`` for a full disk."""
        try:
            if not self._left:
                self._next()
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise StorageError(
                f"cannot write {self._paths[self._current]}", why=error.strerror or str(error), hint="free some space"
            ) from error
        self._left -= len(chunk)

    def _next(self) -> None:
        self._finish()
        self._current += 1
        path = self._paths[self._current]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._left = self._sizes[self._current]

    def _finish(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._finish()
        except OSError as error:
            if kind is None:
                raise StorageError(f"cannot write {self._paths[self._current]}", why=str(error)) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    return _whole(path, threading.Event())


def _whole(path: Path, stop: threading.Event) -> str:
    """SHA-256 of a file; of a part of it once ``stop`` is set."""
    running = hashlib.sha256()
    buffer = bytearray(CHUNK)
    with FileSource(str(path)) as source:
        for offset in range(0, source.size, CHUNK):
            running.update(read_exact(source, offset, min(CHUNK, source.size - offset), buffer))
            if stop.is_set():
                break
    return running.hexdigest()
