"""Room on a disk, asked for before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from loader.bundle.errors import StorageError
from loader.units import human


def require_space(folder: Path, needed: int, *, have: int = 0, option: str = "with -o") -> None:
    """Raise ``StorageError`` unless ``needed`` bytes are free where ``folder`` is or is going to be.

    ``have``: bytes of it that are there already, from a run that was stopped. ``option``: how to name another folder.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    try:
        free = shutil.disk_usage(there).free + have
    except OSError as error:
        raise StorageError(f"cannot write {folder}", why=error.strerror or str(error)) from error
    if free < needed:
        raise StorageError(
            f"not enough space in {there}",
            why=f"needed {human(needed)}, free {human(free)}",
            hint=f"free some, or name another folder {option}",
        )
