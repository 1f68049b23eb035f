"""Which number in its name's sequence a bundle gets, and what loaders will mind: they take no older one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Optional

from bundler.config import BuildConfig
from bundler.delta import Base
from bundler.lock import Last, Lock
from loader.bundle import manifest as manifests
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import ConfigError
from loader.bundle.head import Head
from loader.bundle.strictjson import MAX_INTEGER
from loader.bundle.sums import render_sums


def floor_of(config: BuildConfig, base: Optional[Base]) -> int:
    """Return the least sequence: a bundle of the base's name is loaded after it, and no loader takes an older one."""
    if base is None or base.bundle != config.name:
        return 0
    if config.sequence is not None and config.sequence <= base.sequence:
        raise ConfigError(
            f"sequence {config.sequence} is not larger than that of the base",
            why=f"{base.name} has {base.sequence}; a loader that took it refuses what is older",
            hint="leave sequence out, or give a larger one",
        )
    return base.sequence + 1


def numbered(
    manifest: manifests.BundleManifest,
    lock: Lock,
    there: Optional[manifests.BundleManifest],
    wanted: tuple[Optional[int], int],
    floor: int,
) -> tuple[Head, manifests.BundleManifest]:
    """Choose time and sequence, ``floor`` at least. A rebuild that changes nothing keeps both, hence the bytes."""
    fixed, now = wanted[0], max(wanted[1], floor)
    if there is not None and fixed in {None, there.sequence} and there.sequence >= floor:
        same = replace(manifest, created=there.created, sequence=there.sequence)
        if same == there:
            return _unsigned(same, same.sequence)
    if fixed is not None:
        return _unsigned(manifest, fixed)
    if lock.last is None:
        return _unsigned(manifest, now)
    kept = _unsigned(manifest, lock.last.sequence)
    if kept[0].id == lock.last.id and lock.last.sequence >= floor:
        return kept
    following = max(now, lock.last.sequence + 1)
    if following > MAX_INTEGER:
        raise ConfigError(
            "no sequence is left for this bundle",
            why=f"the lock's last bundle has {lock.last.sequence}, the largest there is",
            hint='remove "last" from the lock; loaders that took that bundle take another with --allow-older alone',
        )
    return _unsigned(manifest, following)


def newest(lock: Lock, manifest: manifests.BundleManifest, head: Head) -> Last:
    """Return the newest bundle of this lock: an older version that is built again takes no sequence back."""
    if lock.last is not None and lock.last.sequence > manifest.sequence:
        return lock.last
    return Last(manifest.sequence, head.id)


def what_loaders_mind(manifest: manifests.BundleManifest, head_id: str, before: Lock, now: str) -> Iterator[str]:
    """Say what makes loaders refuse a bundle, or warn of it, though it was built as asked.

    ``before`` is the lock as it was, ``now`` the time in the form of ``notAfter``.
    """
    last = before.last
    if last is not None and last.id != head_id and manifest.sequence <= last.sequence:
        yield (
            f"sequence {manifest.sequence}: the bundle {last.id[:12]} of this lock has {last.sequence}, and a loader "
            "that took it refuses this one; give a larger sequence, or none"
        )
    if manifest.not_after is not None and manifest.not_after <= now:
        yield f"notAfter {manifest.not_after} is past: loaders warn of it, or refuse it"


def _unsigned(manifest: manifests.BundleManifest, sequence: int) -> tuple[Head, manifests.BundleManifest]:
    placed = replace(manifest, sequence=sequence)
    data = manifests.encode(placed)
    return Head(render_sums(manifest.files, sha256_hex(data)), (), data), placed
