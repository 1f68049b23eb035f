"""The archive back from its discs, byte for byte, healed from parity where needed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from loader.bundle.archive import read_exact
from loader.bundle.errors import ConfigError, MissingVolume, StorageError, TrustError
from loader.bundle.mediaset import CHUNK
from loader.opening import OpenedMedia
from loader.units import human

_BLOCK = 4 * CHUNK


def join_archive(media: OpenedMedia, target: Path, on_bytes: Callable[[int], None]) -> None:
    """Write the archive to ``target``, which must not exist; it stands there only when its SHA-256 matched.

    Raises ``ConfigError`` for a target that exists, ``StorageError`` for a full disk, ``MissingVolume`` naming every
    lost disc when parity does not cover them.
    """
    source = media.source
    source.require_enough()
    if target.exists() or target.is_symlink():
        raise ConfigError(f"{target} exists", why="a file is never overwritten", hint="name another one with -o")
    part = target.with_name(f".{target.name}.part")
    running = hashlib.sha256()
    try:
        _check_space(target, source.size)
        with part.open("wb") as stream:
            buffer = bytearray(_BLOCK)
            for offset in range(0, source.size, _BLOCK):
                block = read_exact(source, offset, min(_BLOCK, source.size - offset), buffer)
                running.update(block)
                stream.write(block)
                on_bytes(len(block))
            stream.flush()
            os.fsync(stream.fileno())
        if running.hexdigest() != media.discs.media.archive.sha256:
            raise TrustError(
                f"{target.name} does not match the SHA-256 of {source.name}",
                why=f"expected {media.discs.media.archive.sha256}, got {running.hexdigest()}",
            )
        part.replace(target)
    except MissingVolume:
        source.tell_all()
        raise
    except OSError as error:
        raise StorageError(f"cannot write {target}", why=error.strerror or str(error)) from error
    finally:
        part.unlink(missing_ok=True)


def _check_space(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise StorageError(
            f"not enough space in {target.parent}",
            why=f"needed {human(needed)}, free {human(free)}",
            hint="free some, or name another file with -o",
        )
