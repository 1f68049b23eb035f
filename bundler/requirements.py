"""What a config requires of images: ``require: {signatures: [KEY…]}``, for all of them, for a pattern, or for one."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bundler.imagesignatures import SigningKey, read_signing_key
from bundler.settings import Value
from loader.oci.model import ImageRef

MAX_KEY = 64 * 1024

ReadFile = Callable[[Path, int], bytes]


@dataclass(frozen=True)
class Requirement:
    """A signature by one of ``keys`` is required of every image that one of ``patterns`` matches; none: of all."""

    keys: tuple[SigningKey, ...]
    patterns: tuple[str, ...] = ()

    def covers(self, image: ImageRef) -> bool:
        """Tell whether the requirement is one of ``image``: its name, alone or with tag or digest, fits a pattern."""
        names = {str(image), image.name, f"{image.name}:{image.tag}"}
        return not self.patterns or any(fnmatch.fnmatchcase(name, item) for name in names for item in self.patterns)


def read_requirement(value: Value, directory: Path, read: ReadFile) -> tuple[Requirement, ...]:
    """Read one image's ``require``."""
    section = value.section(("signatures",), required=("signatures",))
    return _requirement(section["signatures"], (), directory, read) if "signatures" in section else ()


def read_requirements(value: Value, directory: Path, read: ReadFile) -> tuple[Requirement, ...]:
    """Read the config's own ``require``: one mapping, or a list of them; ``images`` is a pattern or several."""
    items = list(value.items()) if isinstance(value.node.value, tuple) else [value]
    found: list[Requirement] = []
    for item in items:
        section = item.section(("images", "signatures"), required=("signatures",))
        patterns = _patterns(section["images"]) if "images" in section else ()
        if "signatures" in section and patterns is not None:
            found += _requirement(section["signatures"], patterns, directory, read)
    return tuple(found)


def report_unused(value: Value, requirements: Sequence[Requirement], images: Sequence[ImageRef]) -> None:
    """Make a pattern that matches no image a fault: it was meant to require something."""
    for requirement in requirements:
        for pattern in requirement.patterns:
            if not any(Requirement((), (pattern,)).covers(image) for image in images):
                value.fault(f"{pattern[:200]!a} matches no image; a pattern fits names such as quay.io/ceph/ceph:v19")


def _patterns(value: Value) -> Optional[tuple[str, ...]]:
    many = isinstance(value.node.value, tuple)
    texts = [item.string() for item in value.items()] if many else [value.string()]
    if None in texts or not texts:
        if not texts:
            value.fault("lists no pattern; leave it out for every image")
        return None
    return tuple(text for text in texts if text)


def _requirement(value: Value, patterns: tuple[str, ...], directory: Path, read: ReadFile) -> tuple[Requirement, ...]:
    keys = [_key(item, directory, read) for item in value.items()]
    if value.node.value == ():
        value.fault("lists no key; an empty list would let everything pass")
    return (Requirement(tuple(key for key in keys if key), patterns),) if keys and all(keys) else ()


def _key(value: Value, directory: Path, read: ReadFile) -> Optional[SigningKey]:
    text = value.matching(bool, "the file of a public key")
    if text is None:
        return None
    place = text.removeprefix("file:")
    return value.attempt(lambda: read_signing_key(place, read(directory / place, MAX_KEY)))
