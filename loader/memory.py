"""Memory where Python has none of its own: files without a name, and what a C library is given of a buffer.

Such files are in memory where the kernel has them, so that a host without a writable /tmp will do.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from typing import IO, Any


def anonymous_file() -> IO[bytes]:
    """An empty, unbuffered file that is gone once it is closed; raises ``OSError`` where there is no place for it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("airgap-loader"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def place(block: memoryview) -> Any:
    """Return what ctypes takes as a pointer to the bytes of ``block``; they stay as long as it does."""
    if block.readonly:
        # ctypes points at the beginning of a bytes object, or at what may be written.
        whole = block.obj
        return whole if isinstance(whole, bytes) and len(whole) == len(block) else bytes(block)
    return ctypes.byref(ctypes.c_char.from_buffer(block))
