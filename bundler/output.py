"""Files in the output folder: written under a hidden name, checked, synced, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from loader.alone import take
from loader.bundle.errors import RegistryError, StorageError, TrustError
from loader.durable import sync_folder, write_whole
from loader.units import human


class Partial:
    """The archive being written, under a hidden name and an exclusive lock."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.fd = fd
        self.kept = False

    def is_here(self) -> bool:
        """Whether its name is still its own."""
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(self.fd))
        except FileNotFoundError:
            return False

    def keep(self, final: Path) -> None:
        """Give the finished file its final name, durably. ``StorageError`` if its own is another file's by now."""
        try:
            if not self.is_here():
                raise StorageError(
                    f"{self.path} was removed or replaced while it was written",
                    why="what has its name is not what was written",
                    hint="find out who else writes into this folder, and run the same command again",
                )
            self.path.replace(final)
            self.kept = True
            sync_folder(final.parent)
        except OSError as error:
            raise StorageError(f"cannot write {final}", why=error.strerror or str(error)) from error


def hidden_name(path: Path) -> Path:
    """Where ``path`` stands until it is finished."""
    return path.with_name(f".{path.name}.part")


@contextlib.contextmanager
def partial_file(path: Path) -> Iterator[Partial]:
    """Open ``path``'s hidden ``.part`` file under an exclusive lock; it is removed unless kept.

    It stays after an interruption, and where a registry failed or sent something else: the same command goes
    on from it. What an earlier build left stays when the disk is full, too.
    """
    hidden = hidden_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        hint = "remove what has its name" if error.errno in {errno.ELOOP, errno.EISDIR} else ""
        raise StorageError(f"cannot write {hidden}", why=error.strerror or str(error), hint=hint) from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StorageError(f"{hidden} is no file", why="something else has its name", hint="remove it")
    try:
        take(fd, hidden)
    except StorageError:
        os.close(fd)
        raise
    partial = Partial(hidden, fd)
    had = os.fstat(fd).st_size
    try:
        yield partial
    except KeyboardInterrupt:
        partial.kept = True
        raise
    except (RegistryError, TrustError, StorageError) as error:
        # What goes on hashes all of it again, so that a blob which arrived wrong is left out.
        size = os.fstat(fd).st_size
        partial.kept = size > 0 and (had > 0 or not isinstance(error, StorageError))
        if partial.kept and partial.is_here():
            goes_on = f"the same command goes on from the {human(size)} in {hidden}"
            error.hint = f"{error.hint}; {goes_on}" if error.hint else goes_on
        raise
    finally:
        if not partial.kept and partial.is_here():
            hidden.unlink(missing_ok=True)
        os.close(fd)


def sync(path: Path) -> None:
    """Have what was written to ``path`` on the disk. Raises ``StorageError``."""
    try:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    except OSError as error:
        raise StorageError(f"cannot write {path}", why=error.strerror or str(error)) from error


def rewrite_file(path: Path, data: bytes) -> None:
    """Write a file that people keep, as :func:`write_file`: where a link leads to, and with the mode that it has."""
    place = Path(os.path.realpath(path)) if path.is_symlink() else path
    try:
        mode = stat.S_IMODE(place.stat().st_mode)
    except OSError:  # a new file; what else is wrong is told when it is written
        write_file(place, data)
        return
    write_file(place, data, mode)
    try:
        # The umask has taken from it.
        place.chmod(mode)
    except OSError as error:
        raise StorageError(f"cannot write {place}", why=error.strerror or str(error)) from error


def write_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a small file whole or not at all. Raises ``StorageError``."""
    write_whole(path, data, mode=mode, folders=None)
