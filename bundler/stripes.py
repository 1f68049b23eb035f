"""The two reads of an archive on its way to discs: hash it from end to end, then stripe by stripe with parity."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bundler.medium import Geometry
from loader.bundle import mediaset, parity
from loader.bundle.archive import read_exact
from loader.bundle.errors import StorageError, TrustError
from loader.bundle.mediaset import CHUNK, Segment, Volume
from loader.bundle.volumes import FileSource

_BLOCK = 4 * CHUNK


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


class _SegmentHashes:
    """SHA-256 of a volume's segments as its chunks come in order; no chunk stands in two segments."""

    def __init__(self, sizes: list[int]) -> None:
        self._sizes = sizes
        self._running = hashlib.sha256()
        self._done = 0
        self.finished: list[str] = []

    def update(self, chunk: bytes | memoryview) -> None:
        self._running.update(chunk)
        self._done += len(chunk)
        if self._done == self._sizes[len(self.finished)]:
            self.finished.append(self._running.hexdigest())
            self._running, self._done = hashlib.sha256(), 0


def hash_archive(archive: Path, geometry: Geometry, on_bytes: Callable[[int], None]) -> ArchiveSums:
    """Read ``archive`` from end to end; parity is not known yet, so the sums have the data volumes alone."""
    data = [name for name in geometry.names if name[0] == "v"]
    sums = ArchiveSums("", {name: [] for name in data})
    whole = hashlib.sha256()
    # The hash of the whole runs beside those of its parts: hashlib lets go of the interpreter lock.
    with FileSource(str(archive)) as source, ThreadPoolExecutor(1, thread_name_prefix="archive-hash") as pool:
        before = pool.submit(whole.update, b"")
        for name in data:
            hashes = _SegmentHashes(geometry.segments(name))
            start = data.index(name) * geometry.share
            stop = start + geometry.volume_size(name)
            for offset in range(start, stop, _BLOCK):
                block = read_exact(source, offset, min(_BLOCK, stop - offset))
                before.result()
                before = pool.submit(whole.update, block)
                for inside in range(0, len(block), CHUNK):
                    chunk = block[inside : inside + CHUNK]
                    sums.chunks[name].append(hashlib.sha256(chunk).digest())
                    hashes.update(chunk)
                on_bytes(len(block))
            sums.segments[name] = hashes.finished
    sums.sha256 = whole.hexdigest()
    return sums


def write_stripes(
    archive: Path,
    geometry: Geometry,
    sums: ArchiveSums,
    folders: Mapping[str, Path],
    *,
    stem: str,
    on_bytes: Callable[[int], None],
) -> None:
    """Read ``archive`` again, chunk by chunk across its volumes, and write the segments of every volume in ``folders``.

    Each chunk must be what was hashed before, else ``TrustError``. Adds the parity volumes to ``sums``.
    """
    if not folders:
        return
    rows = [name for name in geometry.names if name[0] == "p"]
    data = [name for name in geometry.names if name[0] == "v"]
    hashes = {name: _SegmentHashes(geometry.segments(name)) for name in rows}
    sums.chunks.update((name, []) for name in rows)
    with ExitStack() as stack:
        source = stack.enter_context(FileSource(str(archive)))
        writers = {
            name: stack.enter_context(SegmentWriter(folder, stem, name, geometry.segments(name)))
            for name, folder in folders.items()
        }
        for chunk in range(-(-geometry.volume_size("v01") // CHUNK)):
            stripe = _read_stripe(source, geometry, sums, data, chunk)
            for name, part in zip(data, stripe):
                if name in writers and len(part):
                    writers[name].write(part)
            for name, row in zip(rows, parity.encode(stripe, len(rows)) if rows else []):
                sums.chunks[name].append(hashlib.sha256(row).digest())
                hashes[name].update(row)
                writers[name].write(row)
            on_bytes(sum(map(len, stripe)))
    sums.segments.update((name, found.finished) for name, found in hashes.items())


def _read_stripe(
    source: FileSource, geometry: Geometry, sums: ArchiveSums, names: list[str], chunk: int
) -> list[memoryview]:
    stripe = []
    for number, name in enumerate(names):
        size = max(0, min(CHUNK, geometry.volume_size(name) - chunk * CHUNK))
        part = read_exact(source, number * geometry.share + chunk * CHUNK, size)
        if size and hashlib.sha256(part).digest() != sums.chunks[name][chunk]:
            raise TrustError(
                f"{source.name} changed while it was read",
                why=f"chunk {chunk} of {name} is not what was hashed before",
                hint="make the set again when nothing writes to the archive",
            )
        stripe.append(part)
    return stripe


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
    running = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            running.update(block)
    return running.hexdigest()
