"""Where images come from: the one interface of registries and layouts, and reading an image's manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Optional, Protocol

from loader.bundle.digest import digest_of
from loader.bundle.errors import RegistryError
from loader.bundle.ocimanifest import Descriptor, ParsedManifest, parse_manifest
from loader.oci.blobs import BlobReader
from loader.oci.registry import Registry


class BlobStream(Protocol):
    """An open blob or part of one: a context manager with ``read``."""

    def read(self, size: int = ..., /) -> bytes:
        """Return up to ``size`` bytes, ``b""`` at the end."""
        ...

    def __enter__(self) -> BlobStream: ...

    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None: ...


class ImageSource(Protocol):
    """One image somewhere. Manifests are as they came; blobs are not hashed by the source."""

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type) of the image's own manifest, or of a child."""
        ...

    def open_blob(self, digest: str, size: int, start: int = 0, length: Optional[int] = None) -> BlobStream:
        """Open a blob of ``size`` bytes, or ``length`` bytes of it from ``start``."""
        ...


class Repository:
    """A repository of a registry: what it has by digest, each manifest asked for once."""

    def __init__(self, registry: Registry, repository: str) -> None:
        self.registry = registry
        self.repository = repository

    def manifest(self, digest: str) -> tuple[bytes, str]:
        """Return (bytes, media type), checked against ``digest``."""
        # Several tags of one image have the same children, which whoever reads them keeps anyway.
        held = self.registry.held
        found = held.get((self.repository, digest)) or self.registry.manifest(self.repository, digest)
        held[self.repository, digest] = found
        return found.data, found.media_type

    def open_blob(self, digest: str, size: int, start: int = 0, length: Optional[int] = None) -> BlobReader:
        """Open a blob or a part of it."""
        return self.registry.open_blob(self.repository, digest, size, start, length)


class RegistryImage(Repository):
    """An image in a registry as an ``ImageSource``: what its tag names is asked once, then held by digest."""

    def __init__(self, registry: Registry, repository: str, reference: str) -> None:
        super().__init__(registry, repository)
        self._top = registry.manifest(repository, reference)

    @property
    def digest(self) -> str:
        """Digest that the reference stood for when it was asked."""
        return self._top.digest

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type), checked against ``digest``."""
        if digest is None or digest == self._top.digest:
            return self._top.data, self._top.media_type
        return super().manifest(digest)


def first_that_answers(candidates: Sequence[tuple[Registry, str]], reference: str) -> RegistryImage:
    """Return the image from the first of (registry, repository) that has it, mirrors first; else raise the last error.

    The last candidate is the source itself, so its error is the one to act on; the others' are in ``why``.
    """
    said = []
    for registry, repository in candidates:
        found = _try(registry, repository, reference)
        if isinstance(found, RegistryImage):
            return found
        said.append(found)
    last = said[-1]
    if len(said) == 1:
        raise last
    raise RegistryError(
        last.message,
        status=last.status,
        why="; ".join(str(one) for one in said),
        hint=last.hint,
        retryable=last.retryable,
    ) from last


def _try(registry: Registry, repository: str, reference: str) -> RegistryImage | RegistryError:
    try:
        return RegistryImage(registry, repository, reference)
    except RegistryError as error:
        return error


@dataclass(frozen=True)
class Manifest:
    """One manifest: its bytes, and what they say."""

    digest: str
    data: bytes
    parsed: ParsedManifest


@dataclass(frozen=True)
class ImageContents:
    """All manifests of an image: children in index order, then ``top``; ``blobs`` distinct, in order of first use."""

    top: Manifest
    children: tuple[Manifest, ...]
    blobs: tuple[Descriptor, ...]


def read_image(source: ImageSource, what: str) -> ImageContents:
    """Read every manifest of an image; ``what`` names it in errors."""
    data, media_type = source.manifest()
    top = Manifest(digest_of(data), data, parse_manifest(data, what, media_type))
    children = []
    for child in top.parsed.children:
        data, media_type = source.manifest(child.digest)
        children.append(Manifest(child.digest, data, parse_manifest(data, f"{what}, child {child.digest}", media_type)))
    blobs: dict[str, Descriptor] = {}
    for manifest in (*children, top):
        for blob in manifest.parsed.blobs:
            blobs.setdefault(blob.digest, blob)
    return ImageContents(top, tuple(children), tuple(blobs.values()))
