"""The config of another tool as ours: oc-mirror's ImageSetConfiguration v2alpha1, Hauler's Images manifest; pure.

What has no counterpart here is kept as a line for a person, with its place: nothing is dropped unsaid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Optional

from bundler.settings import Faults, Value
from bundler.yamlpos import Caps, parse
from loader.bundle.errors import ConfigError
from loader.oci.model import ImageRef
from loader.oci.platforms import is_platform

CAPS = Caps(size=1 << 20, depth=24, nodes=100_000)
_OC_MIRROR = "mirror.openshift.io/"
_V2 = "mirror.openshift.io/v2alpha1"
_HAULER = "content.hauler.cattle.io/"
_MAX_PATTERN = 200
# A group that repeats can take time without end in Python's engine; Go's, for which these were written, has none.
_REPEATED_GROUP = re.compile(r"\)[*+?{]")

_INSTEAD: Mapping[str, str] = {
    "platform": "OpenShift releases are not carried; list the images that are needed",
    "operators": "catalogs are not read; airgap-bundler find-images reads a ClusterServiceVersion",
    "helm": "airgap-bundler find-images CHART lists a chart's images; add them",
    "samples": "it is without effect in oc-mirror too",
    "archiveSize": "airgap-bundler media cuts the finished archive",
    "storageConfig": "there is no storage between runs; --base makes a delta",
    "targetRepo": "images keep their names; write image: and from: by hand to give one another name",
    "targetTag": "images keep their tags; write image: and from: by hand to give one another name",
}


@dataclass(frozen=True)
class ForeignImage:
    """An image to carry, where it stood, its platforms (none: all of them), and the key that must have signed it."""

    name: ImageRef
    line: int
    platforms: tuple[str, ...] = ()
    key: Optional[str] = None


@dataclass
class Foreign:
    """What a file says: ``unsupported`` and ``notes`` are (line, text)."""

    tool: str = ""
    images: list[ForeignImage] = field(default_factory=list)
    unsupported: list[tuple[int, str]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)


def read_foreign(data: bytes, what: str) -> Foreign:
    """Read the bytes of ``what``. Raises ``ConfigError`` with every fault, each with its line."""
    faults, found = Faults(), Foreign()
    parsed = parse(data, CAPS)
    faults.add_all(parsed.faults)
    for document in parsed.documents:
        _document(Value(document, "", faults), found)
    if not parsed.documents and not parsed.faults:
        faults.add(1, "", "the file is empty")
    if faults.found:
        raise ConfigError(f"{what} cannot be imported", faults=faults.listed(), hint="correct the lines named")
    once = {str(image.name): image for image in reversed(found.images)}
    found.notes += [
        (image.line, f"{image.name} is listed twice") for image in found.images if once[str(image.name)] is not image
    ]
    found.images = [image for image in found.images if once[str(image.name)] is image]
    if not found.images:
        listed = "; ".join(f"line {line}: {text}" for line, text in found.unsupported)
        raise ConfigError(f"{what} has no image that can be imported", why=listed or "it lists none")
    return found


def _document(top: Value, found: Foreign) -> None:
    plain = top.node.data()
    version = str(plain.get("apiVersion")) if isinstance(plain, dict) else ""
    kind = str(plain.get("kind")) if isinstance(plain, dict) else ""
    if version.startswith(_OC_MIRROR) and kind == "ImageSetConfiguration":
        if version != _V2:
            top.fault(f"apiVersion {version[:80]} is not {_V2}; oc-mirror v2 reads that one alone, too")
        found.tool = "oc-mirror"
        _image_set(_Reader(top, found))
    elif version.startswith(_HAULER):
        found.tool = "Hauler"
        if kind == "Images":
            _hauler(_Reader(top, found))
        else:
            found.unsupported.append((top.node.line, f"kind {kind[:40]}: {_instead(kind)}"))
    else:
        said = f"apiVersion {version[:80]}, kind {kind[:80]}" if version != "None" else "a file without apiVersion"
        top.fault(f"{said} is neither an ImageSetConfiguration ({_V2}) nor a Hauler Images manifest")


def _instead(kind: str) -> str:
    return _INSTEAD["helm"] if kind == "Charts" else "only images are carried"


@dataclass(frozen=True)
class _Reader:
    """A mapping whose keys are taken one by one; what nobody takes is unsupported."""

    value: Value
    found: Foreign

    def entries(self) -> dict[str, Value]:
        node = self.value.node.value
        if not isinstance(node, dict):
            self.value.section(())
            return {}
        path = f"{self.value.path}." if self.value.path else ""
        return {key: Value(inner, path + key, self.value.faults) for key, inner in node.items()}

    def leave(self, values: Mapping[str, Value]) -> None:
        for key, value in values.items():
            if value.node.value not in ((), {}, None):
                shown = value.path if value.path.isprintable() else ascii(value.path)
                text = f"{shown[:120]}: {_INSTEAD.get(key, 'has no counterpart here')}"
                self.found.unsupported.append((value.node.line, text))


def _image_set(reader: _Reader) -> None:
    top = reader.entries()
    for key in ("apiVersion", "kind", "metadata"):
        top.pop(key, None)
    mirror = top.pop("mirror", None)
    reader.leave(top)
    if mirror is None:
        reader.value.fault("mirror is missing")
        return
    inner = _Reader(mirror, reader.found).entries()
    images = inner.pop("additionalImages", None)
    blocked = inner.pop("blockedImages", None)
    reader.leave(inner)
    patterns = list(_blocked(blocked, reader.found)) if blocked else []
    for value in images.items() if images else ():
        image = _image(value, reader.found, ("platforms",), lambda name: name)
        if image is None:
            continue
        by = next((pattern.pattern for pattern in patterns if pattern.search(str(image.name))), None)
        if by is None:
            reader.found.images.append(image)
        else:
            reader.found.notes.append((image.line, f"{image.name} is blocked by {by!a}"))


def _blocked(value: Value, found: Foreign) -> Iterator[re.Pattern[str]]:
    for item in value.items():
        entries = _Reader(item, found).entries() if isinstance(item.node.value, dict) else {"name": item}
        name = entries.pop("name", None)
        _Reader(item, found).leave(entries)
        text = name.string() if name else None
        if text is None:
            if name is None:
                item.fault("has no name")
        elif len(text) > _MAX_PATTERN or _REPEATED_GROUP.search(text):
            item.fault("is a pattern with repeated groups, or too long a one; name the images instead")
        else:
            try:
                yield re.compile(text)
            except re.error as error:
                item.fault(f"{text[:80]!a} is no regular expression: {error}")


def _hauler(reader: _Reader) -> None:
    top = reader.entries()
    for key in ("apiVersion", "kind"):
        top.pop(key, None)
    notes = _annotations(top.pop("metadata", None), reader.found)
    spec = top.pop("spec", None)
    reader.leave(top)
    if spec is None:
        reader.value.fault("spec is missing")
        return
    inner = _Reader(spec, reader.found).entries()
    images = inner.pop("images", None)
    reader.leave(inner)
    registry = notes.get("hauler.dev/registry", "")

    def full(name: str) -> str:
        first, slash, _ = name.partition("/")
        has_host = slash and ({".", ":"} & set(first) or first == "localhost")
        return name if has_host or not registry else f"{registry}/{name}"

    for value in images.items() if images else ():
        image = _image(value, reader.found, ("platform", "key"), full, notes)
        if image is not None:
            reader.found.images.append(image)


def _annotations(metadata: Optional[Value], found: Foreign) -> dict[str, str]:
    """Return Hauler's own annotations, which hold for every image of the manifest."""
    node = metadata.node.value.get("annotations") if metadata and isinstance(metadata.node.value, dict) else None
    values = node.value if node is not None and isinstance(node.value, dict) else {}
    known = ("hauler.dev/platform", "hauler.dev/key", "hauler.dev/registry")
    for key, inner in values.items():
        if key.startswith("hauler.dev/") and key not in known:
            found.unsupported.append((inner.line, f"annotation {key[:80]}: has no counterpart here"))
    notes = {key: str(values[key].value) for key in known if key in values}
    platform = notes.get(known[0], "")
    if not _is_choice(platform):
        found.unsupported.append(
            (values[known[0]].line, f"annotation {known[0]}: {platform[:80]!a} is no os/architecture; all are taken")
        )
        del notes[known[0]]
    return notes


