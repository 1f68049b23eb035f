"""Chunks in memory, as a disc that has them: what was rebuilt from parity, and the head that is read more than once.

What comes from here is checked against the signed index as what comes from any other disc is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

from loader.bundle import mediaset
from loader.bundle.discs import FILE
from loader.bundle.errors import StorageError
from loader.bundle.mediaset import CHUNK, MediaSet

Key = tuple[str, int]


class ChunkStore:
    """``name`` is how messages call it. Keys are (volume, chunk)."""

    def __init__(self, media: MediaSet) -> None:
        self.name = "what was read before"
        self.chunks: dict[Key, bytes] = {}
        self._places: dict[str, tuple[str, int]] = {}
        for volume in media.volumes:
            for offset, segment in mediaset.spans(volume):
                self._places[segment.name] = (volume.name, offset)

    def get(self, volume: str, chunk: int) -> Optional[bytes]:
        """A chunk, or None."""
        return self.chunks.get((volume, chunk))

    def volumes(self) -> set[str]:
        """Names of the volumes of which there are chunks."""
        return {name for name, _ in self.chunks}

    def entries(self) -> Mapping[str, str]:
        """Path of every segment -> its kind."""
        return dict.fromkeys(self._places, FILE)

    def open(self, path: str) -> StoredSegment:
        """Open one segment; reading what is not here is a ``StorageError``."""
        volume, start = self._places[path]
        return StoredSegment(self, path, volume, start // CHUNK)


class StoredSegment:
    """One segment, of which some chunks are here."""

    size = mediaset.MAX_SEGMENT

    def __init__(self, store: ChunkStore, name: str, volume: str, first: int) -> None:
        self.name = name
        self._store = store
        self._volume = volume
        self._first = first

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` with the chunk that begins at ``offset``."""
        data = self._store.get(self._volume, self._first + offset // CHUNK)
        if data is None:
            raise StorageError(f"{self.name} is not at hand", why="it was not read before")
        part = data[offset % CHUNK :][: len(view)]
        view[: len(part)] = part
        return len(part)
