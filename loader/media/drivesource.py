"""The archive out of a drive: whoever reads beyond the disc that is in it has the next one asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Optional

from loader.bundle.errors import MissingVolume
from loader.bundle.limits import MIB
from loader.bundle.mediaset import CHUNK
from loader.bundle.volumes import MediaSource, VolumeReader
from loader.media.chunkstore import ChunkStore, Key
from loader.media.drive import Drive, insert_line

MAX_KEPT = 64 * MIB
"""Chunks of the head that are kept; a head that is larger is read again where it is needed again."""


class DriveSource:
    """A ``ByteSource``. Every chunk that comes from it matched the signed index.

    While ``keeping``, what is read stays in ``store``: the head is read more than once. ``damage`` is what discs
    could not give, volume -> chunk -> why. A read of such a chunk raises ``MissingVolume``.
    """

    def __init__(self, drive: Drive, store: ChunkStore) -> None:
        media = drive.media
        self.size = media.archive.size
        self.name = media.archive.name
        self.keeping = True
        self.store = store
        self.damage: dict[str, dict[int, str]] = {}
        self._drive = drive
        self._volumes = media.volumes[: media.k]
        self._starts = list(accumulate((volume.size for volume in self._volumes), initial=0))
        self._source: Optional[MediaSource] = None
        self._made = (-1, -1)
        self._checked: set[tuple[str, int]] = set()

    def places(self) -> list[tuple[str, int]]:
        """Each data disc, and where it begins in the archive."""
        return [(volume.name, start) for volume, start in zip(self._volumes, self._starts)]

    def offset(self, key: Key) -> int:
        """Where a chunk begins in the archive."""
        name, chunk = key
        return dict(self.places())[name] + chunk * CHUNK

    def boundaries(self) -> list[int]:
        """Where each data disc ends in the archive."""
        return self._starts[1:]

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset``; fewer bytes only at the end."""
        length = max(0, min(len(view), self.size - offset))
        done = 0
        while done < length:
            number, inside = self._place(offset + done)
            if self.keeping:
                chunk, skip = divmod(inside, CHUNK)
                part = min(self._size_of(number, chunk) - skip, length - done)
                view[done : done + part] = self._kept(number, chunk)[skip : skip + part]
            else:
                part = min(self._volumes[number].size - inside, length - done)
                self._read(number, offset + done, view[done : done + part])
            done += part
        return length

    def scan(self, start: int, stop: int) -> Iterator[int]:
        """Read every chunk of ``start`` to ``stop`` in the archive and yield its size; ``damage`` tells of bad ones."""
        offset = start
        while offset < stop:
            number, inside = self._place(offset)
            chunk = inside // CHUNK
            size = self._size_of(number, chunk)
            try:
                self._read(number, self._starts[number] + chunk * CHUNK, memoryview(bytearray(size)))
            except MissingVolume:
                if chunk not in self.damage.get(self._volumes[number].name, {}):
                    raise
            yield size
            offset = self._starts[number] + chunk * CHUNK + size

    def _place(self, offset: int) -> tuple[int, int]:
        number = bisect_right(self._starts, offset) - 1
        return number, offset - self._starts[number]

    def _size_of(self, number: int, chunk: int) -> int:
        return min(CHUNK, self._volumes[number].size - chunk * CHUNK)

    def _kept(self, number: int, chunk: int) -> bytes:
        name = self._volumes[number].name
        found = self.store.get(name, chunk)
        if found is not None and (name, chunk) in self._checked:
            return found
        data = bytearray(self._size_of(number, chunk))
        self._read(number, self._starts[number] + chunk * CHUNK, memoryview(data))
        whole = bytes(data)
        if found is not None or len(self.store.chunks) * CHUNK < MAX_KEPT:
            self.store.chunks[name, chunk] = whole
            self._checked.add((name, chunk))
        return whole

    def _read(self, number: int, offset: int, view: memoryview) -> None:
        name = self._volumes[number].name
        while True:
            first, last = (
                (offset - self._starts[number]) // CHUNK,
                (offset - self._starts[number] + len(view) - 1) // CHUNK,
            )
            if any(self.store.get(name, chunk) is None for chunk in range(first, last + 1)):
                self._drive.fetch([name], insert_line(self._drive.media, name))
            source = self._current()
            try:
                source.read_into(offset, view)
            except MissingVolume:
                if self._drive.is_gone():
                    # Not a damaged disc but none: what was unreadable of it means nothing.
                    source.data[number].damage.clear()
                    self._drive.change([name], f"{insert_line(self._drive.media, name)} again: it was taken out")
                    continue
                self._note(source.data[number])
                raise
            return

    def _note(self, reader: VolumeReader) -> None:
        self.damage.setdefault(reader.volume.name, {}).update(reader.damage)

    def _current(self) -> MediaSource:
        """The archive as the discs at hand and the store give it."""
        made = (self._drive.changes, len(self.store.chunks))
        if self._source is None or made != self._made:
            discs = self._drive.discs
            copies = {name: (self.store, *discs.copies.get(name, ())) for name in self.store.volumes()}
            self._source = MediaSource(replace(discs, copies={**discs.copies, **copies}))
            self._made = made
        return self._source