def _image(
    value: Value,
    found: Foreign,
    known: tuple[str, ...],
    full: Callable[[str], str],
    common: Mapping[str, str] = {},
) -> Optional[ForeignImage]:
    entries = _Reader(value, found).entries() if isinstance(value.node.value, dict) else {"name": value}
    name = entries.pop("name", None)
    taken = {key: entries.pop(key) for key in known if key in entries}
    _Reader(value, found).leave(entries)
    text = name.string() if name else None
    if name is None or text is None:
        if name is None:
            has = ", ".join(key[:40] for key in value.node.value) if isinstance(value.node.value, dict) else ""
            value.fault(f"has no name{f', only {has}' if has and has.isprintable() else ''}")
        return None
    if "://" in text:
        found.unsupported.append((name.node.line, f"{text[:200]}: write {{image: NAME, from: oci:PATH}} by hand"))
        return None
    image = name.attempt(lambda: ImageRef.parse(full(text)))
    if image is None:
        return None
    if str(image) != text:
        found.notes.append((name.node.line, f"{text} is {image}"))
    platforms = _platforms(taken, common.get("hauler.dev/platform", ""))
    key = taken["key"].string() if "key" in taken else common.get("hauler.dev/key")
    return ForeignImage(image, name.node.line, platforms, key or None)


def _platforms(taken: Mapping[str, Value], common: str) -> tuple[str, ...]:
    """Return the platforms that an entry, or else the whole file, asks for."""
    values: list[Value] = []
    if "platforms" in taken:
        values = list(taken["platforms"].items())
    elif "platform" in taken:
        values = [taken["platform"]]
    texts = [_platform(value) for value in values] or [common]
    return tuple(text for text in texts if text and text != "all")


def _platform(value: Value) -> Optional[str]:
    """Return a platform as a text, or as oc-mirror has it: ``{os: linux, architecture: amd64}``."""
    if not isinstance(value.node.value, dict):
        return value.matching(_is_choice, "os/architecture[/variant]")
    section = value.section(("os", "architecture"), required=("os", "architecture"))
    parts = [section[key].string() for key in ("os", "architecture") if key in section]
    text = "/".join(part for part in parts if part)
    if None not in parts and len(parts) > 1 and not is_platform(text):
        value.fault(f"{text[:80]!a} is not os/architecture")
    return text


def _is_choice(text: str) -> bool:
    return text in {"", "all"} or is_platform(text)
