"""What a push would do, without writing: blobs to send and to skip, tags that would move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

from loader.oci.parallel import in_parallel
from loader.oci.pushplan import Known, PushBlob, PushImage
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
    """Blobs counted once however many repositories need them; ``bytes_to_send`` of those in none of them.

    ``lacking``: what has to be there already, because its bytes are not at hand, and is in no repository we know of.
    """

    send: int
    skip: int
    bytes_to_send: int
    tags: tuple[TagMove, ...]
    lacking: tuple[PushBlob, ...] = ()
    known: Optional[Known] = field(default=None, repr=False)


def survey_push(images: Sequence[PushImage], blobs: Sequence[PushBlob], registry: Registry, *, jobs: int = 3) -> Survey:
    """Ask the registry what it has of ``images``; a blob in one of the repositories is mounted, not sent.

    Each blob is looked for in every repository that needs it, so that the push need not ask again.
    """
    repositories: dict[str, dict[str, None]] = {}
    for image in images:
        for digest in image.blobs:
            repositories.setdefault(digest, {})[image.repository] = None
    needed = [blob for blob in blobs if blob.digest in repositories]
    missing: list[PushBlob] = []
    held: set[tuple[str, str]] = set()
    befores: dict[tuple[str, str], Optional[str]] = {}

    def look(blob: PushBlob) -> None:
        needed_in = repositories[blob.digest]
        # The right to push is asked for where we push; a repository to mount from needs to be read only.
        here = [name for name in needed_in if registry.head_blob(name, blob.digest, blob.size, pushing=True)]
        held.update((name, blob.digest) for name in here)
        others = [name for name in blob.elsewhere if name not in needed_in]
        if not here and not any(registry.head_blob(name, blob.digest, blob.size) for name in others):
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
    send = [blob for blob in missing if blob.at_hand]
    lacking = sorted((blob for blob in missing if not blob.at_hand), key=lambda blob: blob.digest)
    size = sum(blob.size for blob in send)
    return Survey(len(send), len(needed) - len(missing), size, tags, tuple(lacking), Known(held, befores))


def missing_manifests(images: Sequence[PushImage], registry: Registry, *, jobs: int = 3) -> list[str]:
    """Return ``repository@digest`` of every manifest, children too, that the registry does not have by digest."""
    wanted = [(image.repository, manifest.digest) for image in images for manifest in image.manifests]
    missing: list[str] = []

    def ask(item: tuple[str, str]) -> None:
        if registry.head_manifest(*item) is None:
            missing.append("@".join(item))

    in_parallel(ask, list(dict.fromkeys(wanted)), jobs)
    return sorted(missing)
