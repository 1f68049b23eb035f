"""What a push takes and what it tells: plain values, no I/O."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Callable, Optional, Protocol, Union

from loader.bundle.errors import AirgapError


@dataclass(frozen=True)
class PushBlob:
    """A blob to have in the registry.

    ``at_hand``: its bytes can be opened; a delta's other blobs are there already, to be mounted from
    ``elsewhere`` (repositories) if not in the right repository. ``parts``: bytes after each pause of its source,
    where it makes any.
    """

    digest: str
    size: int
    at_hand: bool = True
    elsewhere: tuple[str, ...] = ()
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class PushManifest:
    """A manifest's bytes; ``media_type`` is sent as the Content-Type."""

    digest: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class PushImage:
    """An image to push: ``manifests`` in order, children before the top one, which comes last.

    ``blobs``: digests of all its blobs that the registry must have. ``subject``: the manifest that this one refers
    to; the registry has to know it from there. ``attached``: it is nothing to run, it belongs to an image.
    """

    repository: str
    tag: Optional[str]
    manifests: tuple[PushManifest, ...]
    blobs: tuple[str, ...]
    subject: Optional[str] = None
    attached: bool = False

    @property
    def top(self) -> PushManifest:
        """The manifest that the image's digest and tag name."""
        return self.manifests[-1]

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else f"{self.repository}@{self.top.digest}"


class BlobBodies(Protocol):
    """Where the bytes come from; called from several threads, and again for a retry."""

    def open(self, digest: str, /) -> AbstractContextManager[Iterator[memoryview]]:
        """Open a blob from its first byte."""
        ...

    def has(self, digest: str, /) -> bool:
        """Tell whether the bytes of a blob are at hand."""
        ...


@dataclass(frozen=True)
class BlobProgress:
    """``done`` of ``size`` bytes are sent; a retry starts at 0 again."""

    repository: str
    digest: str
    done: int
    size: int


@dataclass(frozen=True)
class BlobDone:
    """A blob is settled in a repository: ``sent``, ``mounted``, ``present``, ``failed``, or ``copied`` from another."""

    repository: str
    digest: str
    size: int
    outcome: str


@dataclass(frozen=True)
class ManifestDone:
    """A manifest is settled under a digest or tag: ``sent``, ``present`` or ``failed``."""

    repository: str
    reference: str
    outcome: str


Event = Union[BlobProgress, BlobDone, ManifestDone]
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Settled:
    """What became of one blob in one repository."""

    outcome: str
    size: int
    error: Optional[AirgapError] = None


@dataclass(frozen=True)
class BlobReport:
    """Outcome by (repository, digest)."""

    settled: Mapping[tuple[str, str], Settled]

    def count(self, outcome: str) -> int:
        """How many blobs, counted per repository, have this outcome."""
        return sum(one.outcome == outcome for one in self.settled.values())

    @property
    def bytes_sent(self) -> int:
        """Bytes of the blobs that were sent."""
        return sum(one.size for one in self.settled.values() if one.outcome == "sent")


@dataclass(frozen=True)
class Known:
    """What the registry said a moment ago, of everything that it was asked for.

    ``blobs`` it has, by (repository, digest); the digests of ``tags``, by (repository, tag), ``None`` for none.
    """

    blobs: AbstractSet[tuple[str, str]]
    tags: Mapping[tuple[str, str], Optional[str]]


@dataclass(frozen=True)
class ImageReport:
    """One image's push. ``tag_moved``: the tag names another digest than before. ``error``: why it is not complete."""

    repository: str
    tag: Optional[str]
    digest: str
    sent: int
    mounted: int
    present: int
    bytes_sent: int
    manifests_sent: int
    tag_moved: bool
    error: Optional[AirgapError]
    attached: bool = False

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}" if self.tag else f"{self.repository}@{self.digest}"


def not_begun(image: PushImage, error: AirgapError) -> ImageReport:
    """Return the report of an image of which nothing was sent."""
    place = (image.repository, image.tag, image.top.digest)
    return ImageReport(*place, 0, 0, 0, 0, 0, tag_moved=False, error=error, attached=image.attached)


@dataclass(frozen=True)
class PushReport:
    """All images in the order given, and the totals of the blobs."""

    images: tuple[ImageReport, ...]
    blobs: BlobReport

    @property
    def failed(self) -> tuple[ImageReport, ...]:
        """The images that are not complete in the registry."""
        return tuple(image for image in self.images if image.error is not None)


def serial(on_event: OnEvent) -> OnEvent:
    """Return ``on_event`` behind a lock: workers call it from their threads."""
    lock = threading.Lock()

    def call(event: Event) -> None:
        with lock:
            on_event(event)

    return call
