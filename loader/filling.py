"""Several bundles as SOURCE: a delta, and further ones that hold what it leaves out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from loader.bundle.errors import ConfigError
from loader.bundle.manifest import Attachment, Image
from loader.bundle.verify import Trust, VerifiedBundle
from loader.media.groups import bundle_groups
from loader.media.onedrive import OneDrive
from loader.opening import DriveOptions, Say, Sources, open_told
from loader.sidecar import Sidecar
from loader.signaturefiles import idle_signatures
from loader.tie import find_tie
from loader.units import counted


@dataclass(frozen=True)
class Filled:
    """The bundle that was asked for, and others whose blobs may fill it up; each passed steps 1 to 5."""

    bundle: VerifiedBundle
    more: tuple[VerifiedBundle, ...] = ()
    drive: Optional[OneDrive] = None
    listed: bool = False
    sidecar: Optional[Sidecar] = None


@contextlib.contextmanager
def open_filled(
    sources: Sources,
    trust: Trust,
    *,
    signatures: Sequence[Path] = (),
    say: Optional[Say] = None,
    drive: Optional[DriveOptions] = None,
) -> Iterator[Filled]:
    """Open every bundle of ``sources``, in any order: archives and media sets.

    What is taken of a further bundle is its blobs, each by its digest. ``ConfigError`` where it is not plain which
    of them is meant. With ``drive`` the set of the bundle asked for may come disc by disc.
    """
    tie = find_tie()
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(open_told(group, trust, signatures=signatures, say=say, drive=drive, tie=tie))
            for group in bundle_groups([sources] if isinstance(sources, Path) else sources, trust)
        ]
        bundles = [one.bundle for one in opened]
        if say is not None:
            also = [one for each in opened if each.sidecar is not None for one in each.sidecar.signatures]
            for step, text in idle_signatures(signatures, bundles, also):
                say(step, text)
        bundle = bundles[0] if len(bundles) == 1 else _asked_for(bundles)
        drives = [one.drive for one in opened if one.drive is not None]
        asked = next(one for one in opened if one.bundle is bundle)
        if drives and drives[0].one.bundle is not bundle:
            raise ConfigError(
                "what fills a delta up has to be at hand in full",
                why="a set in one drive is read once, from its first disc to its last",
                hint="give all of its discs, or copy them first with join",
            )
        more = tuple(one for one in bundles if one is not bundle)
        yield Filled(bundle, more, drives[0] if drives else None, asked.listed, asked.sidecar)


def _asked_for(opened: Sequence[VerifiedBundle]) -> VerifiedBundle:
    """The one delta that no other of them builds on; of several of one name the newest, which a load may go to."""
    bases = {one.manifest.base for one in opened}
    deltas = [one for one in opened if one.manifest.base is not None and one.id not in bases]
    if len({one.manifest.name for one in deltas}) == 1:
        newest = max(one.manifest.sequence for one in deltas)
        deltas = [one for one in deltas if one.manifest.sequence == newest]
    if len(deltas) != 1:
        names = ", ".join(f"{one.manifest.name} {one.manifest.version} ({one.id[:12]})" for one in opened)
        raise ConfigError(
            f"{len(opened)} bundles were given, and not one delta with what fills it up",
            why=names,
            hint="give one bundle at a time, or a delta and the bundles it builds on",
        )
    return deltas[0]


def require_carried(
    bundle: VerifiedBundle, owners: Sequence[Union[Image, Attachment]], more: Sequence[VerifiedBundle]
) -> None:
    """Raise ``ConfigError`` for a delta that ``more`` do not fill up: an image with gaps looks whole until used."""
    gaps = {
        blob.digest
        for owner in owners
        for node in bundle.graphs[owner.path].nodes
        for blob in node.blobs
        if not any(one.has_blob(blob.digest) for one in (bundle, *more))
    }
    if gaps:
        raise ConfigError(
            f"this bundle is a delta: {counted(len(gaps), 'blob')} of these images not in it",
            why=", ".join(sorted(gaps)[:5]),
            hint="give the bundles it builds on as further SOURCEs, or whole images with --image",
        )
