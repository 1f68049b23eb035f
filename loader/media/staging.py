"""``--stage``: the discs copied into a folder first, in any order, from any number of drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from loader.bundle.errors import StorageError
from loader.durable import write_whole
from loader.media.drive import Drive
from loader.media.join import join_archive


def stage(drive: Drive, signatures: Sequence[tuple[str, bytes]], folder: Path, on_bytes: Callable[[int], None]) -> Path:
    """Copy the set to ``folder`` and return the archive there, its signatures beside it.

    Each chunk is checked as it is copied, and an interrupted copy goes on with what is missing. An archive that is
    there already is taken as it is: whoever uses it verifies it in full.
    """
    media = drive.media
    target = folder / media.archive.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = target.stat().st_size if target.exists() else None
    except OSError as error:
        raise StorageError(f"cannot write {folder}", why=error.strerror or str(error)) from error
    if there is None:
        join_archive(drive, target, on_bytes)
    elif there != media.archive.size:
        raise StorageError(
            f"{target} is not the archive of these discs",
            why=f"it has {there} bytes, not {media.archive.size}",
            hint="remove it, or name another folder with --stage",
        )
    for label, data in signatures:
        write_whole(target.with_name(f"{target.name}.{label}.sig"), data)
    return target
