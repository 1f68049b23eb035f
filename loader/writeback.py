"""Large files on their way to the disk while they are written."""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Optional

from loader.bundle.errors import StorageError
from loader.bundle.limits import MIB

_WRITE_BACK = 32 * MIB  # smaller steps cost more flushes of the disk's cache, larger ones leave it idle


class WriteBack:
    """Keeps the disk busy while a file grows, so that the last fsync finds little left to do.

    A context that starts after the file was opened. Raises ``StorageError`` at its end when the disk refused
    something: the kernel tells that once, and a later fsync may no longer hear of it.
    """

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self._waiting = 0
        self._ended = False
        self._changed = threading.Condition()
        self._error: Optional[OSError] = None
        self._thread = threading.Thread(target=self._work, name="write-back", daemon=True)

    def __enter__(self) -> WriteBack:
        self._thread.start()
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        if self._error is not None and kind is None:
            raise StorageError(f"cannot write {self._name}", why=self._error.strerror or str(self._error))

    def wrote(self, size: int) -> None:
        """Count ``size`` bytes more in the file."""
        with self._changed:
            self._waiting += size
            if self._waiting >= _WRITE_BACK:
                self._changed.notify()

    def _work(self) -> None:
        try:
            while self._due():
                os.fdatasync(self._fd)
        except OSError as error:
            self._error = error

    def _due(self) -> bool:
        """Wait for enough to write back; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._waiting >= _WRITE_BACK)
            self._waiting = 0
            return not self._ended
