"""A disc as a folder or a mount point; nothing on it is reached through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Optional

from loader.bundle.discs import FILE
from loader.bundle.errors import FormatError, StorageError
from loader.bundle.filesource import FileSource
from loader.bundle.limits import MAX_MEMBERS

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "device",
    stat.S_IFCHR: "device",
}


LOST_AND_FOUND = "lost+found"
"""What ext4 puts at the top of a file system, for root alone."""


class FolderDisc:
    """The files below a folder. Raises ``StorageError`` if it can't be opened."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._entries: Optional[Mapping[str, str]] = None
        self._opened: list[FileSource] = []
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"cannot open {path}", why=error.strerror or str(error)) from error

    def entries(self) -> Mapping[str, str]:
        """Path of everything that is no folder -> its kind."""
        if self._entries is None:
            try:
                found = dict(self._walk())
            except OSError as error:
                raise self._unreadable(error) from error
            if len(found) > MAX_MEMBERS:
                raise FormatError(f"{self.name} has too many files", why=f"more than {MAX_MEMBERS}")
            self._entries = found
        return self._entries

    def _walk(self) -> Iterator[tuple[str, str]]:
        count = 0
        for root, folders, files, fd in os.fwalk(".", dir_fd=self._fd, onerror=_raise):
            for name in (*folders, *files):
                path = os.path.normpath(f"{root}/{name}")
                if name in folders and _is_closed(name, fd):
                    folders.remove(name)
                    if path != LOST_AND_FOUND:
                        count += 1
                        yield path, "folder that may not be read"
                    continue
                mode = stat.S_IFMT(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
                if mode != stat.S_IFDIR:
                    count += 1
                    yield path, _KINDS.get(mode, "stranger")
            if count > MAX_MEMBERS:
                return

    def _unreadable(self, error: OSError) -> StorageError:
        return StorageError(f"cannot read {self.name}", why=error.strerror or str(error))

    def open(self, path: str) -> FileSource:
        """Open a regular file; ``FormatError`` for anything else."""
        kind = self.entries().get(path)
        if kind is None:
            raise StorageError(f"{path} is not on {self.name}", why="no such file")
        if kind != FILE:
            raise FormatError(f"{path} on {self.name} is not a regular file", why=f"it is a {kind}")
        source = FileSource(path, folder=self._fd)
        self._opened.append(source)
        return source

    def close(self) -> None:
        """Close the folder and every file opened."""
        while self._opened:
            self._opened.pop().close()
        os.close(self._fd)

    def __enter__(self) -> FolderDisc:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()


def _is_closed(name: str, folder: int) -> bool:
    try:
        os.close(os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder))
    except PermissionError:
        return True
    except OSError:
        return False  # a link; what else it may be shows when it is read
    return False


def _raise(error: OSError) -> None:
    raise error
