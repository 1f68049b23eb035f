"""An archive's bytes in one regular file, read at any offset by any thread."""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import Optional

from loader.bundle.errors import FormatError, StorageError


class FileSource:
    """Bytes in a regular file. Raises ``StorageError`` if it can't be opened, ``FormatError`` if not regular.

    With ``folder``, an open directory, the file is found below it and is not reached through a link.
    """

    def __init__(self, path: str, *, folder: Optional[int] = None) -> None:
        self.name = os.path.basename(path)  # noqa: PTH119 - the error messages want the name as given
        links = 0 if folder is None else os.O_NOFOLLOW
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | links, dir_fd=folder)
        except OSError as error:
            raise StorageError(f"cannot open {path}", why=error.strerror or str(error)) from error
        try:
            self.size = self.measure(os.fstat(self._fd), path)
        except FormatError:
            os.close(self._fd)
            raise

    def measure(self, info: os.stat_result, path: str) -> int:
        """Return the size of what was opened, or refuse it."""
        if not stat.S_ISREG(info.st_mode):
            raise FormatError(f"{path} is not a regular file", why="it is a folder, a pipe or a device")
        return info.st_size

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill ``view`` from ``offset``; a read error is a ``StorageError``."""
        done = 0
        try:
            while done < len(view):
                got = os.preadv(self._fd, [view[done:]], offset + done)
                if got == 0:
                    break
                done += got
        except OSError as error:
            raise StorageError(
                f"cannot read {self.name} at {offset + done}", why=error.strerror or str(error)
            ) from error
        return done

    def is_same(self, other: FileSource) -> bool:
        """Tell whether both are open on one file, whatever its names say by now."""
        return os.path.sameopenfile(self._fd, other._fd) and self.size == other.size

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def __enter__(self) -> FileSource:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()
