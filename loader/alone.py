"""One run at a time for one output: who comes second is told, and changes nothing of the first one's."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from loader.bundle.errors import StorageError


def take(descriptor: int, path: Path) -> None:
    """Lock the open file or folder ``path`` until it is closed; ``StorageError`` where another run has it.

    Where a file system has no such lock (folders on NFS), there is none.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise in_use(path) from error
    except OSError:
        return


def in_use(path: Path) -> StorageError:
    """What to tell of ``path`` that another run writes."""
    return StorageError(
        f"{path} is in use", why="another run is writing there", hint="wait for it to end, or name another place"
    )


@contextlib.contextmanager
def alone_in(folder: Path, *, hidden: bool = False, parents: bool = True) -> Iterator[int]:
    """Make ``folder`` (and its ``parents``) where it is not there, and keep other runs off it while the block lasts.

    Gives its descriptor. One that is ``hidden`` has a name of our own, and may not be a link to what is somebody's.
    What was made for it and is empty in the end is removed. Raises ``StorageError``.
    """
    try:
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=parents, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if hidden else 0))
    except OSError as error:
        raise StorageError(f"cannot write {folder}", why=error.strerror or str(error)) from error
    try:
        take(descriptor, folder)
        if not is_at(descriptor, folder):
            raise in_use(folder)
        try:
            yield descriptor
        finally:
            # By the name alone it might be the next run's.
            for path in made if is_at(descriptor, folder) else made[1:]:
                with contextlib.suppress(OSError):
                    path.rmdir()
    finally:
        os.close(descriptor)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file or folder still has the name ``path``: the other run may have just renamed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
