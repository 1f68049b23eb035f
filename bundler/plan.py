"""What a bundle comes to, before it is built or from a finished one: the page people decide on.

A plan is made from the manifest alone, so a config (composed, not packed) and an archive give the same page.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from bundler.compose import Composition
from bundler.coverage import Coverage, find_coverage
from bundler.medium import MEDIA, capacity_of, common_files, cut
from bundler.pack import largest_archive, layout_members
from loader.bundle.errors import ConfigError
from loader.bundle.head import Head
from loader.bundle.manifest import BundleManifest, Image
from loader.bundle.tarlayout import Layout
from loader.units import counted, human

# One ECDSA signature with its tar header; more of them change nothing a person would see.
_SIGNATURE = 1024
# Hosts that get no new images; the same repositories go on elsewhere.
_FROZEN = {
    "k8s.gcr.io": "registry.k8s.io",
    "quay.io/k8scsi": "registry.k8s.io/sig-storage",
    "gcr.io/kubebuilder": "registry.k8s.io/kubebuilder",
}


@dataclass(frozen=True)
class Subject:
    """What a plan is made of: a manifest, its head, the archive's size in bytes, and the documents at hand."""

    manifest: BundleManifest
    head: Head
    size: int
    exact: bool
    documents: Mapping[str, bytes]


@dataclass(frozen=True)
class PlannedImage:
    """One image; ``size`` counts its files once, ``shared`` those that other images have too, in bytes."""

    image: Image
    why: tuple[str, ...]
    manifests: int
    size: int
    shared: int


@dataclass(frozen=True)
class Plan:
    """The whole page; ``discs`` is the number of each medium, None where the archive does not fit on a set of it."""

    subject: Subject
    images: tuple[PlannedImage, ...]
    blobs: int
    unique: int
    uses: int
    coverage: tuple[Coverage, ...]
    discs: Mapping[str, Optional[int]]
    notes: tuple[str, ...]


def composed(planned: Composition) -> Subject:
    """Return what a build of ``planned`` would write; the size is an upper bound with one signature."""
    manifest = planned.manifest
    size = largest_archive(Layout(layout_members(planned.head, manifest.files)))
    return Subject(manifest, planned.head, size + _SIGNATURE, False, planned.texts)


def make_plan(subject: Subject, media: Sequence[str] = ()) -> Plan:
    """Work out the page.

    ``media`` are the media to count discs for, all of them if it is empty. ``ConfigError`` for an unknown one.
    """
    manifest = subject.manifest
    sizes: dict[str, int] = {}
    inside: dict[str, dict[str, int]] = {}
    shared: set[str] = set()
    blobs: set[str] = set()
    manifests: Counter[str] = Counter()
    for file in manifest.files:
        directory, _, name = file.path.rpartition("/")
        if not directory.startswith("images/"):
            continue
        held = inside.setdefault(directory, {})
        if file.sha256 in sizes and file.sha256 not in held:
            shared.add(file.sha256)
        held[file.sha256] = sizes[file.sha256] = file.size
        if name == file.sha256:
            blobs.add(name)
        elif name.endswith("manifest.json"):
            manifests[directory] += 1
    coverage = find_coverage(manifest, subject.documents)
    named = _named_by_rook(subject)
    for item in coverage:
        if item.reference.image is not None:
            named.setdefault(str(item.reference.image), []).append(f"{item.reference.owner}, {item.reference.why}")
    images = []
    for image in manifest.images:
        files = inside.get(image.path, {})
        in_others = sum(files[sha256] for sha256 in shared.intersection(files))
        names = _names(image)
        why = [part for name in names for part in named.get(name, ())]
        images.append(
            PlannedImage(image, tuple(dict.fromkeys(why)), manifests[image.path], sum(files.values()), in_others)
        )
    return Plan(
        subject=subject,
        images=tuple(images),
        blobs=len(blobs),
        unique=sum(sizes.values()),
        uses=sum(sum(files.values()) for files in inside.values()),
        coverage=coverage,
        discs={medium: _discs(subject, medium) for medium in media or MEDIA},
        notes=tuple(_notes(subject)),
    )


def _named_by_rook(subject: Subject) -> dict[str, list[str]]:
    """Say for every ``name@digest`` which of Rook's patches it stands in."""
    named: dict[str, list[str]] = {}
    for document in subject.manifest.documents:
        if document.phase == "rook" and document.target is not None:
            body = json.loads(subject.documents[document.path])
            for key, text in _strings(body):
                if "@sha256:" in text:
                    named.setdefault(text, []).append(f"rook: {document.target.kind} {document.target.name} {key}")
    return named


def _strings(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)
    elif isinstance(value, str):
        yield key, value


def _names(image: Image) -> list[str]:
    names = [f"{image.source}@{image.digest}"]
    if image.tag:
        names += [f"{image.source}:{image.tag}", f"{image.source}:{image.tag}@{image.digest}"]
    return names


def _discs(subject: Subject, medium: str) -> Optional[int]:
    head = len(subject.head.sums) + len(subject.head.manifest)
    documents = [len(data) for data in subject.documents.values()]
    common = common_files(head, documents)
    capacity = capacity_of(medium)
    try:
        return cut(subject.size, capacity, 0, common).k
    except ConfigError:
        return None


def _notes(subject: Subject) -> Iterator[str]:
    manifest = subject.manifest
    for frozen, now in _FROZEN.items():
        count = sum(image.source.startswith(f"{frozen}/") for image in manifest.images)
        if count:
            yield f"{frozen} ({counted(count, 'image')}) gets no new images; the same names go on at {now}"
    for image in manifest.images:
        name = f"{image.source}:{image.tag}" if image.tag else image.source
        if image.tag == "latest":
            yield f"{name}: latest is another image every time it is updated; a version says what it is"
        if image.rewritten:
            yield f"{name}: its index was rewritten: {image.rewritten} upstream, {image.digest} here"
        for item in image.omitted:
            yield f"{name}: left out {item.digest}: {item.reason}"
    loose = sum(file.size for file in manifest.files if file.stored == "zstd")
    if loose and not subject.exact:
        yield f"{human(loose)} of layers are not compressed yet and will shrink: the archive's size counts them in full"
