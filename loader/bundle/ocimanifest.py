"""Image manifests and indexes as data: hostile bytes in, descriptors out.

Docker schema 2 (manifest and list) and OCI image-spec 1.1 (manifest and index) are understood.
Bytes are never written again from what is parsed here: a digest names the bytes as they came.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Any, Optional

from loader.bundle import strictjson
from loader.bundle.digest import is_digest
from loader.bundle.errors import FormatError

MAX_MANIFEST = 4 * 2**20
"""Distribution spec, "Pushing Manifests": registries need not take more than 4 MiB; so nothing valid is larger."""
MAX_CHILDREN = 1000
"""Real indexes have tens; a bound keeps one index from asking for millions of requests."""
MAX_LAYERS = 1000
"""overlayfs ends at 128 layers (500 with fsconfig); Docker refuses more than 127."""
_MAX_NAME = 255

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
SCHEMA1_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
MANIFEST_TYPES = frozenset({DOCKER_MANIFEST, OCI_MANIFEST})
INDEX_TYPES = frozenset({DOCKER_LIST, OCI_INDEX})
KNOWN_TYPES = MANIFEST_TYPES | INDEX_TYPES

# RFC 6838 section 4.2 names, with a slash between; parameters are cut off before.
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_PLATFORM_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of a child, config or layer; ``platform`` is ``os/arch[/variant]``.

    ``foreign``: the bytes may be elsewhere (``urls``, or a foreign or non-distributable layer type),
    so a registry or a layout may rightly lack them.
    """

    __slots__ = ("digest", "foreign", "media_type", "platform", "size")  # as many as members

    media_type: str
    digest: str
    size: int
    platform: Optional[str]
    foreign: bool


