"""Images of cluster objects written as ``name@digest``: digest mirrors do not serve tags; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

from bundler.looks import Path
from bundler.references import Reference, references
from bundler.render.model import PinnedImage, json_body
from loader.oci.model import ImageRef


@dataclass(frozen=True)
class Pinned:
    """A document with its images pinned; ``changed`` has (reference, what it became), ``unknown`` what was left."""

    content: bytes
    changed: tuple[tuple[Reference, str], ...]
    unknown: tuple[Reference, ...]


def pin(content: bytes, images: Sequence[PinnedImage]) -> Pinned:
    """Return ``content`` (objects as JSON) with every image that is among ``images`` as ``name@digest``.

    Only places that are made for images are rewritten.
    """
    document = json.loads(content)
    changed, unknown = [], []
    for found in references(document):
        if not found.certain or found.image is None:
            continue
        image = find_image(found.image, images)
        if image is None:
            unknown.append(found)
        elif found.text != image.reference:
            _put(document, found.path, image.reference)
            changed.append((found, image.reference))
    return Pinned(json_body(document), tuple(changed), tuple(unknown))


def find_image(said: ImageRef, images: Sequence[PinnedImage]) -> Optional[PinnedImage]:
    """Return the image that ``said`` names: by its digest, or without one by its tag; None if there is none."""
    for image in images:
        fits = said.digest in (image.digest, image.rewritten) if said.digest else said.tag == image.tag
        if image.source == said.name and fits:
            return image
    return None


def _put(document: Any, path: Path, text: str) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = text
