"""A small file written whole or not at all, and still there after a power cut."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path
from typing import Optional

from loader.bundle.errors import StorageError

# Some network file systems sync files alone.
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})
REPORT_ELSEWHERE = "--report DIR names another folder"


def make_folders(path: Path, mode: int) -> None:
    """Make ``path`` and what is missing above it, all with ``mode``: pathlib gives that to the last alone."""
    missing = []
    while not path.exists():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(mode=mode, exist_ok=True)
    if not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk, where its file system can be told so. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes, *, mode: int = 0o644, folders: Optional[int] = 0o700, hint: str = "") -> None:
    """Put ``data`` at ``path``: temporary name beside it, fsync, rename, fsync of the folder.

    Missing folders are made with the mode ``folders``; with None they are an error. Who may write the same path at the
    same time holds a lock. Raises ``StorageError`` with ``hint`` as what to do next.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        if folders is not None:
            make_folders(path.parent, folders)
        # What a killed run left must lend a private file neither its mode nor, as a link, its place.
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}", why=error.strerror or str(error), hint=hint) from error


def require_reports(folder: Path) -> None:
    """Make ``folder`` if it is not there, and raise ``StorageError`` now if no report can be put into it later."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StorageError(
            f"no report can be written to {folder}", why=error.strerror or str(error), hint=REPORT_ELSEWHERE
        ) from error


def write_report(path: Path, data: bytes) -> None:
    """Write a report file whole or not at all."""
    write_whole(path, data, folders=0o777, hint=REPORT_ELSEWHERE)
