"""What an interrupted run read of a set in one drive, kept in the state folder: the next one goes on from there.

Spans are noted after they were checked, under the set's and the bundle's ids. The chunks of the head that are kept
beside them are checked against the signed index when they are read back, as from any disc.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from loader.bundle import strictjson
from loader.bundle.errors import AirgapError, StorageError
from loader.bundle.limits import MAX_HEAD_FILE
from loader.bundle.mediaset import HASH, MediaSet
from loader.bundle.verify import OnePass
from loader.durable import write_whole
from loader.media.chunkstore import ChunkStore
from loader.media.drivesource import MAX_KEPT
from loader.signing import read_small_file

_PAUSE = 2.0
"""Seconds between two writes while a disc is read; each change of discs writes as well."""


@dataclass(frozen=True)
class _Run:
    first: int
    last: int


@dataclass(frozen=True)
class _Told:
    frame: int
    size: int


@dataclass(frozen=True)
class _Kept:
    volume: str
    chunk: int
    size: int


@dataclass(frozen=True)
class _Saved:
    format_version: int
    set_id: str
    bundle: str
    checked: tuple[_Run, ...]
    told: tuple[_Told, ...]
    kept: tuple[_Kept, ...]


class SavedPass:
    """One file per bundle name in ``folder``: another set takes its place. ``clock`` gives monotonic seconds.

    ``resumed``: an earlier run of the same set was found.
    """

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._written = clock()
        self._kept: tuple[_Kept, ...] = ()
        self.resumed = False

    def load(self, media: MediaSet, index: bytes, store: ChunkStore, told: dict[int, int]) -> Collection[int]:
        """Return the spans that were checked, and fill ``store`` and ``told``; nothing if it is another set's."""
        try:
            data = read_small_file(self._path(media, "json"), MAX_HEAD_FILE)
            saved = strictjson.decode(_Saved, data, "what an earlier run kept")
            if (saved.format_version, saved.set_id, saved.bundle) != (1, media.set_id, media.bundle.id):
                return ()
            chunks = read_small_file(self._path(media, "chunks"), MAX_KEPT) if saved.kept else b""
        except AirgapError:
            return ()
        starts = dict(zip((volume.name for volume in media.volumes), media.first_chunks))
        position = 0
        for kept in saved.kept:
            data = chunks[position : position + kept.size]
            position += kept.size
            number = starts.get(kept.volume, 0) + kept.chunk
            if hashlib.sha256(data).digest() == index[number * HASH : (number + 1) * HASH]:
                store.chunks[kept.volume, kept.chunk] = data
        self.resumed = True
        told.update((item.frame, item.size) for item in saved.told)
        return {number for run in saved.checked for number in range(run.first, run.last + 1)}

    def keep_head(self, media: MediaSet, store: ChunkStore) -> None:
        """Write the chunks of the head one behind the other."""
        self._kept = tuple(_Kept(*key, len(data)) for key, data in store.chunks.items())
        self._write(self._path(media, "chunks"), b"".join(store.chunks.values()))

    def save(self, media: MediaSet, one: OnePass, *, now: bool = True) -> None:
        """Write which spans were checked; without ``now`` only when some seconds passed. Failing costs no run."""
        if not now and self._clock() < self._written + _PAUSE:
            return
        self._written = self._clock()
        left = set(one.left)
        checked = tuple(_runs([number for number in range(one.end + 1) if number not in left]))
        told = tuple(_Told(frame, size) for frame, size in sorted(one.told.items()))
        saved = _Saved(1, media.set_id, media.bundle.id, checked, told, self._kept)
        self._write(self._path(media, "json"), strictjson.encode(saved))

    def _path(self, media: MediaSet, suffix: str) -> Path:
        return self._folder / f"{media.bundle.name}.{suffix}"

    def _write(self, path: Path, data: bytes) -> None:
        # A full disk here means that a later run reads a disc again, not that this one fails.
        with contextlib.suppress(StorageError):
            write_whole(path, data)


def _runs(numbers: list[int]) -> list[_Run]:
    runs: list[_Run] = []
    for number in numbers:
        if runs and runs[-1].last + 1 == number:
            runs[-1] = _Run(runs[-1].first, number)
        else:
            runs.append(_Run(number, number))
    return runs
