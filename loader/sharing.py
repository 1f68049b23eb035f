"""What each image weighs, and which blobs several images share: from the signed list of files alone."""

from __future__ import annotations

from dataclasses import dataclass

from loader.bundle.manifest import BundleManifest


@dataclass(frozen=True)
class SharedBlob:
    """A blob that several image folders hold; ``size`` in bytes, ``paths`` sorted."""

    digest: str
    size: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Sharing:
    """``sizes`` and ``own`` by image folder: bytes of all of its files, and of those that no other folder holds.

    ``blobs``: the shared ones, that which saves most first.
    """

    sizes: dict[str, int]
    own: dict[str, int]
    blobs: tuple[SharedBlob, ...]


def find_sharing(manifest: BundleManifest) -> Sharing:
    """Weigh every folder below ``images/``, attachments too; the small text files every folder has count as own."""
    holders: dict[str, set[str]] = {}
    weight: dict[str, int] = {}
    paths = [image.path for image in manifest.images] + [item.path for item in manifest.attachments]
    sizes, own = dict.fromkeys(paths, 0), dict.fromkeys(paths, 0)
    for file in manifest.files:
        folder, _, name = file.path.rpartition("/")
        if folder not in sizes:
            continue
        sizes[folder] += file.size
        if len(name) == 64:
            holders.setdefault(file.sha256, set()).add(folder)
            weight[file.sha256] = max(file.size, weight.get(file.sha256, 0))
        else:
            own[folder] += file.size
    for digest, folders in holders.items():
        if len(folders) == 1:
            own[next(iter(folders))] += weight[digest]
    shared = [
        SharedBlob(f"sha256:{digest}", weight[digest], tuple(sorted(folders)))
        for digest, folders in holders.items()
        if len(folders) > 1
    ]
    shared.sort(key=lambda blob: (-blob.size * (len(blob.paths) - 1), blob.digest))
    return Sharing(sizes, own, tuple(shared))
