"""What a stopped build left: the longest beginning of its part file that is proven good, to go on from.

The part file is believed for time and sequence of the bundle only through its head: with them the same config and
lock give the same head again, signatures included, or the file is thrown away. Every byte that is kept is read again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from bundler.fetch import compressor
from bundler.output import Partial
from bundler.pack import layout_members
from loader.bundle.archive import Archive, Expected
from loader.bundle.errors import BundleError, FormatError
from loader.bundle.head import Head, read_head
from loader.bundle.limits import MIB
from loader.bundle.manifest import File
from loader.bundle.tarlayout import Layout
from loader.bundle.volumes import FileSource
from loader.zstd import find_decoder


@dataclass(frozen=True)
class Kept:
    """``members`` of the manifest's files are finished in the first ``size`` bytes; ``frames``: (stored, content)."""

    members: int = 0
    size: int = 0
    frames: tuple[tuple[int, int], ...] = ()
    archive: hashlib._Hash = field(default_factory=hashlib.sha256)


class _Beginning(Archive):
    """An archive that may end anywhere: its frames are found from its beginning on, as far as they are there."""

    def __init__(self, source: FileSource, layout: Layout, expected: Sequence[Expected]) -> None:
        super().__init__(source, layout, expected, find_decoder(), told={})
        self._engine = compressor()

    def proven(self) -> tuple[int, list[int]]:
        """Return the index of the last finished big member, or -1, and where the frames up to its end begin and end."""
        found, count = -1, 0
        for span in self.layout.spans:
            try:
                self.check_span(span, lambda _: None, lambda: False)
            except BundleError:
                break
            if span.member >= 0:
                found, count = span.member, span.stop
        return found, self._offsets[: count + 1]

    def _decoded(self, stored: memoryview, size: int) -> memoryview:
        content = super()._decoded(stored, size)
        # The same content can be stored in many ways; that of this build is the one it would make again.
        if self._engine.compress(content) != stored:
            raise FormatError("a zstd frame was compressed by something else")
        return content


def keep_proven(partial: Partial, head: Head, files: Sequence[File]) -> Kept:
    """Cut the part file behind what is proven to be of this bundle, and stand there."""
    kept = _proven(partial, head, files) if os.fstat(partial.fd).st_size else Kept()
    os.ftruncate(partial.fd, kept.size)
    os.lseek(partial.fd, kept.size, os.SEEK_SET)
    return kept


def _proven(partial: Partial, head: Head, files: Sequence[File]) -> Kept:
    with FileSource(str(partial.path)) as source:
        try:
            if read_head(source) != head:
                return Kept()
        except BundleError:
            return Kept()
        layout = Layout(layout_members(head, files))
        hashes = [sha256 for _, sha256 in head.members] + [file.sha256 for file in files]
        expected = [Expected(sha256, member.size) for sha256, member in zip(hashes, layout.members)]
        member, offsets = _Beginning(source, layout, expected).proven()
    if member < 0:
        return Kept()
    stored = tuple((end - start, frame.size) for start, end, frame in zip(offsets, offsets[1:], layout.frames))
    size = offsets[-1]
    return Kept(member + 1 - (len(layout.members) - len(files)), size, stored, _hash_of(partial.fd, size))


def _hash_of(fd: int, size: int) -> hashlib._Hash:
    running = hashlib.sha256()
    for offset in range(0, size, MIB):
        running.update(os.pread(fd, min(MIB, size - offset), offset))
    return running
