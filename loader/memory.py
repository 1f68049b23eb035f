"""Files without a name: in memory where the kernel has such, so that a host without a writable /tmp will do."""

from __future__ import annotations

import os
import tempfile
from typing import IO


def anonymous_file() -> IO[bytes]:
    """An empty, unbuffered file that is gone once it is closed; raises ``OSError`` where there is no place for it."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("airgap-loader"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