@dataclass(frozen=True)
class ParsedManifest:
    """An index has ``children`` only; an image manifest has ``config`` and ``layers`` only."""

    media_type: str
    is_index: bool
    children: tuple[Descriptor, ...]
    config: Optional[Descriptor]
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config, then layers in order; empty for an index."""
        return (() if self.config is None else (self.config,)) + self.layers


def parse_manifest(data: bytes, what: str, content_type: Optional[str] = None) -> ParsedManifest:
    """Parse the bytes of a manifest; ``what`` names it in errors, ``content_type`` is what the registry called it.

    ``FormatError`` for schema 1, nested indexes, a ``mediaType`` that is not the content type, and anything
    that is not one of the four types. ``mediaType`` is optional in OCI documents (image-spec, "manifest.md"):
    then ``content_type`` decides, and without one the shape.
    """
    if len(data) > MAX_MANIFEST:
        raise FormatError(f"{what} is too large", why=f"{len(data)} bytes, a manifest has at most {MAX_MANIFEST}")
    plain = strictjson.loads(data, what)
    if not isinstance(plain, dict):
        raise FormatError(f"{what} is not a manifest", why=f"it is a JSON {type(plain).__name__}, not an object")
    media_type = _media_type_of(plain, what, content_type)
    _refuse_ambiguity(plain, what, media_type)
    if media_type in INDEX_TYPES:
        children = _descriptors(plain, "manifests", what, MAX_CHILDREN)
        for child in children:
            _require_manifest_child(child, what)
        return ParsedManifest(media_type, True, children, None, ())
    config = _descriptor(plain.get("config"), f"{what}: config")
    return ParsedManifest(media_type, False, (), config, _descriptors(plain, "layers", what, MAX_LAYERS))


def bare_type(content_type: Optional[str]) -> Optional[str]:
    """Return a Content-Type without parameters, in lower case, or ``None`` for one that says nothing."""
    bare = (content_type or "").partition(";")[0].strip().lower()
    # Some static servers know no better for a file without extension than these.
    return None if bare in {"", "application/octet-stream", "text/plain", "application/json"} else bare


def _media_type_of(plain: dict[str, Any], what: str, content_type: Optional[str]) -> str:
    version = plain.get("schemaVersion")
    own = plain.get("mediaType")
    told = bare_type(content_type)
    if _is_one(version) or told in SCHEMA1_TYPES or (isinstance(own, str) and own in SCHEMA1_TYPES):
        raise FormatError(
            f"{what} is a Docker schema 1 manifest",
            why="schema 1 was withdrawn: its digest does not cover what registries serve today",
            hint="push the image again with a current tool, or use a tag that has schema 2",
        )
    if isinstance(version, bool) or version != 2:
        raise FormatError(f"{what} is not an image manifest", why=f"schemaVersion is {_shown(version)}, not 2")
    if own is not None and not isinstance(own, str):
        raise FormatError(f"{what} is not an image manifest", why=f"mediaType is a {type(own).__name__}")
    if own is not None and told is not None and own != told:
        raise FormatError(
            f"{what} says two things about its type",
            why=f"mediaType is {_shown(own)}, the Content-Type is {_shown(told)}",
        )
    media_type = own or told or _by_shape(plain, what)
    if media_type not in KNOWN_TYPES:
        raise FormatError(f"{what} is not an image manifest", why=f"its type is {_shown(media_type)}")
    if own is None and media_type in {DOCKER_MANIFEST, DOCKER_LIST}:
        raise FormatError(f"{what} is not an image manifest", why="a Docker schema 2 document without mediaType")
    return media_type


def _is_one(version: object) -> bool:
    return isinstance(version, int) and not isinstance(version, bool) and version == 1


def _by_shape(plain: dict[str, Any], what: str) -> str:
    if "manifests" in plain:
        return OCI_INDEX
    if "config" in plain:
        return OCI_MANIFEST
    raise FormatError(f"{what} is not an image manifest", why="it has neither manifests nor config")


def _refuse_ambiguity(plain: dict[str, Any], what: str, media_type: str) -> None:
    # CVE-2021-41190: one document that is an index to one reader and a manifest to another.
    others = ("config", "layers", "fsLayers") if media_type in INDEX_TYPES else ("manifests", "fsLayers")
    both = [name for name in others if plain.get(name)]
    if both:
        raise FormatError(f"{what} is two documents in one", why=f"{media_type} has no {' or '.join(both)}")


def _require_manifest_child(child: Descriptor, what: str) -> None:
    if child.media_type in INDEX_TYPES:
        raise FormatError(
            f"{what} is a nested index",
            why=f"its child {child.digest} is an index itself",
            hint="name the inner index as an image of its own",
        )
    if child.media_type not in MANIFEST_TYPES:
        raise FormatError(
            f"{what} has a child that is not an image manifest", why=f"{child.digest} is {_shown(child.media_type)}"
        )
    if child.size > MAX_MANIFEST:
        raise FormatError(f"{what} has a child that is too large", why=f"{child.digest} has {child.size} bytes")


def _descriptors(plain: dict[str, Any], field: str, what: str, most: int) -> tuple[Descriptor, ...]:
    items = plain.get(field)
    if items is None:
        # Go writes an empty list as null, and what reads it there takes null and nothing for one.
        return ()
    if not isinstance(items, list):
        raise FormatError(f"{what} has no list of {field}", why=f"{field} is {_shown(items)}")
    if len(items) > most:
        raise FormatError(f"{what} has too many {field}", why=f"{len(items)}, more than {most}")
    found = tuple(_descriptor(item, f"{what}: {field}[{i}]") for i, item in enumerate(items))
    _refuse_two_sizes(found, what)
    return found


def _refuse_two_sizes(descriptors: tuple[Descriptor, ...], what: str) -> None:
    sizes: dict[str, int] = {}
    for one in descriptors:
        if sizes.setdefault(one.digest, one.size) != one.size:
            raise FormatError(f"{what} gives one digest two sizes", why=one.digest)


def _descriptor(plain: object, where: str) -> Descriptor:
    if not isinstance(plain, dict):
        raise FormatError(f"{where} is not a descriptor", why=f"it is {_shown(plain)}")
    media_type, digest, size = plain.get("mediaType"), plain.get("digest"), plain.get("size")
    if not isinstance(media_type, str) or _MEDIA_TYPE.fullmatch(media_type) is None:
        raise FormatError(f"{where} has no valid mediaType", why=_shown(media_type))
    if not isinstance(digest, str) or not is_digest(digest):
        raise FormatError(
            f"{where} has no valid digest",
            why=f"{_shown(digest)} is not sha256: and 64 lower-case hex digits",
            hint="have that image made anew with sha256" if str(digest).startswith("sha512:") else "",
        )
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= strictjson.MAX_INTEGER:
        raise FormatError(f"{where} has no valid size", why=_shown(size))
    urls = plain.get("urls")
    if urls is not None and not isinstance(urls, list):
        raise FormatError(f"{where} has no valid urls", why=_shown(urls))
    foreign = bool(urls) or ".foreign." in media_type or ".nondistributable." in media_type
    # One string for all the layers of a type: a bundle may name 200,000.
    return Descriptor(sys.intern(media_type), digest, size, _platform(plain.get("platform"), where), foreign)


def _platform(plain: object, where: str) -> Optional[str]:
    if plain is None:
        return None
    if not isinstance(plain, dict):
        raise FormatError(f"{where} has no valid platform", why=_shown(plain))
    parts = [plain.get("os"), plain.get("architecture")]
    if all(part in (None, "") for part in parts):
        # Seen in old lists, meaning "any": an unnamed platform is no platform.
        return None
    if plain.get("variant"):
        parts.append(plain["variant"])
    named = [part for part in parts if isinstance(part, str) and _PLATFORM_PART.fullmatch(part)]
    if len(named) != len(parts):
        raise FormatError(f"{where} has no valid platform", why=f"os and architecture are {_shown(str(parts))}")
    return "/".join(named)


def _shown(value: object) -> str:
    """Show a hostile value in one short printable line."""
    if value is None:
        return "missing"
    text = ascii(value) if isinstance(value, (str, int, float, bool)) else f"a JSON {type(value).__name__}"
    return text if len(text) <= _MAX_NAME else text[:_MAX_NAME] + "..."
