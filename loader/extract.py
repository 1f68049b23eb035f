"""Verified layouts and documents to disk, under their final names only once everything was verified."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loader.bundle.errors import StorageError
from loader.bundle.graph import VERSION_FILE
from loader.bundle.verify import Complete, VerifiedBundle
from loader.filling import require_carried
from loader.oci import dirlayout
from loader.picked import Picked
from loader.site import BundleBodies, SiteDocument
from loader.space import require_space

_BLOCK = 2**20
_FOLDER = 4096 * 4  # what a file system takes for a small file and its name, at most


@dataclass(frozen=True)
class Extracting:
    """What is written from: a complete bundle, others that fill a delta up, and who counts bytes."""

    complete: Complete
    more: tuple[VerifiedBundle, ...]
    on_bytes: Callable[[int], None]

    @property
    def bodies(self) -> BundleBodies:
        """The blobs of all of them."""
        return BundleBodies(self.complete.bundle, *self.more)

    @functools.cached_property
    def signatures(self) -> dict[str, list[str]]:
        """The files of simple signatures, by the directory of their image."""
        found: dict[str, list[str]] = {}
        for path in self.complete.bundle.files:
            folder, _, name = path.rpartition("/")
            if "signature-" in name:
                found.setdefault(folder, []).append(path)
        return found

    def require(self, picked: Sequence[Picked], output: Path) -> None:
        """Raise ``ConfigError`` for a delta with gaps, ``StorageError`` where ``output`` is on a disk too full."""
        require_carried(self.complete.bundle, [one.owner for one in picked], self.more)
        texts = [node.path for one in picked for node in one.nodes]
        small = sum(self.complete.bundle.files[path].size + _FOLDER for path in texts)
        require_space(output, sum(total_blobs(picked).values()) + small)


def total_blobs(picked: Sequence[Picked]) -> dict[str, int]:
    """Every blob once, and its size."""
    return {digest: size for one in picked for digest, size in one.blobs.items()}


def extract_layouts(work: Extracting, picked: Sequence[Picked], output: Path) -> list[Path]:
    """Write the skopeo dir layout of each image to ``output/images/<dir>``; shared blobs are hard links.

    A folder stands under its final name only when it is whole; one that is there already is left if it has these
    very bytes. Raises ``StorageError`` for one that has others and for a full disk, ``ConfigError`` for a delta that
    is not filled up: a layout with gaps looks whole to skopeo.
    """
    folders = {one.owner.path: one for one in picked}
    there = {path for path, one in folders.items() if (output / path).exists()}
    written: dict[str, Path] = {}
    for path in there:
        _require_same(work, folders[path], output / path)
        written.update((digest, output / path / dirlayout.blob_name(digest)) for digest in folders[path].blobs)
    work.require([one for path, one in folders.items() if path not in there], output)
    for path, one in folders.items():
        if path not in there:
            _write_layout(work, one, output / path, written)
    return [output / path for path in folders]


def _write_layout(work: Extracting, one: Picked, final: Path, written: dict[str, Path]) -> None:
    partial = final.with_name(f".{final.name}.part")
    with told(final):
        _clear(partial)
        partial.mkdir(parents=True)
    for name, data in _texts(work, one).items():
        write_new(partial / name, iter([memoryview(data)]), _ignore)
    for digest in sorted(one.blobs, key=work.bodies.place):
        target = partial / dirlayout.blob_name(digest)
        if digest not in written or not _linked(written[digest], target):
            with work.bodies.open(digest) as blocks:
                write_new(target, blocks, work.on_bytes)
    with told(final):
        partial.replace(final)
    written.update((digest, final / dirlayout.blob_name(digest)) for digest in one.blobs)


def _texts(work: Extracting, one: Picked) -> dict[str, bytes]:
    """The small files of a layout: version, manifests, and the signatures of those."""
    bundle = work.complete.bundle
    texts = {dirlayout.VERSION: VERSION_FILE, dirlayout.MANIFEST: bundle.read(one.top.path)}
    texts.update((dirlayout.manifest_name(node.digest), bundle.read(node.path)) for node in one.nodes[:-1])
    taken = {node.digest for node in one.nodes}
    for path in work.signatures.get(one.owner.path, ()):
        name = path.rpartition("/")[2]
        child, _, number = name.rpartition("signature-")
        signed = f"sha256:{child[:-1]}" if child else one.owner.digest
        if signed in taken:
            texts[f"signature-{number}" if signed == one.top.digest else name] = bundle.read(path)
    return texts


def _require_same(work: Extracting, one: Picked, folder: Path) -> None:
    """Raise ``StorageError`` unless ``folder`` is this very layout: what an earlier run wrote."""
    wanted = {name: hashlib.sha256(data).hexdigest() for name, data in _texts(work, one).items()}
    wanted.update((dirlayout.blob_name(digest), digest[7:]) for digest in one.blobs)
    with told(folder):
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        same = found == set(wanted) and all(_hash(folder / name) == sha256 for name, sha256 in wanted.items())
    if not same:
        raise StorageError(
            f"{folder} exists and is something else",
            why="its files are not those of this image",
            hint="nothing is overwritten: remove it, or name another folder with -o",
        )


def _hash(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return ""
    running = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            running.update(block)
    return running.hexdigest()


def write_documents(documents: Sequence[SiteDocument], output: Path) -> list[Path]:
    """Write documents as this site gets them under ``output``, replacing older ones."""
    paths = []
    for item in documents:
        target = output / item.document.path
        temporary = target.with_name(f".{target.name}.tmp")
        with told(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(item.content)
            temporary.replace(target)
        paths.append(target)
    return paths


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
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
    try:
        os.link(first, target)
    except OSError:
        return False  # FAT, another device, too many links: the bytes are written once more
    return True


def write_new(target: Path, blocks: Iterator[memoryview], on_bytes: Callable[[int], None]) -> None:
    """Write a file that must not exist, and sync it."""
    with told(target), target.open("xb") as stream:
        for block in blocks:
            stream.write(block)
            on_bytes(len(block))
        stream.flush()
        os.fsync(stream.fileno())


def _ignore(_: int) -> None:
    return
