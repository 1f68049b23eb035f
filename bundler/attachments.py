"""What belongs to an image and stands beside it: cosign's tags, and what refers to it (OCI 1.1).

Looked up for the image and for each of its children, and for what is found in turn. "Not there" is the registry's own
word (404, or a whole list without it) and nothing else: whatever else goes wrong is an error, never an absence.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from http import HTTPStatus
from typing import Optional

from bundler.neighbours import Neighbours
from bundler.resolve import Attached, ManifestSource, ResolvedImage, read_child
from bundler.sidebyside import side_by_side
from loader.bundle.digest import require_digest
from loader.bundle.errors import ConfigError, FormatError, RegistryError
from loader.bundle.ocimanifest import parse_manifest
from loader.oci.listing import MAX_REFERRERS, referring
from loader.oci.referrers import fallback_tag, subject_of
from loader.signatureplaces import SIGNATURE

# An image, its SBOM, the SBOM's signature, and one more that nobody makes yet.
_MAX_DEPTH = 4
_WITHOUT = "attachments: false leaves it out, for the whole config or one image"

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
    found = side_by_side(lambda item: _carried(*item[1:]), work, jobs=jobs)
    by_image: dict[int, dict[str, tuple[Attached, ...]]] = {}
    for (number, *_), some in zip(work, found):
        by_image.setdefault(number, {}).update(some)
    return tuple(dataclasses.replace(image, beside=by_image.get(number, {})) for number, image in enumerate(resolved))


def _subjects(image: ResolvedImage) -> list[str]:
    """The digests that are in the bundle: an index that was rewritten is not the one that was signed."""
    top = [image.digest] if image.digest == image.upstream or not image.parsed.is_index else []
    return [*top, *(child.descriptor.digest for child in image.children)]


def _carried(image: ResolvedImage, subject: str, top: bool) -> dict[str, tuple[Attached, ...]]:
    """Return what belongs to ``subject``, and to that in turn: a signature of an SBOM."""
    near = image.source.neighbours()
    if near is None:
        return {}
    found: dict[str, tuple[Attached, ...]] = {}
    asked = [subject]
    try:
        for _ in range(_MAX_DEPTH):
            found.update({one: _beside(image, near, one, top and one == subject) for one in asked})
            # A tag may name what it is about: nothing is asked for twice.
            fresh = {one.digest for about in asked for one in found[about]} - found.keys()
            if not fresh:
                return found
            if len(found) + len(fresh) > MAX_REFERRERS:
                raise FormatError("too much belongs to it", why=f"more than {MAX_REFERRERS} attachments")
            asked = sorted(fresh)
        if any(_beside(image, near, one, top=False) for one in asked):
            raise FormatError("attachments of attachments go too deep", why=f"more than {_MAX_DEPTH} levels")
    except FormatError as error:
        raise ConfigError(
            f"what belongs to {image.config.name.name}@{subject} can't be carried",
            why=str(error),
            hint=_WITHOUT,
        ) from error
    except RegistryError as error:
        if _WITHOUT not in error.hint:
            error.hint = f"{error.hint}; or {_WITHOUT}" if error.hint else _WITHOUT
        raise
    return {**found, **dict.fromkeys(asked, ())}


def _beside(image: ResolvedImage, near: Neighbours, subject: str, top: bool) -> tuple[Attached, ...]:
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
    return tuple(found)


def _referrers(near: Neighbours, subject: str, tagged: bool, what: str) -> list[str]:
    """Return the digests of what refers to ``subject``: what the API lists, and what the fallback tag names."""
    found = set(near.referrers(subject) or ())
    fallback = near.tagged(fallback_tag(subject)) if tagged else None
    if fallback is not None:
        found.update(referring(fallback.manifest()[0], f"the list of what refers to {what}"))
    return sorted(found)


def _read(source: ManifestSource, digest: str, place: tuple[str, str, Optional[str]], what: str) -> Attached:
    kind, subject, tag = place
    try:
        data, media_type = source.manifest(digest)
    except RegistryError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise RegistryError(f"{what} is listed and not there", why=str(error), hint=_WITHOUT) from error
    require_digest(data, digest, what)
    parsed = parse_manifest(data, f"{what} ({digest})", media_type)
    if tag is None and subject_of(data) != subject:
        raise FormatError(f"{what} does not refer to it", why=f"the subject of {digest} is {subject_of(data)}")
    children = tuple(read_child(source, child, what) for child in parsed.children)
    made = Attached(kind, subject, tag, digest, data, parsed, children)
    away = next((layer.digest for one in made.manifests for layer in one.layers if layer.foreign), None)
    if away is not None:
        raise FormatError(f"{what} has a layer that is hosted elsewhere", why=away)
    return made
