"""What a push would do, without writing: blobs to send and to skip, tags that would move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from loader.bundle.errors import RegistryError
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
    ``barred``: repositories that the registry says nothing about, and why. ``missing``: the blobs behind the counts.
    """

    send: int
    skip: int
    bytes_to_send: int
    tags: tuple[TagMove, ...]
    lacking: tuple[PushBlob, ...] = ()
    known: Optional[Known] = field(default=None, repr=False)
    barred: Mapping[str, RegistryError] = field(default_factory=dict)
    missing: tuple[PushBlob, ...] = field(default=(), repr=False)

    def only(self, images: Sequence[PushImage]) -> Survey:
        """Return the same, of ``images`` alone."""
        needed = {digest for image in images for digest in image.blobs}
        missing = tuple(blob for blob in self.missing if blob.digest in needed)
        send = [blob for blob in missing if blob.at_hand]
        names = {(image.repository, image.tag) for image in images}
        return replace(
            self,
            send=len(send),
            skip=len(needed) - len(missing),
            bytes_to_send=sum(blob.size for blob in send),
            tags=tuple(move for move in self.tags if (move.repository, move.tag) in names),
            missing=missing,
        )


def survey_push(images: Sequence[PushImage], blobs: Sequence[PushBlob], registry: Registry, *, jobs: int = 3) -> Survey:
    """Ask the registry what it has of ``images``; a blob in one of the repositories is mounted, not sent.

    Each blob is looked for in every repository that needs it, so that the push need not ask again.
    """
    asking = _Asking(images, registry)
    in_parallel(asking.look, [blob for blob in blobs if blob.digest in asking.repositories], jobs)
    in_parallel(asking.ask, [image for image in images if image.repository not in asking.barred], jobs)
    return asking.survey(images)


class _Asking:
    """What was heard so far; methods are called from several threads."""

    def __init__(self, images: Sequence[PushImage], registry: Registry) -> None:
        self._registry = registry
        self._missing: list[PushBlob] = []
        self._held: set[tuple[str, str]] = set()
        self._befores: dict[tuple[str, str], Optional[str]] = {}
        self._unreadable: dict[str, RegistryError] = {}
        self.barred: dict[str, RegistryError] = {}
        self.repositories: dict[str, dict[str, None]] = {}
        for image in images:
            for digest in image.blobs:
                self.repositories.setdefault(digest, {})[image.repository] = None

    def look(self, blob: PushBlob) -> None:
        """Look for a blob where it is needed, and if it is nowhere there, where it might be mounted from."""
        needed_in = self.repositories[blob.digest]
        # The right to push is asked for where we push; a repository to mount from needs to be read only.
        here = [name for name in needed_in if self._has(name, blob, self.barred, pushing=True)]
        self._held.update((name, blob.digest) for name in here)
        others = [name for name in blob.elsewhere if name not in needed_in]
        if here or all(name in self.barred for name in needed_in):
            return
        if not any(self._has(name, blob, self._unreadable, pushing=False) for name in others):
            self._missing.append(blob)

    def ask(self, image: PushImage) -> None:
        """Ask what the image's tag names now."""
        if image.tag is None:
            return
        try:
            found = self._registry.head_manifest(image.repository, image.tag, pushing=True)
            self._befores[image.repository, image.tag] = found.digest if found else None
        except RegistryError as error:
            self._note(self.barred, image.repository, error)

    def survey(self, images: Sequence[PushImage]) -> Survey:
        """Return what was found of ``images``."""
        befores = self._befores
        tags = tuple(
            TagMove(image.repository, image.tag, befores[image.repository, image.tag], image.top.digest)
            for image in images
            if image.tag is not None and (image.repository, image.tag) in befores
        )
        lacking = sorted((blob for blob in self._missing if not blob.at_hand), key=lambda blob: blob.digest)
        known = Known(self._held, befores)
        return Survey(0, 0, 0, tags, tuple(lacking), known, self.barred, tuple(self._missing)).only(images)

    def _has(self, repository: str, blob: PushBlob, notes: dict[str, RegistryError], *, pushing: bool) -> bool:
        if repository in notes:
            return False
        try:
            return self._registry.head_blob(repository, blob.digest, blob.size, pushing=pushing)
        except RegistryError as error:
            self._note(notes, repository, error)
            return False

    def _note(self, notes: dict[str, RegistryError], repository: str, error: RegistryError) -> None:
        """Keep what the registry says about ``repository``: it may be better off with others. A dead line is raised."""
        if error.status == 0 and not self._registry.is_alive():
            raise error
        notes.setdefault(repository, error)


def missing_manifests(images: Sequence[PushImage], registry: Registry, *, jobs: int = 3) -> list[str]:
    """Return ``repository@digest`` of every manifest, children too, that the registry does not have by digest."""
    wanted = [(image.repository, manifest.digest) for image in images for manifest in image.manifests]
    missing: list[str] = []

    def ask(item: tuple[str, str]) -> None:
        if registry.head_manifest(*item) is None:
            missing.append("@".join(item))

    in_parallel(ask, list(dict.fromkeys(wanted)), jobs)
    return sorted(missing)
