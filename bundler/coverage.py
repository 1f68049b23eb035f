"""Which image references in a bundle's own objects its images and mirrors serve."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional

from bundler.references import Reference, references
from loader.bundle.manifest import BundleManifest
from loader.mirrors import scopes_of
from loader.oci.model import ImageRef

_OBJECT_PHASES = ("before-rook", "after-rook")


@dataclass(frozen=True)
class Coverage:
    """What a reference in a document resolves to: ``digest``, ``tag`` (tag mirrors only) or ``none``."""

    reference: Reference
    document: str
    covered: str
    problem: str

    def __str__(self) -> str:
        problem = f": {self.problem}" if self.problem else ""
        return f"{self.reference.text}{problem} ({self.document}: {self.reference.owner}, {self.reference.why})"


def find_coverage(manifest: BundleManifest, texts: Mapping[str, bytes]) -> tuple[Coverage, ...]:
    """Return what each reference in the objects of ``manifest`` resolves to, what nobody covers first.

    ``texts``: documents by path, those at hand.
    """
    return tuple(sorted(_coverage(manifest, texts), key=lambda item: ("none", "tag", "digest").index(item.covered)))


def missing_images(manifest: BundleManifest, texts: Mapping[str, bytes]) -> Iterator[str]:
    """Say which images the objects surely name that a cluster will not find."""
    for item in find_coverage(manifest, texts):
        if item.covered == "none" and item.reference.certain:
            yield f"NO IMAGE for {item}"


def _coverage(manifest: BundleManifest, texts: Mapping[str, bytes]) -> Iterator[Coverage]:
    documents = [item for item in manifest.documents if item.phase in _OBJECT_PHASES and item.path in texts]
    if not documents:
        return
    digests: dict[str, set[str]] = {}
    tags: dict[str, set[str]] = {}
    for image in manifest.images:
        known = digests.setdefault(image.source, set())
        known.add(image.digest)
        if image.tag:
            tags.setdefault(image.source, set()).add(image.tag)
    children: dict[str, set[str]] = {}
    for file in manifest.files:
        directory, _, name = file.path.rpartition("/")
        if name.endswith(".manifest.json"):
            children.setdefault(directory, set()).add(f"sha256:{name[:64]}")
    for image in manifest.images:
        digests[image.source] |= children.get(image.path, set())
    sources = {row.source for row in manifest.mirrors}
    for document in documents:
        for found in references(json.loads(texts[document.path])):
            covered, problem = _covered(found, digests, tags, sources)
            yield Coverage(found, document.path, covered, problem)


def _covered(
    found: Reference, digests: Mapping[str, set[str]], tags: Mapping[str, set[str]], sources: set[str]
) -> tuple[str, str]:
    image: Optional[ImageRef] = found.image
    if image is None:
        return "none", "cannot be read as an image reference"
    if image.digest is not None:
        inside = image.digest in digests.get(image.name, set())
        problem = "this digest is not in the bundle"
    else:
        inside = image.tag in tags.get(image.name, set())
        problem = "this tag is not in the bundle"
    if image.name not in digests:
        problem = "this image is not in the bundle"
    if not inside:
        return "none", problem
    if not any(scope in sources for scope in scopes_of(image.name)):
        return "none", "no mirror covers it"
    if image.digest is not None:
        return "digest", ""
    way = (
        "pin: true writes the digest" if found.certain else "write the digest there by hand, pin: true leaves it alone"
    )
    return "tag", f"a tag: ICSP and IDMS do not serve it, only ITMS and registries.conf do; {way}"
