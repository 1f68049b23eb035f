"""Where a config image's bytes are: a repository of a registry, or a skopeo dir layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Optional

from bundler.fetch import BlobBody, HeldBody
from bundler.imagelist import ConfigImage
from bundler.layoutsignatures import LayoutNeighbours, SignatureImage, signature_images
from bundler.neighbours import Neighbours
from bundler.origin import SkopeoOrigin
from bundler.repository import RepositoryNeighbours, TagLists
from bundler.resolve import ImageSource
from loader.bundle.errors import ConfigError, FormatError, RegistryError, StorageError
from loader.oci.connect import Registries
from loader.oci.dirlayout import DirLayout
from loader.oci.model import ImageRef
from loader.oci.sources import RegistryImage, Repository


@dataclass(frozen=True)
class RegistrySource:
    """An image of a registry; simple-signing files do not exist there.

    ``beside`` is where its tags are. What the image's own place lacks, a mirror for digests, is taken from there.
    """

    image: RegistryImage
    tag: Optional[str]
    lists: TagLists
    beside: Repository

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type) of the top manifest, a child or what belongs to them."""
        try:
            return self.image.manifest(digest)
        except RegistryError as error:
            if digest is None or self._has_all(error):
                raise
            return self.beside.manifest(digest)

    def open_blob(
        self, digest: str, size: int, start: int = 0, length: Optional[int] = None
    ) -> AbstractContextManager[BlobBody]:
        """Open a part of a blob."""
        try:
            return self.image.open_blob(digest, size, start, length)
        except RegistryError as error:
            if self._has_all(error):
                raise
            return self.beside.open_blob(digest, size, start, length)

    def _has_all(self, error: RegistryError) -> bool:
        return self.beside is self.image or error.status != HTTPStatus.NOT_FOUND

    def signatures(self) -> Mapping[str, bytes]:
        """Return nothing."""
        return {}

    def neighbours(self) -> Neighbours:
        """Return the repository around the image."""
        return RepositoryNeighbours(self.beside, self.tag, self.lists)


@dataclass(frozen=True)
class LayoutSource:
    """A complete dir layout with its signature files; ``signed``: those that a registry has as images, by tag."""

    layout: DirLayout
    signed: Mapping[str, SignatureImage] = field(default_factory=dict)

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type) of the top manifest, a child or a signature's image."""
        made = next((one for one in self.signed.values() if one.digest == digest), None)
        return self.layout.manifest(digest) if made is None else made.manifest()

    def open_blob(
        self, digest: str, size: int, start: int = 0, length: Optional[int] = None
    ) -> AbstractContextManager[BlobBody]:
        """Open a part of a blob."""
        made = next((one.blobs[digest] for one in self.signed.values() if digest in one.blobs), None)
        if made is None:
            return self.layout.open_blob(digest, size, start, length)
        return HeldBody(made[start : None if length is None else start + length])

    def signatures(self) -> Mapping[str, bytes]:
        """Return the signature files by name."""
        return dict(self.layout.signatures)

    def neighbours(self) -> Optional[Neighbours]:
        """Return the signatures that lie in it; nothing else stands beside a layout."""
        return LayoutNeighbours(self.signed) if self.signed else None


@dataclass(frozen=True)
class Sources:
    """Opens config images; ``layouts`` are those that were copied from other transports."""

    registries: Registries
    layouts: Mapping[SkopeoOrigin, Path] = field(default_factory=dict)
    lists: TagLists = field(default_factory=TagLists)

    def open(self, image: ConfigImage, digest: Optional[str]) -> ImageSource:
        """Open ``image`` at ``digest``, or at what its origin names now when ``digest`` is None.

        Raises ``RegistryError`` when it can't be had, ``ConfigError`` when a layout is not complete.
        """
        origin = image.origin
        if isinstance(origin, ImageRef):
            wanted = origin if digest is None else dataclasses.replace(origin, tag=None, digest=digest)
            found = self.registries.image(wanted)
            return RegistrySource(found, origin.tag, self.lists, self.registries.beside(origin, found))
        try:
            layout = DirLayout.open(self.layouts[origin] if isinstance(origin, SkopeoOrigin) else origin)
            signed = signature_images(layout.signatures, layout.digest) if image.attachments else {}
            return LayoutSource(layout, signed)
        except (FormatError, StorageError) as error:
            shown = origin if isinstance(origin, SkopeoOrigin) else f"dir:{origin}"
            raise ConfigError(
                f"image {image.name}: {shown} can't be packed",
                why=str(error),
                hint="copy it again: skopeo copy --all docker://… dir:… (an aborted copy looks complete)",
            ) from error
