"""Steps 1 to 5 on a media set in one drive."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Optional

from loader.bundle.discs import DiscSet
from loader.bundle.errors import MissingVolume, TrustError
from loader.bundle.mediaset import MediaSet
from loader.bundle.verify import OnePass, Trust, verify_head
from loader.media.chunkstore import ChunkStore
from loader.media.drive import Drive, DrivePorts, NotInserted
from loader.media.drivesource import DriveSource
from loader.media.onedrive import OneDrive, heal_head
from loader.media.opened import open_media
from loader.media.savedpass import SavedPass
from loader.zstd import find_decoder


def is_enough(sources: Sequence[Path], trust: Trust) -> bool:
    """Tell whether the discs at hand hold the whole archive, as far as can be seen without reading them."""
    with open_media(sources, trust) as media:
        try:
            media.source.require_enough()
        except MissingVolume:
            return False
    return True


def _way_out(media: MediaSet) -> str:
    """What helps where a disc is lost, or one is changed between runs: a blob across discs is begun anew each time."""
    words = "with --stage DIR the discs are copied in any order, one a run if need be"
    return f"{words}, and up to {media.m} may be lost" if media.m else words


@contextlib.contextmanager
def open_drive(
    sources: Sequence[Path],
    trust: Trust,
    ports: DrivePorts,
    *,
    signatures: Callable[[DiscSet], Sequence[tuple[str, bytes]]],
    saved: Optional[SavedPass] = None,
) -> Iterator[OneDrive]:
    """Do steps 1 to 5 with the disc that has the head, asked for if need be; later reads ask for further ones.

    ``signatures`` gives those over the bundle's list.
    ``saved`` is where an earlier run's progress is, and this one's goes.
    """
    drive = Drive(sources, trust, ports)
    try:
        media, store = drive.media, ChunkStore(drive.media)
        drive.way_out = _way_out(media)
        told: dict[int, int] = {}
        for note in drive.discs.notes:
            drive.say("warning", note)
        known = saved.load(media, drive.discs.index, store, told) if saved is not None else ()
        source = DriveSource(drive, store)
        beside = signatures(drive.discs)
        while True:
            try:
                bundle = verify_head(source, trust, find_decoder(), beside=beside, told=told)
                break
            except NotInserted:
                raise
            except MissingVolume:
                if not heal_head(drive, source):
                    raise
        if bundle.id != media.bundle.id:
            raise TrustError(
                "the archive on the discs is not the one their list names",
                why=f"bundle id {bundle.id}, not {media.bundle.id}",
            )
        one = OneDrive(drive, source, OnePass(bundle, known))
        if saved is not None:
            saved.keep_head(media, store)
            drive.before_change = lambda: saved.save(media, one.one)
        yield one
    finally:
        drive.close()
