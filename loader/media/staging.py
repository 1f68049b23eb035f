"""``--stage``: the discs copied into a folder first, in any order, from any number of drives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from loader.bundle.errors import BundleError, StorageError
from loader.bundle.filesource import FileSource
from loader.bundle.head import read_head
from loader.bundle.mediaset import MediaSet
from loader.durable import write_whole
from loader.media.drive import Drive
from loader.media.join import join_archive


def stage(drive: Drive, signatures: Sequence[tuple[str, bytes]], folder: Path, on_bytes: Callable[[int], None]) -> Path:
    """Copy the set to ``folder`` and return the archive there, its signatures beside it.

    Each chunk is checked as it is copied, and an interrupted copy goes on with what is missing. An archive that is
    there already has to be of the discs' bundle, ``StorageError`` for any other; whoever uses it verifies its bytes.
    """
    media = drive.media
    target = folder / media.archive.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = target.exists()
    except OSError as error:
        raise StorageError(f"cannot write {folder}", why=error.strerror or str(error)) from error
    if not there:
        join_archive(drive, target, on_bytes, option="with --stage")
    else:
        _require_copy(target, media)
    for label, data in signatures:
        write_whole(target.with_name(f"{target.name}.{label}.sig"), data)
    return target


def _require_copy(target: Path, media: MediaSet) -> None:
    with FileSource(str(target)) as source:
        try:
            bundle = read_head(source).id
        except BundleError:
            bundle = ""
        size = source.size
    if bundle == media.bundle.id and size == media.archive.size:
        return
    why = f"its bundle id is {bundle}, not {media.bundle.id}" if bundle else "it is no archive"
    raise StorageError(
        f"{target} is not the archive of these discs",
        why=f"it has {size} bytes, not {media.archive.size}" if bundle == media.bundle.id else why,
        hint="remove it, or name another folder with --stage",
    )
