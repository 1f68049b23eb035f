"""What a push would do, without writing: blobs to send and to skip, tags that would move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from loader.oci.parallel import in_parallel
from loader.oci.pushplan import PushBlob, PushImage
from loader.oci.registry import Registry


@dataclass(frozen=True)
class TagMove:
    """``before`` is ``None`` when the tag is not there yet; equal digests mean nothing moves."""

    repository: str
    tag: str
    before: Optional[str]
    after: str


@dataclass(frozen=True)
class Survey:
    """Blobs counted once however many repositories need them; ``bytes_to_send`` of those in none of them."""

    send: int
    skip: int
    bytes_to_send: int
    tags: tuple[TagMove, ...]


def survey_push(images: Sequence[PushImage], blobs: Sequence[PushBlob], registry: Registry, *, jobs: int = 3) -> Survey:
    """Ask the registry what it has of ``images``; a blob in one of the repositories is mounted, not sent."""
    repositories: dict[str, dict[str, None]] = {}
    for image in images:
        for digest in image.blobs:
            repositories.setdefault(digest, {})[image.repository] = None
    needed = [blob for blob in blobs if blob.digest in repositories]
    missing: list[PushBlob] = []
    befores: dict[tuple[str, str], Optional[str]] = {}

    def look(blob: PushBlob) -> None:
        if not any(
            registry.head_blob(name, blob.digest, blob.size, pushing=True) for name in repositories[blob.digest]
        ):
            missing.append(blob)

    def ask(image: PushImage) -> None:
        if image.tag is not None:
            found = registry.head_manifest(image.repository, image.tag, pushing=True)
            befores[image.repository, image.tag] = found.digest if found else None

    in_parallel(look, needed, jobs)
    in_parallel(ask, images, jobs)
    tags = tuple(
        TagMove(image.repository, image.tag, befores[image.repository, image.tag], image.top.digest)
        for image in images
        if image.tag is not None
    )
    return Survey(len(missing), len(needed) - len(missing), sum(blob.size for blob in missing), tags)


def missing_manifests(images: Sequence[PushImage], registry: Registry, *, jobs: int = 3) -> list[str]:
    """Return ``repository@digest`` of every manifest, children too, that the registry does not have by digest."""
    wanted = [(image.repository, manifest.digest) for image in images for manifest in image.manifests]
    missing: list[str] = []

    def ask(item: tuple[str, str]) -> None:
        if registry.head_manifest(*item) is None:
            missing.append("@".join(item))

    in_parallel(ask, list(dict.fromkeys(wanted)), jobs)
    return sorted(missing)
