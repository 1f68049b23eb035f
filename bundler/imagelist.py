"""The config's ``images:``: names, where their bytes are, and what clashes that the config alone shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional

from bundler.origin import MAX_NAMES, NAMES_FILE, ListFolders, Origin, parse_origin, read_names
from bundler.platforms import read_platforms
from bundler.requirements import ReadFile, Requirement, read_requirement
from bundler.settings import Value
from loader.mirrors import is_location
from loader.oci.model import ImageRef, RegistryTarget, repository_in_airgap, tag_in_airgap


@dataclass(frozen=True)
class ConfigImage:
    """One image: its name in the airgap's documents, its path under the registry, and where its bytes are.

    ``origin`` is a reference to pull (``name`` itself unless the config says otherwise), the directory of a
    skopeo ``dir:`` layout, or another place that skopeo reads. ``line`` is the config's, for errors found later.
    ``platforms`` are the only ones to take, all of them if empty; ``rewrite``: an index that loses children is
    replaced by one of ours; ``attachments``: what belongs to the image is looked for and taken too.
    ``require``: the signatures without which nothing is built. ``written``: the name as it stands in the config.
    """

    name: ImageRef
    repository: str
    origin: Origin
    line: int
    platforms: tuple[str, ...] = ()
    rewrite: bool = False
    attachments: bool = True
    require: tuple[Requirement, ...] = ()
    written: str = ""

    @property
    def target(self) -> str:
        """``repository:tag`` that the image gets in the airgap."""
        return f"{self.repository}:{tag_in_airgap(self.name.tag, self.name.digest or '')}"


def names(said: ImageRef, image: ImageRef) -> bool:
    """Tell whether ``said`` means ``image``: the same repository, and no tag or digest that disagrees."""
    return (
        said.name == image.name
        and (said.tag is None or said.tag == image.tag)
        and (said.digest is None or image.digest is None or said.digest == image.digest)
    )


def normalised(images: Iterable[ConfigImage]) -> Iterator[ConfigImage]:
    """Yield the images whose name was filled up: no host is Docker Hub's, no tag is ``latest``."""
    return (image for image in images if image.written not in {"", str(image.name)})


@dataclass(frozen=True)
class ListRules:
    """What the rest of the config and the caller say of images: where paths start, the words, the ports."""

    directory: Path
    keep_host: bool
    registry: Optional[RegistryTarget]
    platforms: tuple[str, ...]
    attachments: bool
    require: tuple[Requirement, ...]
    read: ReadFile
    list_folders: ListFolders


def read_images(value: Value, rules: ListRules) -> tuple[ConfigImage, ...]:
    """Read the list of images."""
    images: list[ConfigImage] = []
    seen: dict[str, tuple[str, ConfigImage]] = {}
    registry = rules.registry
    for item, image in ((entry, found) for entry in value.items() for found in _entry(entry, rules)):
        images.append(image)
        if not is_location(image.name.host):
            item.fault(f"the host {image.name.host} is one that OpenShift's mirror objects cannot name")
        if registry is not None:
            _fits(item, registry, image)
        place, other = seen.setdefault(image.target, (item.path, image))
        if other is not image:
            _clash(item, image, place, other)
    if value.node.value == ():
        value.fault("lists no image")
    return tuple(images)


def _fits(item: Value, registry: RegistryTarget, image: ConfigImage) -> None:
    item.attempt(lambda: registry.repository(image.repository))


def _clash(item: Value, image: ConfigImage, place: str, other: ConfigImage) -> None:
    """Tell what two entries with one target do to each other; unknown digests are compared once they are known."""
    one, two = image.name, other.name
    if one.digest and two.digest and one.digest != two.digest:
        item.fault(f"{one} and {place} ({two}) both become {image.target}, with different digests")
    elif one.name == two.name:
        keep = "; keep the one with the digest" if one.digest != two.digest else ""
        item.fault(f"{one} is {place} again{keep}")


def _entry(item: Value, rules: ListRules) -> Iterator[ConfigImage]:
    """Yield the image of one entry, or all of a folder of layouts."""
    if isinstance(item.node.value, str):
        name = item.image()
        if name is not None:
            yield replace(_made(item, name, name, rules), written=item.node.value)
        return
    if not isinstance(item.node.value, dict):
        item.fault("must be an image name, or a mapping with image and from")
        return
    folders = "fromDirs" in item.node.value
    own = ("fromDirs",) if folders else ("image", "from")
    section = item.section((*own, "platforms", "attachments", "require"), required=own[:1])
    rules = _own_rules(section, rules)
    if folders:
        for name, path in _folders(section["fromDirs"], rules):
            yield _made(item, name, path, rules)
        return
    name = section["image"].image() if "image" in section else None
    origin: Optional[Origin] = name
    if "from" in section:
        origin = section["from"].parsed(lambda text: parse_origin(text, rules.directory))
    _same_digest(section, name, origin)
    if name is not None and origin is not None:
        yield replace(_made(item, name, origin, rules), written=section["image"].node.text)


def _own_rules(section: Mapping[str, Value], rules: ListRules) -> ListRules:
    """Return the rules with what one entry says for itself."""
    platforms = read_platforms(section["platforms"]) if "platforms" in section else rules.platforms
    attachments = section["attachments"].boolean() if "attachments" in section else rules.attachments
    require = read_requirement(section["require"], rules.directory, rules.read) if "require" in section else ()
    return replace(rules, platforms=platforms, attachments=attachments is not False, require=(*rules.require, *require))


def _made(item: Value, name: ImageRef, origin: Origin, rules: ListRules) -> ConfigImage:
    repository = repository_in_airgap(name, keep_host=rules.keep_host)
    require = tuple(one for one in rules.require if one.covers(name))
    if require and not rules.attachments:
        item.fault("attachments: false leaves out the signature that require asks for")
    return ConfigImage(
        name,
        repository,
        origin,
        item.node.line,
        rules.platforms,
        attachments=rules.attachments,
        require=require,
    )


def _folders(value: Value, rules: ListRules) -> Iterator[tuple[ImageRef, Path]]:
    """Yield (image, layout) for every folder that a pattern matches, as the ``names.txt`` beside them says."""
    text = value.matching(_is_pattern, "a folder's path ending in a pattern such as mirror/*")
    if text is None:
        return
    pattern = rules.directory / text
    folders = value.attempt(lambda: rules.list_folders(pattern))
    names = value.attempt(lambda: rules.read(pattern.parent / NAMES_FILE, MAX_NAMES))
    if folders is None or names is None:
        return
    if not folders:
        value.fault(f"{text} matches no folder")
    found = read_names(names, folders)
    for problem in found.problems:
        value.fault(problem)
    for folder, image in found.images:
        yield image, pattern.parent / folder


def _is_pattern(text: str) -> bool:
    parent, _, last = text.rpartition("/")
    return bool(last) and not {"*", "?", "["} & set(parent) and "\0" not in text


def _same_digest(section: Mapping[str, Value], name: Optional[ImageRef], origin: object) -> None:
    if name is None or not isinstance(origin, ImageRef):
        return
    if name.digest and origin.digest and name.digest != origin.digest:
        section["from"].fault(f"{origin} has another digest than {name}")
