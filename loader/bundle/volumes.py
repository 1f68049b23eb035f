"""Where an archive's bytes are: for now one regular file, read at any offset by any thread."""

from __future__ import annotations

import os
import stat
from types import TracebackType
from typing import Optional

from loader.bundle.errors import FormatError, StorageError


class FileSource:
    """An archive in a regular file. Raises ``StorageError`` if it can't be opened, ``FormatError`` if not regular."""

    def __init__(self, path: str) -> None:
        self.name = os.path.basename(path)  # noqa: PTH119 - the error messages want the name as given
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise StorageError(f"cannot open {path}", why=error.strerror or str(error)) from error
        info = os.fstat(self._fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(self._fd)
            raise FormatError(f"{path} is not a regular file", why="it is a folder, a pipe or a device")
        self.size = info.st_size

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
