"""Which of several SOURCEs make up one bundle."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Optional

from loader.bundle import mediaset
from loader.bundle.discs import read_disc
from loader.bundle.errors import BundleError, StorageError
from loader.bundle.limits import MAX_UNSIGNED_SET
from loader.bundle.verify import Trust
from loader.media.opendrive import is_enough
from loader.media.places import disc_paths, is_disc, open_discs


def bundle_groups(sources: Sequence[Path], trust: Trust) -> list[list[Path]]:
    """Return ``sources`` by bundle: every archive is one, and so is every media set of which enough is at hand.

    Discs of several bundles, of which one has too few here, stay together: one of them may be a stray.
    """
    discs = [path for path in sources if is_disc(path)]
    archives = [[path] for path in sources if path not in discs]
    if not discs:
        return archives
    paths = list(dict.fromkeys(path for source in discs for path in disc_paths(source)))
    sets = _sets(paths) if len(paths) > 1 else []
    apart = len(sets) > 1 and all(is_enough(one, trust) for one in sets)
    return [*archives, *(sets if apart else [discs])]


def _sets(discs: Sequence[Path]) -> list[list[Path]]:
    """``discs`` by the bundle they say they carry; what cannot say it may be of any of them."""
    by_bundle: dict[str, list[Path]] = {}
    unknown = []
    for path in discs:
        bundle = _claimed_bundle(path)
        if bundle is None:
            unknown.append(path)
        else:
            by_bundle.setdefault(bundle, []).append(path)
    return [[*own, *unknown] for own in by_bundle.values()]


def _claimed_bundle(path: Path) -> Optional[str]:
    """The id of the bundle in a disc's ``set.json``; None where there is none to be read. Nothing of it is checked."""
    try:
        with ExitStack() as stack:
            (disc,) = open_discs([path], stack)
            claim = read_disc(disc).manifest
            return mediaset.decode(claim).bundle.id if len(claim) <= MAX_UNSIGNED_SET else None
    except (BundleError, StorageError):
        return None
