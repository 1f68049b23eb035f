"""What belongs to an image and stands beside it: cosign's tags, and the OCI 1.1 fallback tag of referrers.

Looked up for the image and for each of its children. "Not there" is the registry's 404 and nothing else: whatever
else goes wrong is an error, never an absent signature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from bundler.resolve import Attached, ResolvedImage, read_child
from loader.bundle.digest import digest_of
from loader.bundle.errors import ConfigError, FormatError
from loader.bundle.ocimanifest import parse_manifest

# By what follows the subject's digest in the tag (cosign's layout; distribution spec 1.1, "Referrers Tag Schema").
KINDS = {".sig": "signature", ".att": "attestation", ".sbom": "sbom", "": "referrers"}


def attach(resolved: Sequence[ResolvedImage], *, jobs: int) -> tuple[ResolvedImage, ...]:
    """Return the images, those that ask for it with their attachments. Raises the first error, in image order."""
    work = [
        (image, subject, suffix)
        for image in resolved
        if image.config.attachments
        for subject in _subjects(image)
        for suffix in KINDS
    ]
    if not work:
        return tuple(resolved)
    with ThreadPoolExecutor(jobs, thread_name_prefix="attach") as pool:
        found = list(pool.map(lambda item: _look(*item), work))
    by_image: dict[int, list[Attached]] = {}
    for (image, _, _), one in zip(work, found):
        if one is not None:
            by_image.setdefault(id(image), []).append(one)
    return tuple(dataclasses.replace(image, attached=tuple(by_image.get(id(image), ()))) for image in resolved)


def _subjects(image: ResolvedImage) -> list[str]:
    """The digests that are in the bundle: an index that was rewritten is not the one that was signed."""
    top = [image.digest] if image.digest == image.upstream else []
    return [*top, *(child.descriptor.digest for child in image.children)]


def _look(image: ResolvedImage, subject: str, suffix: str) -> Optional[Attached]:
    tag = f"{subject.replace(':', '-')}{suffix}"
    what = f"{KINDS[suffix]} {image.config.name.name}:{tag}"
    try:
        source = image.source.beside(tag)
        if source is None:
            return None
        data, media_type = source.manifest()
        parsed = parse_manifest(data, what, media_type)
        children = tuple(read_child(source, child, what) for child in parsed.children)
    except FormatError as error:
        raise ConfigError(f"{what} can't be carried", why=str(error), hint=error.hint) from error
    return Attached(KINDS[suffix], subject, tag, digest_of(data), data, parsed, children)
