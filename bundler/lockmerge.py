"""What somebody else wrote into ``bundle.lock`` while a run took its time stays there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Optional

from bundler.lock import Last, Lock, write_lock
from bundler.lockreading import read_lock


def keep_lock(path: Path, before: Lock, after: Lock, note: Callable[[str], None]) -> None:
    """Write ``after`` to ``path``, where ``before`` was read; ``note`` hears of each image that moved meanwhile.

    Raises what reading and writing the lock raise.
    """
    # A lock that is gone says nothing of any image.
    now = read_lock(path) if path.exists() else before
    merged = with_others(before, after, now)
    write_lock(path, merged)
    for name, entry in after.images.items():
        there = merged.images.get(name)
        if there is not None and there.digest != entry.digest:
            note(f"{name} was locked anew meanwhile, to {there.digest}, and stays so; here it was {entry.digest}")


def with_others(before: Lock, after: Lock, now: Lock) -> Lock:
    """Return ``after`` with every entry that is another in ``now`` than it was ``before``."""
    images = {}
    for name in {**after.images, **now.images}:
        theirs = now.images.get(name)
        chosen = after.images.get(name) if theirs == before.images.get(name) else theirs
        if chosen is not None:
            images[name] = chosen
    return Lock(images, _newest(after.last, now.last))


def _newest(*lasts: Optional[Last]) -> Optional[Last]:
    return max((last for last in lasts if last is not None), key=lambda last: last.sequence, default=None)
