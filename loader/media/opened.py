"""Discs of one set, opened: what is at hand, and what was found wrong with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from loader.bundle.discs import DiscSet, open_set
from loader.bundle.verify import Trust
from loader.bundle.volumes import MediaSource
from loader.media.places import open_discs
from loader.units import counted


@dataclass(frozen=True)
class OpenedMedia:
    """A media set and the archive in it. ``unreadable``: files beside the segments that can't be read on one disc."""

    discs: DiscSet
    source: MediaSource
    unreadable: list[str] = field(default_factory=list)


@contextlib.contextmanager
def open_media(sources: Sequence[Path], trust: Optional[Trust]) -> Iterator[OpenedMedia]:
    """Open the discs of a set and check its list; without ``trust`` its signatures are not."""
    with contextlib.ExitStack() as stack:
        discs = open_set(open_discs(sources, stack), trust)
        yield OpenedMedia(discs, MediaSource(discs))


def media_notes(media: Optional[OpenedMedia]) -> Iterator[tuple[str, str]]:
    """Which discs are here, and what is wrong with others that were given."""
    if media is None:
        return
    found = media.discs.media
    here = [volume.name for volume in found.volumes if volume.name in media.discs.copies]
    yield "media", f"set {found.set_id[:12]}: {len(here)} of {len(found.volumes)} discs here ({' '.join(here)})"
    for note in media.discs.notes:
        yield "warning", note


def damage_lines(media: Optional[OpenedMedia]) -> Iterator[tuple[str, str]]:
    """One line per disc that is missing or damaged, once enough was read to know."""
    if media is None:
        return
    for note in media.unreadable:
        yield "warning", note
    for reader in media.source.volumes:
        name, count = reader.volume.name, len(reader.damage)
        healed = len(media.source.healed.get(name, ()))
        if not reader.copies and healed:
            yield "media", f"disc {name} is not here: {counted(healed, 'chunk')} made from parity"
        elif count:
            first = min(reader.damage)
            tail = f", {healed} made from parity" if healed else ""
            where = f"chunk {first} of {reader.segment_of(first)}, {reader.damage[first]}"
            yield "media", f"disc {name}: {count} of {reader.volume.chunks} chunks unreadable{tail} (first: {where})"
