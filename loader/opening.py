"""Opening a SOURCE: the archive or the discs of a media set, the signatures beside it, and the verdict on both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional, Union

from loader.bundle.discs import DiscSet, bundle_head, read_common
from loader.bundle.errors import FormatError, MissingVolume, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.head import HEAD_TAR
from loader.bundle.listed import Nowhere
from loader.bundle.pieces import Tie
from loader.bundle.verify import Trust, VerifiedBundle, verify_head, verify_listed
from loader.media.drive import DrivePorts
from loader.media.onedrive import OneDrive
from loader.media.opendrive import is_enough, open_drive
from loader.media.opened import OpenedMedia, damage_lines, media_notes, open_media
from loader.media.places import find_archive
from loader.media.savedpass import SavedPass
from loader.sidecar import Sidecar, read_sidecar
from loader.signaturefiles import passed_over, signatures_beside, signatures_by_discs
from loader.zstd import find_decoder

Say = Callable[[str, str], None]
Sources = Union[Path, Sequence[Path]]


@dataclass(frozen=True)
class Opened:
    """A bundle that passed steps 1 to 5, and the media set it came on, if it did: at hand, or in one drive.

    ``listed``: of a set too few discs are at hand, and its documents alone can be read. ``sidecar``: of an archive.
    """

    bundle: VerifiedBundle
    media: Optional[OpenedMedia] = None
    drive: Optional[OneDrive] = None
    listed: bool = False
    sidecar: Optional[Sidecar] = None


@dataclass(frozen=True)
class DriveOptions:
    """How further discs are asked for, and where the progress is kept of a set that is read disc by disc.

    ``any_disc``: the list and the documents, which stand on every disc, are enough.
    """

    ports: DrivePorts
    saved: Optional[SavedPass] = None
    any_disc: bool = False


def _listed(sources: Sources) -> Sequence[Path]:
    return [sources] if isinstance(sources, Path) else sources


@contextlib.contextmanager
def open_bundle(
    sources: Sources, trust: Trust, *, signatures: Sequence[Path] = (), say: Optional[Say] = None
) -> Iterator[VerifiedBundle]:
    """As :func:`open_told`, for whoever needs no more than the bundle."""
    with open_told(sources, trust, signatures=signatures, say=say) as opened:
        yield opened.bundle


@contextlib.contextmanager
def open_told(
    sources: Sources,
    trust: Trust,
    *,
    signatures: Sequence[Path] = (),
    say: Optional[Say] = None,
    drive: Optional[DriveOptions] = None,
    tie: Optional[Tie] = None,
) -> Iterator[Opened]:
    """Do steps 1 to 5 and keep the bundle open: its blobs are read while the context lasts.

    ``sources`` are one archive, or discs of one media set in any order; ``say`` is told of wrong and damaged discs.
    ``tie`` is for whoever reads blobs twice.
    Raises ``MissingVolume`` when the discs are too few and there is no ``drive`` to ask for more.
    """
    with open_source(sources, trust, signatures=signatures, drive=drive, tie=tie) as opened:
        _tell(say, media_notes(opened.media))
        if opened.sidecar is not None:
            _tell(say, passed_over(_listed(sources)[0]))
        yield opened
        _tell(say, damage_lines(opened.media))


def _tell(say: Optional[Say], lines: Iterator[tuple[str, str]]) -> None:
    if say is not None:
        for step, text in lines:
            say(step, text)


@contextlib.contextmanager
def open_source(
    sources: Sources,
    trust: Trust,
    *,
    signatures: Sequence[Path] = (),
    drive: Optional[DriveOptions] = None,
    tie: Optional[Tie] = None,
) -> Iterator[Opened]:
    """Do steps 1 to 5 on an archive or a media set; with too few discs at hand, as a set in one ``drive``."""
    archive = find_archive(_listed(sources))
    if archive is not None:
        if archive.name.endswith(HEAD_TAR):
            raise FormatError(
                f"{archive} is a bundle's head alone",
                why="it has the list and its signatures, and no blobs",
                hint="give the archive itself; inspect and build --base read a head",
            )
        with FileSource(str(archive)) as source:
            beside = signatures_beside(archive, signatures)
            bundle = verify_head(source, trust, find_decoder(), beside=beside, tie=tie)
            yield Opened(bundle, sidecar=read_sidecar(archive, trust, signatures))
        return
    if drive is not None and drive.any_disc and not is_enough(_listed(sources), trust):
        with open_media(_listed(sources), trust) as found:
            yield Opened(_listed_bundle(found.discs, sources, trust, signatures), listed=True)
        return
    if drive is not None and not is_enough(_listed(sources), trust):
        ours = partial(all_signatures, sources=sources, extra=signatures)
        with open_drive(_listed(sources), trust, drive.ports, signatures=ours, saved=drive.saved) as one:
            yield Opened(one.one.bundle, drive=one)
        return
    with open_media(_listed(sources), trust) as media:
        media.source.require_enough()
        beside = all_signatures(media.discs, sources, signatures)
        try:
            bundle = verify_head(media.source, trust, find_decoder(), beside=beside, tie=tie)
        except MissingVolume:
            media.source.tell_all()
            raise
        if bundle.id != media.discs.media.bundle.id:
            raise TrustError(
                "the archive on the discs is not the one their list names",
                why=f"bundle id {bundle.id}, not {media.discs.media.bundle.id}",
            )
        yield Opened(bundle, media)


def _listed_bundle(discs: DiscSet, sources: Sources, trust: Trust, extra: Sequence[Path]) -> VerifiedBundle:
    common = {file.path: file for file in discs.media.files}

    def read(path: str) -> bytes:
        if path not in common:
            raise MissingVolume(f"{path} of {discs.media.name} is not at hand", hint="give the set's discs")
        return read_common(discs.discs, common[path])

    source = Nowhere(discs.media.archive.name, discs.media.archive.size)
    bundle = verify_listed(bundle_head(discs), trust, source, read, beside=all_signatures(discs, sources, extra))
    if bundle.id != discs.media.bundle.id:
        raise TrustError(
            "the bundle's list on the discs is not the one their set names",
            why=f"bundle id {bundle.id}, not {discs.media.bundle.id}",
        )
    return bundle


def all_signatures(discs: DiscSet, sources: Sources, extra: Sequence[Path]) -> list[tuple[str, bytes]]:
    """Every signature over the bundle's list: on the discs, beside them, given."""
    found = signatures_by_discs(_listed(sources), discs.media.archive.name, extra)
    return [*bundle_head(discs).signatures, *found]
