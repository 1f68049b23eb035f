"""What belongs to an image and stands beside it: cosign's tags, and what refers to it (OCI 1.1).

Looked up for the image and for each of its children. "Not there" is the registry's own word (404, or a whole list
without it) and nothing else: whatever else goes wrong is an error, never an absent signature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from bundler.neighbours import Neighbours
from bundler.resolve import Attached, ManifestSource, ResolvedImage, read_child
from loader.bundle.digest import require_digest
from loader.bundle.errors import ConfigError, FormatError
from loader.bundle.ocimanifest import parse_manifest
from loader.oci.listing import referring
from loader.oci.referrers import fallback_tag, subject_of
from loader.signatureplaces import SIGNATURE

REFERRER = "referrer"
# By what follows the subject's digest in the tag (cosign's layout).
KINDS = {".sig": SIGNATURE, ".att": "attestation", ".sbom": "sbom"}


def attach(resolved: Sequence[ResolvedImage], *, jobs: int) -> tuple[ResolvedImage, ...]:
    """Return the images, those that ask for it with their attachments. Raises the first error, in image order."""
    work = [
        (number, image, subject, subject == image.upstream)
        for number, image in enumerate(resolved)
        if image.config.attachments
        for subject in _subjects(image)
    ]
    if not work:
        return tuple(resolved)
    with ThreadPoolExecutor(jobs, thread_name_prefix="attach") as pool:
        found = list(pool.map(lambda item: _carried(*item[1:]), work))
    by_image: dict[int, list[Attached]] = {}
    for (number, *_), some in zip(work, found):
        by_image.setdefault(number, []).extend(some)
    return tuple(
        dataclasses.replace(image, attached=tuple(by_image.get(number, ()))) for number, image in enumerate(resolved)
    )


def _subjects(image: ResolvedImage) -> list[str]:
    """The digests that are in the bundle: an index that was rewritten is not the one that was signed."""
    top = [image.digest] if image.digest == image.upstream or not image.parsed.is_index else []
    return [*top, *(child.descriptor.digest for child in image.children)]


def _carried(image: ResolvedImage, subject: str, top: bool) -> list[Attached]:
    try:
        return _beside(image, subject, top)
    except FormatError as error:
        raise ConfigError(
            f"what belongs to {image.config.name.name}@{subject} can't be carried",
            why=str(error),
            hint="attachments: false leaves it out, for the whole config or one image",
        ) from error


def _beside(image: ResolvedImage, subject: str, top: bool) -> list[Attached]:
    near = image.source.neighbours()
    if near is None:
        return []
    listed = near.tags()
    what = f"{image.config.name.name}@{subject}"
    stem = fallback_tag(subject)
    found = []
    for suffix, kind in KINDS.items():
        # A list may be older than the newest tag; the signature, on which much may rest, is always asked for.
        asked = listed is None or stem + suffix in listed or (top and kind == SIGNATURE)
        there = near.tagged(stem + suffix) if asked else None
        if there is not None:
            found.append(_read(there, there.digest, (kind, subject, stem + suffix), f"{kind} of {what}"))
    referrers = _referrers(near, subject, listed is None or stem in listed, what)
    found += [_read(image.source, digest, (REFERRER, subject, None), f"referrer of {what}") for digest in referrers]
    return found


def _referrers(near: Neighbours, subject: str, tagged: bool, what: str) -> list[str]:
    """Return the digests of what refers to ``subject``: what the API lists, and what the fallback tag names."""
    found = set(near.referrers(subject) or ())
    fallback = near.tagged(fallback_tag(subject)) if tagged else None
    if fallback is not None:
        found.update(referring(fallback.manifest()[0], f"the list of what refers to {what}"))
    return sorted(found)


def _read(source: ManifestSource, digest: str, place: tuple[str, str, Optional[str]], what: str) -> Attached:
    kind, subject, tag = place
    data, media_type = source.manifest(digest)
    require_digest(data, digest, what)
    parsed = parse_manifest(data, f"{what} ({digest})", media_type)
    if tag is None and subject_of(data) != subject:
        raise FormatError(f"{what} does not refer to it", why=f"the subject of {digest} is {subject_of(data)}")
    children = tuple(read_child(source, child, what) for child in parsed.children)
    return Attached(kind, subject, tag, digest, data, parsed, children)
