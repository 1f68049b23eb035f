"""Opening a SOURCE: the archive or the discs of a media set, the signatures beside it, and the verdict on both."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from loader.bundle.archive import read_exact
from loader.bundle.discs import DiscSet, bundle_head, open_set
from loader.bundle.errors import FormatError, MissingVolume, StorageError, TrustError
from loader.bundle.head import LABEL
from loader.bundle.limits import MAX_SIGNATURE, MAX_SIGNATURES
from loader.bundle.verify import Trust, VerifiedBundle, verify_head
from loader.bundle.volumes import FileSource, MediaSource
from loader.media.places import disc_paths, find_archive, open_discs
from loader.zstd import find_decoder

Say = Callable[[str, str], None]
Sources = Union[Path, Sequence[Path]]

_MAX_BESIDE = 4 * MAX_SIGNATURES  # counted before the first is read


@dataclass(frozen=True)
class OpenedMedia:
    """A media set and the archive in it."""

    discs: DiscSet
    source: MediaSource


@dataclass(frozen=True)
class Opened:
    """A bundle that passed steps 1 to 5, and the media set it came on, if it did."""

    bundle: VerifiedBundle
    media: Optional[OpenedMedia]


def signatures_beside(archive: Path, extra: Sequence[Path] = ()) -> list[tuple[str, bytes]]:
    """Return (label, bytes) of every ``X.tar.zst.LABEL.sig`` beside ``archive``, and of ``extra`` files."""
    found = _signature_files(archive.parent, archive.name)
    return _read_signatures([*found, *((path.name, path) for path in extra)], archive.name)


def signatures_by_discs(sources: Sequence[Path], archive: str, extra: Sequence[Path] = ()) -> list[tuple[str, bytes]]:
    """Return (label, bytes) of every ``ARCHIVE.LABEL.sig`` beside the discs ``sources`` name, and of ``extra`` files.

    Beside a disc is the folder it stands in; of a folder of discs that is the folder itself.
    """
    folders = dict.fromkeys(path.parent for source in sources for path in disc_paths(source))
    found = [(label, path) for folder in folders for label, path in _signature_files(folder, archive)]
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
    """Do steps 1 to 5 and keep the bundle open: its blobs are read while the context lasts.

    ``sources`` are one archive, or discs of one media set in any order; ``say`` is told of wrong and damaged discs.
    Raises ``MissingVolume`` when the discs are too few.
    """
    with open_source(sources, trust, signatures=signatures) as opened:
        _tell(say, media_notes(opened.media))
        yield opened.bundle
        _tell(say, damage_lines(opened.media))


def _tell(say: Optional[Say], lines: Iterator[tuple[str, str]]) -> None:
    if say is not None:
        for step, text in lines:
            say(step, text)


@contextlib.contextmanager
def open_source(sources: Sources, trust: Trust, *, signatures: Sequence[Path] = ()) -> Iterator[Opened]:
    """Do steps 1 to 5 on an archive or a media set."""
    archive = find_archive(_listed(sources))
    if archive is not None:
        with FileSource(str(archive)) as source:
            beside = signatures_beside(archive, signatures)
            yield Opened(verify_head(source, trust, find_decoder(), beside=beside), None)
        return
    with open_media(sources, trust) as media:
        media.source.require_enough()
        beside = all_signatures(media, sources, signatures)
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


@contextlib.contextmanager
def open_media(sources: Sources, trust: Optional[Trust]) -> Iterator[OpenedMedia]:
    """Open the discs of a set and check its list; without ``trust`` its signatures are not."""
    with contextlib.ExitStack() as stack:
        discs = open_set(open_discs(_listed(sources), stack), trust)
        yield OpenedMedia(discs, MediaSource(discs))


def all_signatures(media: OpenedMedia, sources: Sources, extra: Sequence[Path]) -> list[tuple[str, bytes]]:
    """Every signature over the bundle's list: on the discs, beside them, given."""
    found = signatures_by_discs(_listed(sources), media.discs.media.archive.name, extra)
    return [*bundle_head(media.discs).signatures, *found]


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
    for reader in media.source.volumes:
        name, count = reader.volume.name, len(reader.damage)
        healed = media.source.healed.get(name, 0)
        if not reader.copies and healed:
            yield "media", f"disc {name} is not here: {healed} chunks made from parity"
        elif count:
            first = min(reader.damage)
            tail = f", {healed} made from parity" if healed else ""
            where = f"chunk {first} of {reader.segment_of(first)}, {reader.damage[first]}"
            yield "media", f"disc {name}: {count} of {reader.volume.chunks} chunks unreadable{tail} (first: {where})"
