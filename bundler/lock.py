"""``bundle.lock``: which digest each image was resolved to, and the last sequence and id built.

JSON beside the config, made to be committed. Nothing locked moves unless asked for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from bundler.output import rewrite_file
from loader.bundle.errors import ConfigError, StorageError
from loader.oci.model import ImageRef


@dataclass(frozen=True)
class Beside:
    """What was found beside ``subject``, a manifest of the image: as an attachment, without its bytes."""

    kind: str
    digest: str
    tag: Optional[str]


@dataclass(frozen=True)
class Locked:
    """What a name was resolved to; ``resolved`` is when (UTC), ``size`` the top manifest's bytes.

    ``made_from``: the transport that has no registry manifest, so that the digest was made here; empty for others.
    ``attached``: what belonged to each manifest, by its digest, when that was last asked. ``documents``: manifests and
    other small texts by digest, so that a plan need not ask for them. Both are empty in locks of older versions.
    """

    digest: str
    media_type: str
    size: int
    platforms: tuple[str, ...]
    resolved: str
    made_from: str = ""
    attached: Mapping[str, tuple[Beside, ...]] = field(default_factory=dict)
    documents: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Last:
    """The newest bundle built from this lock, which is the one of the highest sequence."""

    sequence: int
    id: str


@dataclass(frozen=True)
class Lock:
    """Images by the name the config gives them."""

    images: Mapping[str, Locked] = field(default_factory=dict)
    last: Optional[Last] = None


def lock_path(config: Path) -> Path:
    """``bundle.lock`` for ``bundle.yaml``: the lock stands beside its config."""
    return config.with_suffix(".lock")


def write_lock(path: Path, lock: Lock) -> None:
    """Write ``lock`` whole or not at all; an unchanged one is not touched."""
    plain = {
        "formatVersion": 1,
        "images": {
            name: {
                "digest": entry.digest,
                **({"attached": _plain_attached(entry.attached)} if entry.attached else {}),
                **({"documents": dict(entry.documents)} if entry.documents else {}),
                **({"madeFrom": entry.made_from} if entry.made_from else {}),
                "mediaType": entry.media_type,
                "platforms": list(entry.platforms),
                "resolved": entry.resolved,
                "size": entry.size,
            }
            for name, entry in lock.images.items()
        },
        "last": None if lock.last is None else {"id": lock.last.id, "sequence": lock.last.sequence},
    }
    data = (json.dumps(plain, indent=2, sort_keys=True) + "\n").encode()
    try:
        if path.exists() and path.read_bytes() == data:
            return
    except OSError as error:
        raise StorageError(f"cannot read {path}", why=error.strerror or str(error)) from error
    rewrite_file(path, data)


def _plain_attached(attached: Mapping[str, Sequence[Beside]]) -> Mapping[str, Sequence[Mapping[str, Optional[str]]]]:
    return {
        subject: [{"digest": one.digest, "kind": one.kind, "tag": one.tag} for one in found]
        for subject, found in attached.items()
    }


def changes(before: Lock, after: Lock) -> list[str]:
    """One line for each image that was added, dropped or moved, and for each attachment that came or went."""
    lines = [f"+ {name} {after.images[name].digest}" for name in after.images if name not in before.images]
    lines += [f"- {name}" for name in before.images if name not in after.images]
    lines += [
        f"~ {name} {before.images[name].digest} -> {entry.digest}"
        for name, entry in after.images.items()
        if name in before.images and before.images[name].digest != entry.digest
    ]
    for name, entry in after.images.items():
        lines += _attachment_changes(name, before.images.get(name, entry), entry)
    return sorted(lines, key=lambda line: line[2:])


def _attachment_changes(name: str, before: Locked, after: Locked) -> Iterator[str]:
    """Compare what belongs to the manifests that both were asked for; a manifest that moved is a change itself."""
    for subject in before.attached.keys() & after.attached.keys():
        was, now = set(before.attached[subject]), set(after.attached[subject])
        for sign, some in (("+", now - was), ("-", was - now)):
            yield from (f"{sign} {name} {one.kind} {one.digest}" for one in some)


def require_unchanged(lines: Sequence[str]) -> None:
    """Raise ``ConfigError`` unless there are no changes: what ``--locked`` asks for."""
    if lines:
        words = {"+": "not in the lock", "-": "no longer there", "~": "moved"}
        raise ConfigError(
            "--locked: the lock does not fit the config",
            faults=[(line[2:], words[line[0]]) for line in lines],
            hint="run it without --locked and commit the new lock",
        )


def unlocked(lock: Lock, update: Iterable[str], *, everything: bool) -> Lock:
    """Return ``lock`` without the images that may move; ``ConfigError`` for a name it doesn't have."""
    if everything:
        return dataclasses.replace(lock, images={})
    names = {name: name if name in lock.images else _in_full(name) for name in update}
    unknown = sorted(given for given, name in names.items() if name not in lock.images)
    if unknown:
        raise ConfigError(
            "--update names images that are not locked", faults=[(name, "not in the lock") for name in unknown]
        )
    return dataclasses.replace(lock, images={name: e for name, e in lock.images.items() if name not in names.values()})


def _in_full(name: str) -> str:
    """Return the name as the lock has it for one as a config may have it: ``busybox``."""
    try:
        return str(ImageRef.parse(name))
    except ConfigError:
        return name
