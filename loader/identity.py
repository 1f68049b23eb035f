"""Which loader this is: its own hash, and the libzstd it would use."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import zipfile
from pathlib import Path
from typing import Any, Optional


def own_sha256(program: str) -> str:
    """SHA-256 of the one file that runs (a zipapp), else over our source files in path order.

    The second form is ``sha256sum`` over the lines ``<hex>  <path>`` of ``loader/**/*.py``, sorted by path.
    """
    path = Path(program)
    if path.is_file() and zipfile.is_zipfile(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    root = Path(__file__).parent
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(root.parent).as_posix()}\n"
        for file in sorted(root.rglob("*.py"))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def libzstd_version() -> Optional[str]:
    """Version of libzstd as the decoder in use has it; None where there is none or only the program."""
    for name, attribute in (("zstandard", "ZSTD_VERSION"), ("compression.zstd", "zstd_version_info")):
        try:
            module: Any = importlib.import_module(name)
        except ImportError:
            continue
        return ".".join(str(part) for part in getattr(module, attribute))
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        return None
    library.ZSTD_versionString.restype = ctypes.c_char_p
    version: bytes = library.ZSTD_versionString()
    return version.decode("ascii")
