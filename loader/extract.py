"""Verified layouts and documents to disk, under their final names only once everything was verified."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from loader.bundle.errors import StorageError
from loader.bundle.manifest import Image
from loader.bundle.verify import Complete, VerifiedBundle
from loader.filling import require_carried
from loader.site import SiteDocument


def extract_images(
    complete: Complete,
    images: Sequence[Image],
    output: Path,
    on_bytes: Callable[[int], None],
    more: Sequence[VerifiedBundle] = (),
) -> list[Path]:
    """Write the skopeo dir layout of each image to ``output/images/<dir>``; shared blobs are hard links.

    A folder stands under its final name only when it is whole. Raises ``StorageError`` for a folder that is there
    already and for a full disk, ``ConfigError`` for a delta that ``more`` do not fill up: a layout with
    gaps looks whole to skopeo.
    """
    bundle = complete.bundle
    require_carried(bundle, images, more)
    folders = list(dict.fromkeys(image.path for image in images))
    written: dict[str, Path] = {}
    done = []
    for folder in folders:
        final = output / folder
        partial = final.with_name(f".{final.name}.part")
        with _told(final):
            if final.exists():
                raise FileExistsError(None, "it exists already")
            _clear(partial)
            partial.mkdir(parents=True)
        for path, file in bundle.files.items():
            if path.startswith(f"{folder}/"):
                target = partial / path[len(folder) + 1 :]
                first = written.get(file.sha256)
                if first is None or not _linked(first, target):
                    _write(target, bundle.open(path), on_bytes)
                written[file.sha256] = final / target.name
        _fill_up(complete, folder, partial, on_bytes, more)
        with _told(final):
            partial.replace(final)
        done.append(final)
    return done


def _fill_up(
    complete: Complete, folder: str, partial: Path, on_bytes: Callable[[int], None], more: Sequence[VerifiedBundle]
) -> None:
    """Write what a delta leaves out of ``folder`` from the bundles that have it."""
    digests = {blob.digest for node in complete.bundle.graphs[folder].nodes for blob in node.blobs}
    for digest in sorted(digests):
        if not complete.bundle.has_blob(digest):
            holder = next(bundle for bundle in more if bundle.has_blob(digest))
            _write(partial / digest[7:], holder.open_blob(digest), on_bytes)


def write_documents(documents: Sequence[SiteDocument], output: Path) -> list[Path]:
    """Write documents as this site gets them under ``output``, replacing older ones."""
    paths = []
    for item in documents:
        target = output / item.document.path
        temporary = target.with_name(f".{target.name}.tmp")
        with _told(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(item.content)
            temporary.replace(target)
        paths.append(target)
    return paths


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Map a system error to ``StorageError`` with the path."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {path}", why=error.strerror or str(error)) from error


def _clear(folder: Path) -> None:
    """Remove what an interrupted run left: a flat folder of files."""
    if folder.is_dir() and not folder.is_symlink():
        for entry in folder.iterdir():
            entry.unlink()
        folder.rmdir()


def _linked(first: Path, target: Path) -> bool:
    source = first if first.exists() else target.with_name(first.name)
    try:
        os.link(source, target)
    except OSError:
        return False  # FAT, another device, too many links: the bytes are written once more
    return True


def _write(target: Path, blocks: Iterator[memoryview], on_bytes: Callable[[int], None]) -> None:
    with _told(target), target.open("xb") as stream:
        for block in blocks:
            stream.write(block)
            on_bytes(len(block))
        stream.flush()
        os.fsync(stream.fileno())
