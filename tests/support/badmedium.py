"""A file that can't be read everywhere, as a scratched disc: the kernel's own read errors, by FUSE.

The kernel's protocol is spoken right here (include/uapi/linux/fuse.h), so that no package is needed; mounting needs
root and /dev/fuse. A medium is one file, mounted over an empty one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Optional

import pytest

_DEVICE = Path("/dev/fuse")
_PAGE = 4096
_REQUEST = 2**20 + _PAGE  # room for the largest request that the kernel may send
_GETATTR, _OPEN, _READ, _STATFS, _RELEASE, _FLUSH, _INIT, _ACCESS = 3, 14, 15, 17, 18, 25, 26, 34
_FORGET, _INTERRUPT, _BATCH_FORGET = 2, 36, 42  # not to be answered
_READ_ONLY, _NO_SUID, _NO_DEVICES, _DETACH = 1, 2, 4, 2


class BadMedium:
    """``data`` as a file whose pages (of 4096 bytes) in ``bad`` end in EIO; after ``reads`` requests every one does."""

    def __init__(self, data: bytes, bad: Collection[int], reads: Optional[int]) -> None:
        self._data = data
        self._bad = frozenset(bad)
        self._left = reads
        self.errors = 0

    def answer(self, fd: int) -> None:
        """Answer requests until the file is unmounted."""
        with contextlib.suppress(OSError):
            while True:
                request = os.read(fd, _REQUEST)
                _, kind, unique = struct.unpack_from("<IIQ", request)
                if kind in {_FORGET, _INTERRUPT, _BATCH_FORGET}:
                    continue
                body = self._body(kind, request[40:])
                code, body = (-body, b"") if isinstance(body, int) else (0, body)
                os.write(fd, struct.pack("<IiQ", 16 + len(body), code, unique) + body)

    def _body(self, kind: int, request: bytes) -> bytes | int:
        """What is answered, or the number of an error."""
        if kind == _INIT:
            _, _, ahead, _ = struct.unpack_from("<IIII", request)
            return struct.pack("<IIIIHHII36x", 7, 31, ahead, 0, 0, 0, _PAGE, 1)
        if kind == _GETATTR:
            times = (0,) * 6
            size = len(self._data)
            attributes = struct.pack("<QQQ3Q3I", 1, size, -(-size // 512), *times)
            return (
                struct.pack("<QII", 1, 0, 0) + attributes + struct.pack("<7I", stat.S_IFREG | 0o444, 1, 0, 0, 0, 512, 0)
            )
        if kind == _OPEN:
            return struct.pack("<QII", 0, 0, 0)
        if kind == _READ:
            _, offset, size = struct.unpack_from("<QQI", request)
            touched = range(offset // _PAGE, -(-(offset + size) // _PAGE))
            if self._is_pulled() or not self._bad.isdisjoint(touched):
                self.errors += 1
                return errno.EIO
            return self._data[offset : offset + size]
        if kind == _STATFS:
            return bytes(80)
        return b"" if kind in {_RELEASE, _FLUSH, _ACCESS} else errno.ENOSYS

    def _is_pulled(self) -> bool:
        if self._left:
            self._left -= 1
        return self._left == 0


@contextlib.contextmanager
def bad_medium(
    path: Path, data: bytes, bad: Collection[int] = (), *, reads: Optional[int] = None
) -> Iterator[BadMedium]:
    """Show ``data`` at ``path``, with the pages in ``bad`` unreadable, until the block ends; pulled after ``reads``."""
    if not _DEVICE.exists() or os.geteuid() != 0:
        pytest.fail(f"a medium with read errors needs root and {_DEVICE} (modprobe fuse)")
    libc = ctypes.CDLL(None, use_errno=True)
    path.touch()
    medium = BadMedium(data, bad, reads)
    fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={fd},rootmode={stat.S_IFREG | 0o444:o},user_id=0,group_id=0,allow_other"
    flags = _READ_ONLY | _NO_SUID | _NO_DEVICES
    if libc.mount(b"bad-medium", os.fsencode(path), b"fuse", flags, options.encode()):
        os.close(fd)
        pytest.fail(f"cannot mount {path}: {os.strerror(ctypes.get_errno())}")
    thread = threading.Thread(target=medium.answer, args=(fd,), name="bad medium", daemon=True)
    thread.start()
    try:
        yield medium
    finally:
        libc.umount2(os.fsencode(path), _DETACH)
        thread.join(10)
        os.close(fd)
