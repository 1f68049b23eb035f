"""Files that decide whom to believe must be in nobody else's hands, as sshd asks of its own (``StrictModes``)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from loader.bundle.errors import StorageError, TrustError
from loader.signing import read_small_file

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def read_guarded(path: Path, cap: int) -> bytes:
    """Return a regular file's bytes, at most ``cap``; ``TrustError`` if another user could have written it."""
    require_guarded(path)
    return read_small_file(path, cap)


def require_guarded(path: Path) -> None:
    """Require that only root and this user can change ``path`` or put something else in its place.

    A file or folder that is a symbolic link, belongs to someone else, or is writable by group or others is refused;
    so is one below a folder that everybody can write, unless that keeps what others own (``/tmp``).
    """
    info = _lstat(path)
    if stat.S_ISLNK(info.st_mode):
        raise TrustError(
            f"{path} is a symbolic link", why="what it leads to can be exchanged", hint="name the file or folder itself"
        )
    if info.st_uid not in {0, os.geteuid()}:
        raise _unsafe(path, f"it belongs to user {info.st_uid}", f"chown it to root or to user {os.geteuid()}")
    if info.st_mode & _OTHERS:
        who = "others" if info.st_mode & stat.S_IWOTH else "its group"
        raise _unsafe(path, f"it is writable by {who} (mode {stat.S_IMODE(info.st_mode):04o})", f"chmod go-w {path}")
    for folder in Path(os.path.realpath(path)).parents:
        mode = _lstat(folder).st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise _unsafe(path, f"everybody can write {folder} (mode {stat.S_IMODE(mode):04o})", f"chmod o-w {folder}")


def require_private(path: Path) -> None:
    """Require that nobody but the owner can write ``path``, a private key: who exchanges it signs in our name."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise StorageError(f"cannot read {path}", why=error.strerror or str(error)) from error
    if mode & _OTHERS:
        raise _unsafe(path, f"it is writable by others (mode {stat.S_IMODE(mode):04o})", f"chmod 600 {path}")


def _lstat(path: Path) -> os.stat_result:
    try:
        return path.lstat()
    except OSError as error:
        raise StorageError(f"cannot read {path}", why=error.strerror or str(error)) from error


def _unsafe(path: Path, why: str, hint: str) -> TrustError:
    return TrustError(f"{path} could have been changed by someone else", why=why, hint=hint)
