"""The sdist with the same bytes each time: setuptools notes when and by whom its files were written."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path


def settle(sdist: Path, moment: int) -> None:
    """Write ``sdist`` (a ``.tar.gz``) anew: files by name, all of ``moment`` (seconds since the epoch), nobody's."""
    plain = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        for entry in sorted(old.getmembers(), key=lambda found: found.name):
            entry.mtime, entry.pax_headers = moment, {}
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            new.addfile(entry, old.extractfile(entry) if entry.isreg() else None)
    with sdist.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=moment) as packed:
        packed.write(plain.getvalue())
