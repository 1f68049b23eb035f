"""Opening a SOURCE: the archive or the discs of a media set, the signatures beside it, and the verdict on both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Optional, Union

from loader.bundle.archive import read_exact
from loader.bundle.discs import DiscSet, bundle_head, read_common
from loader.bundle.errors import FormatError, MissingVolume, StorageError, TrustError
from loader.bundle.head import LABEL
from loader.bundle.limits import MAX_SIGNATURE, MAX_SIGNATURES
from loader.bundle.listed import Nowhere
from loader.bundle.verify import Trust, VerifiedBundle, verify_head, verify_listed
from loader.bundle.volumes import FileSource
from loader.media.drive import DrivePorts
from loader.media.onedrive import OneDrive
from loader.media.opendrive import is_enough, open_drive
from loader.media.opened import OpenedMedia, damage_lines, media_notes, open_media
from loader.media.places import disc_paths, find_archive
from loader.media.savedpass import SavedPass
from loader.zstd import find_decoder

Say = Callable[[str, str], None]
Sources = Union[Path, Sequence[Path]]

_MAX_BESIDE = 4 * MAX_SIGNATURES  # counted before the first is read


@dataclass(frozen=True)
class Opened:
    """A bundle that passed steps 1 to 5, and the media set it came on, if it did: at hand, or in one drive.

    ``listed``: of a set too few discs are at hand, and its documents alone can be read.
    """

    bundle: VerifiedBundle
    media: Optional[OpenedMedia] = None
    drive: Optional[OneDrive] = None
    listed: bool = False


@dataclass(frozen=True)
class DriveOptions:
    """How further discs are asked for, and where the progress is kept of a set that is read disc by disc.

    ``any_disc``: the list and the documents, which stand on every disc, are enough.
    """

    ports: DrivePorts
    saved: Optional[SavedPass] = None
    any_disc: bool = False


def signatures_beside(archive: Path, extra: Sequence[Path] = ()) -> list[tuple[str, bytes]]:
    """Return (label, bytes) of every ``X.tar.zst.LABEL.sig`` beside ``archive``, and of ``extra`` files."""
    found = _signature_files(archive.parent, archive.name)
    return _read_signatures([*found, *((path.name, path) for path in extra)], archive.name)


def signatures_by_discs(sources: Sequence[Path], archive: str, extra: Sequence[Path] = ()) -> list[tuple[str, bytes]]:
    """Return (label, bytes) of every ``ARCHIVE.LABEL.sig`` beside the discs ``sources`` name, and of ``extra`` files.

    Beside a disc is the folder it stands in; of a folder of discs that is the folder itself.
    """
    folders = dict.fromkeys(path.parent for source in sources for path in disc_paths(source))
    found: list[tuple[str, Path]] = []
    for folder in folders:
        # Where discs are mounted is not always ours to list; a signature that is missed there counts for nothing.
        with contextlib.suppress(StorageError):
            found += _signature_files(folder, archive)
    return _read_signatures([*found, *((path.name, path) for path in extra)], archive)


def _signature_files(folder: Path, archive: str) -> list[tuple[str, Path]]:
    """The files of ``folder`` that are named as signatures of ``archive``, by label."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sig"))
    except OSError as error:
        raise StorageError(f"cannot read {folder}", why=error.strerror or str(error)) from error
    labels = [(name[len(archive) + 1 : -len(".sig")], name) for name in names if name.startswith(f"{archive}.")]
    return [(label, folder / name) for label, name in labels if LABEL.fullmatch(label)]


def _read_signatures(found: Sequence[tuple[str, Path]], beside: str) -> list[tuple[str, bytes]]:
    if len(found) > _MAX_BESIDE:
        raise FormatError(f"too many signatures beside {beside}", why=f"{len(found)}; at most {_MAX_BESIDE}")
    return [(label, _read_signature(path)) for label, path in found]


def _read_signature(path: Path) -> bytes:
    """Read a signature file; a FIFO on the medium would keep us waiting for ever, so regular files only."""
    with FileSource(str(path)) as source:
        if source.size > MAX_SIGNATURE:
            raise FormatError(f"{path} is too large for a signature", why=f"{source.size} bytes")
        return bytes(read_exact(source, 0, source.size))


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
) -> Iterator[Opened]:
    """Do steps 1 to 5 and keep the bundle open: its blobs are read while the context lasts.

    ``sources`` are one archive, or discs of one media set in any order; ``say`` is told of wrong and damaged discs.
    Raises ``MissingVolume`` when the discs are too few and there is no ``drive`` to ask for more.
    """
    with open_source(sources, trust, signatures=signatures, drive=drive) as opened:
        _tell(say, media_notes(opened.media))
        yield opened
        _tell(say, damage_lines(opened.media))


def _tell(say: Optional[Say], lines: Iterator[tuple[str, str]]) -> None:
    if say is not None:
        for step, text in lines:
            say(step, text)


@contextlib.contextmanager
def open_source(
    sources: Sources, trust: Trust, *, signatures: Sequence[Path] = (), drive: Optional[DriveOptions] = None
) -> Iterator[Opened]:
    """Do steps 1 to 5 on an archive or a media set; with too few discs at hand, as a set in one ``drive``."""
    archive = find_archive(_listed(sources))
    if archive is not None:
        with FileSource(str(archive)) as source:
            beside = signatures_beside(archive, signatures)
            yield Opened(verify_head(source, trust, find_decoder(), beside=beside))
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
            bundle = verify_head(media.source, trust, find_decoder(), beside=beside)
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
