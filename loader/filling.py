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
from loader.media.places import bundle_groups
from loader.opening import Say, Sources, open_bundle
from loader.units import counted


@dataclass(frozen=True)
class Filled:
    """The bundle that was asked for, and others whose blobs may fill it up; each passed steps 1 to 5."""

    bundle: VerifiedBundle
    more: tuple[VerifiedBundle, ...] = ()


@contextlib.contextmanager
def open_filled(
    sources: Sources, trust: Trust, *, signatures: Sequence[Path] = (), say: Optional[Say] = None
) -> Iterator[Filled]:
    """Open every bundle of ``sources``, in any order: archives each alone, discs together as one media set.

    What is taken of a further bundle is its blobs, each by its digest. ``ConfigError`` where it is not plain which
    of them is meant.
    """
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(open_bundle(group, trust, signatures=signatures, say=say))
            for group in bundle_groups([sources] if isinstance(sources, Path) else sources)
        ]
        bundle = opened[0] if len(opened) == 1 else _asked_for(opened)
        yield Filled(bundle, tuple(one for one in opened if one is not bundle))


def _asked_for(opened: Sequence[VerifiedBundle]) -> VerifiedBundle:
    """The one delta that no other of them builds on."""
    bases = {one.manifest.base for one in opened}
    deltas = [one for one in opened if one.manifest.base is not None and one.id not in bases]
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
            hint="give the bundles it builds on as further SOURCEs; --image names images that are whole",
        )
