"""What a stopped build left: the longest beginning of its part file that is proven good, to go on from.

The part file is believed for time and sequence of the bundle only through its head: with them the same config and
lock give the same head again, signatures included, or the file is thrown away. Every byte that is kept is read again.
Of a big member that is not finished its whole frames are kept, and proven with its rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Optional

from bundler.fetch import compressor
from bundler.output import Partial
from bundler.pack import layout_members
from loader.bundle.archive import Archive
from loader.bundle.errors import BundleError, FormatError
from loader.bundle.filesource import FileSource
from loader.bundle.head import Head, read_head
from loader.bundle.limits import FRAME
from loader.bundle.manifest import File
from loader.bundle.tarlayout import Layout, Span, padding
from loader.zstd import find_decoder


@dataclass(frozen=True)
class Kept:
    """``members`` of the manifest's files are finished in the first ``size`` bytes, and in ``glue`` behind them.

    ``frames``: (stored, content) of what is in the file. ``begun``: bytes of the next file, ``None`` before its header.
    """

    members: int = 0
    size: int = 0
    frames: tuple[tuple[int, int], ...] = ()
    glue: bytes = b""
    begun: Optional[int] = None

    @property
    def proven(self) -> int:
        """Bytes that need not be made again."""
        return self.size + len(self.glue)

    def without_begun(self, partial: Partial) -> Kept:
        """Return the place before the first byte of the file that is begun, and cut the part file there."""
        if self.begun is None:
            raise RuntimeError("no file is begun")
        frames = self.frames[: len(self.frames) - self.begun // FRAME]
        size = sum(stored for stored, _ in frames)
        _stand(partial, size)
        return dataclasses.replace(self, size=size, frames=frames, begun=0)


class _Place(NamedTuple):
    """Members of the layout before it, frames before it, and as of :class:`Kept`."""

    members: int = 0
    frames: int = 0
    glue: bytes = b""
    begun: Optional[int] = None


class _Beginning(Archive):
    """An archive that may end anywhere: its frames are found from its beginning on, as far as they are there."""

    def __init__(self, source: FileSource, layout: Layout, expected: Sequence[str]) -> None:
        super().__init__(source, layout, expected, find_decoder(), told={})
        self._engine = compressor()

    def proven(self) -> tuple[_Place, list[int]]:
        """Return how far it is proven, and where the frames up to there begin and end."""
        place = _Place()
        spans = self.layout.spans
        for span, following in zip(spans, [*spans[1:], None]):
            found = self._glue_proven(span, following) if span.member < 0 else self._big_proven(span)
            place = found or place
            if found is None or place.frames < span.stop:
                break
        self.offset(place.frames)
        return place, self._offsets[: place.frames + 1]

    def _glue_proven(self, span: Span, following: Optional[Span]) -> Optional[_Place]:
        """The place behind a run of glue that is whole, or behind its last small member; ``None`` without one."""
        last = -1

        def note(index: int, _: bytes) -> None:
            nonlocal last
            last = index

        try:
            self.check_span(span, lambda _: None, lambda: False, note)
        except BundleError:
            following = None
        # The last run has the end of the archive, which is written when nothing is missing any more.
        if following is not None:
            return _Place(following.member, span.stop, begun=0)
        if last < 0:
            return None
        size = self.layout.members[last].size
        end = self.layout.content_offset(last) + size
        frame = self._frame_at(end)
        return _Place(last + 1, frame, self._glue(self.layout.frames[frame].offset, end) + bytes(padding(size)))

    def _big_proven(self, span: Span) -> _Place:
        """The place behind a big member, or behind those of its frames that are whole."""
        running = hashlib.sha256()
        number = span.first
        with self._buffers.taken() as buffer:
            try:
                while number < span.stop:
                    for blocks in self._pieces(number, number + 1, buffer):
                        for block in blocks:
                            running.update(block)
                    number += 1
            except BundleError:
                return _Place(span.member, number, begun=(number - span.first) * FRAME)
        if running.hexdigest() != self.expected[span.member]:
            return _Place(span.member, span.first, begun=0)
        return _Place(span.member + 1, span.stop, bytes(padding(self.layout.members[span.member].size)))

    def _decoded(self, stored: memoryview, room: memoryview) -> memoryview:
        content = super()._decoded(stored, room)
        # The same content can be stored in many ways; that of this build is the one it would make again.
        if self._engine.compress(content) != stored:
            raise FormatError("a zstd frame was compressed by something else")
        return content


def keep_proven(partial: Partial, head: Head, files: Sequence[File]) -> Kept:
    """Cut the part file behind what is proven to be of this bundle, and stand there."""
    kept = _proven(partial, head, files) if os.fstat(partial.fd).st_size else Kept()
    _stand(partial, kept.size)
    return kept


def _stand(partial: Partial, size: int) -> None:
    os.ftruncate(partial.fd, size)
    os.lseek(partial.fd, size, os.SEEK_SET)


def _proven(partial: Partial, head: Head, files: Sequence[File]) -> Kept:
    with FileSource(str(partial.path)) as source:
        try:
            if read_head(source) != head:
                return Kept()
        except BundleError:
            return Kept()
        layout = Layout(layout_members(head, files))
        hashes = [sha256 for _, sha256 in head.members] + [file.sha256 for file in files]
        place, offsets = _Beginning(source, layout, hashes).proven()
    members = place.members - (len(layout.members) - len(files))
    if members < 0:
        return Kept()
    stored = tuple((end - start, frame.size) for start, end, frame in zip(offsets, offsets[1:], layout.frames))
    return Kept(members, offsets[-1], stored, place.glue, place.begun)
