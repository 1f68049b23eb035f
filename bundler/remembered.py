"""What the lock keeps of the images, and images as the lock remembers them: enough for a plan to ask nobody."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Optional

from bundler.fetch import BlobBody, HeldBody
from bundler.imagelist import ConfigImage
from bundler.lock import Beside, Lock, Locked
from bundler.neighbours import Neighbours, Tagged
from bundler.origin import NEW_DIGEST, SkopeoOrigin
from bundler.resolve import ImageSource, OpenSource, ResolvedImage
from loader.bundle.ocimanifest import parse_manifest
from loader.oci.model import ImageRef

# Manifests have some thousand bytes. What is larger, or does not fit any more, is asked for again by the next plan:
# a lock is a file that people commit.
_MAX_DOCUMENT = 256 * 2**10
_MAX_DOCUMENTS = 24 * 2**20


def remembered(lock: Lock, resolved: Sequence[ResolvedImage], now: str) -> Lock:
    """Return ``lock`` with what was found of ``resolved`` at ``now`` (UTC), and nothing of other images."""
    images: dict[str, Locked] = {}
    left = _MAX_DOCUMENTS
    for image in resolved:
        name = str(image.config.name)
        old = lock.images.get(name)
        entry = old if old is not None and old.digest == image.upstream else _locked(image, now)
        if isinstance(image.config.origin, ImageRef):
            entry = _with_documents(entry, image, left)
            left -= sum(map(len, entry.documents.values()))
        images[name] = entry
    return replace(lock, images=images)


def _locked(image: ResolvedImage, now: str) -> Locked:
    data, content_type = image.source.manifest()
    media_type = image.parsed.media_type
    if image.digest != image.upstream:
        media_type = parse_manifest(data, str(image.config.name), content_type).media_type
    origin = image.config.origin
    made_from = origin.transport if isinstance(origin, SkopeoOrigin) and origin.transport in NEW_DIGEST else ""
    return Locked(image.upstream, media_type, len(data), image.offered, now, made_from)


def _with_documents(entry: Locked, image: ResolvedImage, left: int) -> Locked:
    """Add what was read now to what an earlier run read of the same image for other platforms."""
    attached = dict(entry.attached)
    for subject, found in image.beside.items():
        attached[subject] = tuple(Beside(one.kind, one.digest, one.tag) for one in found)
    documents = dict(entry.documents)
    for digest, data in _read(image):
        if len(data) <= _MAX_DOCUMENT:
            with contextlib.suppress(UnicodeDecodeError):
                documents[digest] = data.decode()
    kept = {}
    for digest, text in documents.items():
        left -= len(text)
        if left >= 0:
            kept[digest] = text
    return replace(entry, attached=attached, documents=kept)


def _read(image: ResolvedImage) -> Iterator[tuple[str, bytes]]:
    """Yield every manifest, and what was read of the attachments' layers: signatures that are required."""
    yield image.upstream, image.source.manifest()[0]
    if not image.parsed.is_index:
        yield image.digest, image.data
    layers = {layer.digest for one in image.attached for parsed in one.manifests for layer in parsed.layers}
    yield from ((digest, data) for digest, data in image.blobs.items() if digest in layers)
    for one in image.attached:
        yield one.digest, one.data
    for child in (*image.children, *(child for one in image.attached for child in one.children)):
        yield child.descriptor.digest, child.data


def is_remembered(image: ConfigImage, lock: Lock) -> bool:
    """Tell whether ``lock`` has the image's manifest, so that most or all of a plan needs no registry."""
    locked = lock.images.get(str(image.name))
    return locked is not None and locked.digest in locked.documents


def from_lock(lock: Lock, open_source: OpenSource) -> OpenSource:
    """Return an opener that answers from ``lock``, and opens the image outside for the first thing that it lacks."""

    def opened(image: ConfigImage, digest: Optional[str]) -> ImageSource:
        locked = lock.images.get(str(image.name))
        if locked is None or locked.digest != digest or digest not in locked.documents:
            return open_source(image, digest)
        return _LockedSource(locked, functools.cache(lambda: open_source(image, digest)))

    return opened


@dataclass(frozen=True)
class _LockedSource:
    """An image of which the lock has the top manifest at least."""

    locked: Locked
    elsewhere: Callable[[], ImageSource]

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type); the type of all but the top manifest is what it says itself."""
        text = self.locked.documents.get(digest or self.locked.digest)
        if text is None:
            return self.elsewhere().manifest(digest)
        return text.encode(), self.locked.media_type if digest in {None, self.locked.digest} else ""

    def open_blob(
        self, digest: str, size: int, start: int = 0, length: Optional[int] = None
    ) -> AbstractContextManager[BlobBody]:
        """Open a part of a blob."""
        text = self.locked.documents.get(digest)
        if text is None:
            return self.elsewhere().open_blob(digest, size, start=start, length=length)
        return HeldBody(text.encode()[start : None if length is None else start + length])

    def signatures(self) -> Mapping[str, bytes]:
        """Return nothing: a registry has no such files."""
        return {}

    def neighbours(self) -> Optional[Neighbours]:
        """Return what stood beside it."""
        return _LockedNeighbours(self)


@dataclass(frozen=True)
class _LockedNeighbours:
    """What the lock says of a manifest that was asked for; of others, what the registry says."""

    source: _LockedSource

    def tagged(self, tag: str) -> Optional[Tagged]:
        """Return what ``tag`` named; the list of referrers under the subject's own tag is part of ``referrers``."""
        subject = tag.partition(".")[0].replace("-", ":", 1)
        found = self.source.locked.attached.get(subject)
        if found is None:
            near = self.source.elsewhere().neighbours()
            return None if near is None else near.tagged(tag)
        return next((_LockedTag(self.source, one.digest) for one in found if one.tag == tag), None)

    def tags(self) -> Optional[frozenset[str]]:
        """Return nothing: to ask for a tag costs nothing here."""
        return None

    def referrers(self, subject: str) -> Optional[tuple[str, ...]]:
        """Return the digests of what referred to ``subject``."""
        found = self.source.locked.attached.get(subject)
        if found is None:
            near = self.source.elsewhere().neighbours()
            return None if near is None else near.referrers(subject)
        return tuple(one.digest for one in found if one.tag is None)


@dataclass(frozen=True)
class _LockedTag:
    source: _LockedSource
    digest: str

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type) of what the tag named, or of a child."""
        return self.source.manifest(digest or self.digest)
