"""Everything of the images but their layers: manifests by digest, what belongs to them, signatures checked."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.attachments import attach
from bundler.imagelist import ConfigImage
from bundler.lock import Lock
from bundler.resolve import OpenSource, ResolvedImage, resolve
from bundler.signed import require_signatures


def gather(
    images: Sequence[ConfigImage], lock: Lock, open_source: OpenSource, *, jobs: int
) -> tuple[ResolvedImage, ...]:
    """Resolve ``images``, ``jobs`` at a time, add what belongs to them, and require their signatures.

    Raises what the three steps raise: an image that is gone or not signed as required is known before a layer is read.
    """
    return require_signatures(attach(resolve(images, lock, open_source, jobs=jobs), jobs=jobs), jobs=jobs)
