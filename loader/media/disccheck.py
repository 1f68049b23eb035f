"""One disc looked at alone: its common files, nothing unlisted, every chunk of its share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, Union

from loader.bundle.archive import read_exact
from loader.bundle.digest import sha256_hex
from loader.bundle.discs import FILE, Disc, DiscSet
from loader.bundle.errors import BundleError, FormatError, MissingVolume, StorageError, TrustError
from loader.bundle.head import SUMS, signature_label
from loader.bundle.mediaset import SET, MediaSet, SetFile, encode, label
from loader.bundle.verify import Trust
from loader.bundle.volumes import MediaSource
from loader.media.opened import open_media
from loader.units import counted, human

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


_SET = "set"
"""Where a fault is that is not of one disc of the set."""


@dataclass(frozen=True)
class Fault:
    """Something wrong on a disc; ``kind`` is the error it would be."""

    disc: str
    what: str
    kind: type[BundleError]


@dataclass
class DiscReport:
    """What was found on the discs given: volumes seen, bad chunks by volume, other faults."""

    media: MediaSet
    seen: list[str]
    signers: list[str]
    damage: Mapping[str, Mapping[int, str]]
    faults: list[Fault] = field(default_factory=list)

    def lines(self) -> Iterator[tuple[str, str]]:
        """One (step, text) per finding."""
        media = self.media
        yield "set", f"{media.name}, set id {media.set_id}, bundle id {media.bundle.id}"
        yield "signature", f"ok: {', '.join(self.signers)}" if self.signers else "not checked"
        yield "seen", f"{len(self.seen)} of {len(media.volumes)} seen: {', '.join(self.seen) or 'none'}"
        for volume in media.volumes:
            if volume.name not in self.seen:
                continue
            bad = self.damage.get(volume.name, {})
            text = f"{volume.name} ({label(media.bundle, volume.name)}): {human(volume.size)}, "
            text += f"{len(bad)} of {counted(volume.chunks, 'chunk')} bad" if bad else "every chunk matches its hash"
            yield "disc", text
            for chunk, why in sorted(bad.items())[:20]:
                yield "chunk", f"{volume.name} chunk {chunk}: {why}"
        for fault in self.faults:
            yield "fault", f"{fault.disc}: {fault.what}"

    def document(self) -> dict[str, Any]:
        """The findings as a JSON value."""
        return {
            "bundle": self.media.bundle.id,
            "clean": not self.faults and not any(self.damage.values()),
            "discs": [
                {"badChunks": sorted(self.damage.get(name, {})), "name": name, "seen": name in self.seen}
                for name in (volume.name for volume in self.media.volumes)
            ],
            "faults": [{"disc": fault.disc, "what": fault.what} for fault in self.faults],
            "setId": self.media.set_id,
            "signers": self.signers,
        }


def check_discs(sources: Sequence[Path], trust: Optional[Trust], progress: Progress) -> DiscReport:
    """Read the discs in ``sources`` in full. Raises a ``BundleError`` when they are of no set at all."""
    with open_media(sources, trust) as media:
        readers = [reader for reader in media.source.volumes if reader.copies]
        with progress("check", sum(reader.volume.size for reader in readers)) as on_bytes:
            media.source.survey(readers, on_bytes)
        found = DiscReport(
            media.discs.media,
            [reader.volume.name for reader in readers],
            [signer.key.name for signer in media.discs.signers],
            {reader.volume.name: dict(reader.damage) for reader in readers},
        )
        broken = {f"{name}: {error}": (name, error) for name, error in media.discs.broken}
        for note in media.discs.notes:
            found.faults.append(_broken(*broken[note]) if note in broken else Fault(_SET, note, TrustError))
        found.faults += disc_faults(media.discs, media.source)
    return found


def _broken(name: str, error: Union[BundleError, StorageError]) -> Fault:
    return Fault(name, str(error), type(error) if isinstance(error, BundleError) else MissingVolume)


def disc_faults(discs: DiscSet, source: MediaSource) -> list[Fault]:
    """What is wrong with files that stand on every disc, what stands there unlisted, and segments that are too long."""
    faults = []
    for disc in discs.discs:
        faults += [
            Fault(disc.name, f"{path} {why}", kind) for path, why, kind in _wrong(disc, discs, set(disc.entries()))
        ]
    return [*faults, *_size_faults(source)]


def _wrong(disc: Disc, discs: DiscSet, there: set[str]) -> Iterator[tuple[str, str, type[BundleError]]]:
    media = discs.media
    encoded = encode(media)
    for file in (*media.files, SetFile(SET, len(encoded), sha256_hex(encoded))):
        yield from _differs(disc, file)
    mine = {
        segment.name
        for volume in media.volumes
        if disc in discs.copies.get(volume.name, ())
        for segment in volume.segments
    }
    listed = {SUMS, SET, *mine, *(file.path for file in media.files)}
    for path in sorted(there - listed):
        if signature_label(path) is None and disc.entries()[path] == FILE:
            yield path, "is on no list", FormatError
    for path, kind in sorted(disc.entries().items()):
        if kind != FILE and path not in mine:
            yield path, f"is a {kind}", FormatError


def _differs(disc: Disc, file: SetFile) -> Iterator[tuple[str, str, type[BundleError]]]:
    if file.path not in disc.entries():
        yield file.path, "is missing", TrustError
        return
    try:
        source = disc.open(file.path)
        if source.size != file.size:
            yield file.path, f"is not as listed (it has {source.size} bytes, not {file.size})", TrustError
            return
        found = sha256_hex(bytes(read_exact(source, 0, file.size)))
    except StorageError as error:
        yield file.path, f"can't be read ({error.why or error.message})", MissingVolume
    except BundleError as error:
        yield file.path, f"is not as listed ({error.message})", TrustError
    else:
        if found != file.sha256:
            yield file.path, f"is not as listed (expected {file.sha256}, got {found})", TrustError


def _size_faults(source: MediaSource) -> list[Fault]:
    """Segments that are longer than listed: their chunks are right, ``sha256sum`` would refuse them."""
    faults = []
    for reader in source.volumes:
        for disc in reader.copies:
            for segment in reader.volume.segments:
                size = _size(disc, segment.name)
                if size is not None and size > segment.size:
                    what = f"{segment.name} has {size - segment.size} bytes more than listed"
                    faults.append(Fault(disc.name, what, FormatError))
    return faults


def short_segments(discs: DiscSet) -> list[Fault]:
    """Segments that are shorter than listed, or can't be opened."""
    faults = []
    for volume in discs.media.volumes:
        for disc in discs.copies.get(volume.name, ()):
            for segment in volume.segments:
                size = _size(disc, segment.name)
                if size is None or size < segment.size:
                    what = f"{segment.name} has {size or 0} of {segment.size} bytes"
                    faults.append(Fault(disc.name, what, MissingVolume))
    return faults


def _size(disc: Disc, name: str) -> Optional[int]:
    try:
        return disc.open(name).size
    except (BundleError, StorageError):
        return None  # its chunks are counted as bad already


def require_clean(found: DiscReport) -> None:
    """Raise the error of the gravest finding, if there is one."""
    for fault in found.faults:
        stray = fault.disc == _SET
        why = "it was given among the discs of this set" if stray else "the signed list says otherwise"
        raise fault.kind(
            f"{fault.disc}: {fault.what}",
            why=f"{len(found.faults)} such findings" if len(found.faults) > 1 else why,
            hint="give the discs of one set at a time, and write or get anew what is damaged"
            if stray
            else "do not use this disc; write or get it again",
        )
    bad = {name: len(chunks) for name, chunks in found.damage.items() if chunks}
    if bad:
        raise MissingVolume(
            "; ".join(f"disc {name}: {count} chunks unreadable or wrong" for name, count in bad.items()),
            why="they don't match the signed index",
            hint="write the disc again, or go on with the set's parity discs",
        )
    if not found.seen:
        raise MissingVolume(f"no segment of {found.media.name} was found", hint="is this the right disc?")
