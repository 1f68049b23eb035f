"""An archive on its way to discs: hashed by chunk and segment, with parity, and from end to end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Optional

from bundler.medium import Geometry
from loader.bundle import mediaset, parity
from loader.bundle.archive import read_exact
from loader.bundle.errors import StorageError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.mediaset import CHUNK, Segment, Volume
from loader.interpreter import quick_turns
from loader.writeback import WriteBack

_LANES = 2  # threads that hash chunks and segments; each volume keeps to one
_AHEAD = 2  # stripes in memory: one is hashed while parity of the next is made
_FEW_DISCS = 48  # of more, one stripe at a time: memory stays below 1 MiB a disc and 100 MB
_BLOCK = 4 * CHUNK


@dataclass(frozen=True)
class Begun:
    """The running hash of the first ``size`` bytes of a file."""

    running: hashlib._Hash
    size: int


@dataclass(frozen=True)
class SetSums:
    """The hashes of each chunk and each segment by volume; of the archive, what its first segment makes of it."""

    chunks: dict[str, list[bytes]]
    segments: dict[str, list[str]]
    begun: Begun

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

    def __init__(self, sizes: list[int], writer: Optional[SegmentWriter], lane: Executor) -> None:
        self.chunks: list[bytes] = []
        self.segments: list[str] = []
        self.first = hashlib.sha256()
        self._sizes = sizes
        self._writer = writer
        self._lane = lane
        self._running = hashlib.sha256()
        self._done = 0

    def take(self, chunk: bytes | memoryview) -> Future[None]:
        """Take the next chunk in the column's lane, and so in order; it must stay as it is until that is done."""
        return self._lane.submit(self._take, chunk)

    def _take(self, chunk: bytes | memoryview) -> None:
        # No chunk stands in two segments.
        self.chunks.append(hashlib.sha256(chunk).digest())
        self._running.update(chunk)
        self._done += len(chunk)
        if self._done == self._sizes[len(self.segments)]:
            self.first = self.first if self.segments else self._running
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
    durable: bool,
    on_bytes: Callable[[int], None],
) -> SetSums:
    """Read ``archive`` stripe by stripe for the hashes of its chunks and segments.

    Parity is made on the way, and the segments of every volume in ``folders`` are written, synced if ``durable``.
    """
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(SegmentWriter(folder, stem, name, geometry.segments(name), durable=durable))
            for name, folder in folders.items()
        }
        source = stack.enter_context(FileSource(str(archive)))
        # hashlib lets go of the interpreter's lock, which leaves it to parity.
        stack.enter_context(quick_turns())
        lanes = [stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="hash")) for _ in range(_LANES)]
        columns = {
            name: _Column(geometry.segments(name), writers.get(name), lane)
            for name, lane in zip(geometry.names, cycle(lanes))
        }
        ahead = _AHEAD if len(geometry.names) <= _FEW_DISCS else 1
        buffers = [[bytearray(CHUNK) for _ in range(geometry.k)] for _ in range(ahead)]
        running: list[list[Future[None]]] = [[] for _ in range(ahead)]
        for chunk in range(-(-geometry.volume_size("v01") // CHUNK)):
            turn = chunk % ahead
            _wait(running[turn])
            stripe = _read_stripe(source, geometry, chunk, buffers[turn])
            running[turn] = _take_stripe(columns, geometry, stripe)
            on_bytes(sum(map(len, stripe)))
        for work in running:
            _wait(work)
    chunks = {name: column.chunks for name, column in columns.items()}
    begun = Begun(columns["v01"].first, geometry.segments("v01")[0])
    return SetSums(chunks, {name: column.segments for name, column in columns.items()}, begun)


def _take_stripe(
    columns: Mapping[str, _Column], geometry: Geometry, stripe: Sequence[memoryview]
) -> list[Future[None]]:
    """Let every volume take its chunk of a stripe, all at once."""
    work = [columns[name].take(part) for name, part in zip(geometry.names, stripe) if len(part)]
    if geometry.m:
        rows = zip(geometry.names[geometry.k :], parity.encode(stripe, geometry.m))
        work += [columns[name].take(row) for name, row in rows]
    return work


def _wait(work: Sequence[Future[None]]) -> None:
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
    """Writes one volume's chunks into its segments; ``durable`` ones are synced while they grow and when they end."""

    def __init__(self, folder: Path, stem: str, volume: str, sizes: list[int], *, durable: bool) -> None:
        self._paths = [folder / mediaset.segment_name(stem, volume, number) for number in range(1, len(sizes) + 1)]
        self._sizes = sizes
        self._durable = durable
        self._current = -1
        self._left = 0
        self._fd = -1
        self._open = ExitStack()
        self._wrote: Callable[[int], None] = _nothing

    def write(self, chunk: bytes | memoryview) -> None:
        """Append one chunk; ``StorageError`` for a full disk."""
        try:
            if not self._left:
                self._next()
            view = memoryview(chunk)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise self._failed(error) from error
        self._left -= len(chunk)
        self._wrote(len(chunk))

    def _next(self) -> None:
        self._open.close()
        self._current += 1
        path = self._paths[self._current]
        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._open.callback(os.close, self._fd)
        self._left = self._sizes[self._current]
        if self._durable:
            self._open.callback(os.fsync, self._fd)
            self._wrote = self._open.enter_context(WriteBack(self._fd, str(path))).wrote

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot write {self._paths[self._current]}", why=error.strerror or str(error), hint="free some space"
        )

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._open.close()
        except OSError as error:
            if kind is None:
                raise self._failed(error) from error


def _nothing(_: int) -> None:
    return


class FileHash:
    """SHA-256 of a file, taken in a thread of its own from ``start`` on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="file-hash")
        self._hash: Optional[Future[str]] = None

    def start(self, begun: Optional[Begun] = None) -> None:
        """Begin, unless that was said before, and go on from what is ``begun``."""
        if self._hash is None:
            self._hash = self._pool.submit(sha256_of, self._path, self._stop, begun)

    def result(self) -> str:
        """64 hex digits, waited for."""
        if self._hash is None:
            raise RuntimeError("a hash is started before it is asked for")
        return self._hash.result()

    def __enter__(self) -> FileHash:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()


def sha256_of(path: Path, stop: threading.Event, begun: Optional[Begun] = None) -> str:
    """SHA-256 of a file, 64 hex digits; of a part of it once ``stop`` is set. What is ``begun`` is not read."""
    running, first = (begun.running.copy(), begun.size) if begun else (hashlib.sha256(), 0)
    buffer = bytearray(_BLOCK)
    with FileSource(str(path)) as source:
        for offset in range(first, source.size, _BLOCK):
            running.update(read_exact(source, offset, min(_BLOCK, source.size - offset), buffer))
            if stop.is_set():
                break
    return running.hexdigest()
