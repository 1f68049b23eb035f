"""What a delta leaves out: the blobs of the bundle it is based on; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bundler.pack import PackedImage
from loader.bundle.digest import is_hex
from loader.bundle.errors import ConfigError
from loader.bundle.manifest import BundleManifest, Require


@dataclass(frozen=True)
class Base:
    """A previous bundle: its id, ``bundle`` (its name alone), and what a registry has once it was loaded, by digest."""

    id: str
    name: str
    bundle: str
    sequence: int
    blobs: Mapping[str, Require]


def base_blobs(manifest: BundleManifest) -> dict[str, Require]:
    """Return every blob that a registry has after ``manifest`` was loaded, and in which repositories."""
    repositories: dict[str, list[str]] = {}
    directories = [(image.path, image.repository) for image in manifest.images]
    directories += [(item.path, item.repository) for item in manifest.attachments]
    for path, repository in directories:
        repositories.setdefault(path, []).append(repository)
    sizes = {item.digest: item.size for item in manifest.requires}
    places = {item.digest: dict.fromkeys(item.repositories) for item in manifest.requires}
    for file in manifest.files:
        directory, _, name = file.path.rpartition("/")
        if is_hex(name) and name == file.sha256 and directory in repositories:
            digest = f"sha256:{name}"
            sizes[digest] = file.size
            places.setdefault(digest, {}).update(dict.fromkeys(repositories[directory]))
    return {digest: Require(digest, sizes[digest], tuple(sorted(places[digest]))) for digest in sizes}


def without(packed: PackedImage, base: Base) -> tuple[PackedImage, list[Require]]:
    """Return ``packed`` without what ``base`` has, and that. Raises ``ConfigError`` where the two disagree."""
    left_out = []
    for blob in (*packed.configs, *packed.layers):
        there = base.blobs.get(blob.digest)
        if there is None:
            continue
        if there.size != blob.size:
            raise ConfigError(
                f"blob {blob.digest} does not have the size it has in the base",
                why=f"{blob.size} bytes here, {there.size} in {base.name}",
            )
        left_out.append(there)
    gone = {item.digest for item in left_out}
    slim = PackedImage(
        packed.directory,
        packed.texts,
        tuple(blob for blob in packed.configs if blob.digest not in gone),
        tuple(blob for blob in packed.layers if blob.digest not in gone),
    )
    return slim, left_out
