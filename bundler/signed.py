"""Requiring signatures: every image that has to be signed is, by one of the keys, or nothing is built."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from bundler.attachments import REFERRER
from bundler.imagesignatures import (
    BUNDLE,
    COSIGN,
    SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING,
    Signed,
    SigningKey,
    check_bundle,
    check_simple_signing,
)
from bundler.requirements import Requirement
from bundler.resolve import Attached, ResolvedImage, read_blob
from bundler.sidebyside import side_by_side
from loader.bundle.errors import ConfigError, TrustError
from loader.bundle.ocimanifest import Descriptor
from loader.signatureplaces import SIGNATURE

# Payloads are a few hundred bytes; bundles with log entries some thousand. A key signs an image a few times.
_MAX_PAYLOAD = 1 << 20
_MAX_SIGNATURES = 100


def require_signatures(resolved: Sequence[ResolvedImage], *, jobs: int) -> tuple[ResolvedImage, ...]:
    """Return the images with the signatures that were required of them and hold.

    One ``TrustError`` names every image without: an absent signature, another key's, one of another image.
    """
    if not any(image.config.require for image in resolved):
        return tuple(resolved)
    for image in resolved:
        if image.config.require and image.digest != image.upstream:
            raise ConfigError(
                f"image {image.config.name}: its index is rewritten, and a signature is required of it",
                why=f"what was signed is {image.upstream}; the new index is signed by nobody",
                hint="leave --rewrite-index away, or take the requirement away",
            )
    checked = side_by_side(_checked, resolved, jobs=jobs)
    faults = [(str(image.config.name), problem) for image, problems in checked for problem in problems]
    if faults:
        raise TrustError(
            f"{len({name for name, _ in faults})} of {len(resolved)} images are not signed as the config requires",
            why="; ".join(f"{name}: {problem}" for name, problem in faults),
            hint="sign them (cosign sign --key), give the right key, or take require away; nothing was built",
        )
    return tuple(image for image, _ in checked)


def _checked(image: ResolvedImage) -> tuple[ResolvedImage, list[str]]:
    signed, problems = [], []
    blobs = dict(image.blobs)
    for requirement in image.config.require:
        found = _first(image, requirement, blobs)
        if isinstance(found, Signed):
            signed.append(found)
        else:
            problems.append(found)
    return dataclasses.replace(image, blobs=blobs, signed=tuple(signed)), problems


def _first(image: ResolvedImage, requirement: Requirement, blobs: dict[str, bytes]) -> Signed | str:
    """Return the first signature that holds, those that nodes can check before others; else why none does."""
    places = " or ".join(key.place for key in requirement.keys)
    candidates = [item for one in image.attached if one.subject == image.digest for item in _candidates(one)]
    candidates.sort(key=lambda item: item[0].media_type != SIMPLE_SIGNING)
    said: list[str] = []
    for layer, annotation in candidates[:_MAX_SIGNATURES]:
        found = _check(image, layer, annotation, (requirement.keys, blobs))
        if isinstance(found, Signed):
            return found
        said.append(found)
    if not said:
        return f"there is no signature, and one by {places} is required"
    return f"none of its {len(said)} signatures is by {places} ({'; '.join(dict.fromkeys(said))})"


def _check(
    image: ResolvedImage, layer: Descriptor, annotation: object, by: tuple[Sequence[SigningKey], dict[str, bytes]]
) -> Signed | str:
    keys, blobs = by
    try:
        data = _blob(image, layer, blobs)
        if layer.media_type == SIMPLE_SIGNING:
            return check_simple_signing(data, annotation, image.digest, keys)
        return check_bundle(data, image.data, keys)
    except TrustError as error:
        return str(error)


def _candidates(one: Attached) -> Iterator[tuple[Descriptor, object]]:
    """Yield the layers that may be a signature, with cosign's annotation."""
    if one.parsed.is_index:
        return
    plain: Any = json.loads(one.data)
    for layer, described in zip(one.parsed.layers, plain.get("layers") or []):
        simple = one.kind == SIGNATURE and layer.media_type == SIMPLE_SIGNING
        if simple or (one.kind == REFERRER and layer.media_type.startswith(BUNDLE)):
            annotations = described.get("annotations")
            yield layer, annotations.get(SIGNATURE_ANNOTATION) if isinstance(annotations, dict) else None


def _blob(image: ResolvedImage, layer: Descriptor, blobs: dict[str, bytes]) -> bytes:
    known: Optional[bytes] = blobs.get(layer.digest)
    if known is None:
        if layer.size > _MAX_PAYLOAD:
            raise TrustError(f"it is {layer.size} bytes long")
        known = blobs[layer.digest] = read_blob(image.source, layer, str(image.config.name))
    return known


def signed_lines(resolved: Sequence[ResolvedImage]) -> Iterator[str]:
    """Yield a line for each signature that was required and holds."""
    for image in resolved:
        for found in image.signed:
            late = "" if found.form == COSIGN else "; nodes cannot check this form: no ClusterImagePolicy asks for it"
            yield f"{image.config.name} by {found.key.place} ({found.form}{late})"
