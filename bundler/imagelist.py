"""The config's ``images:``: names, where their bytes are, and what clashes that the config alone shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Union

from bundler.settings import LATER, Value
from loader.mirrors import is_location
from loader.oci.model import ImageRef, RegistryTarget, repository_in_airgap, tag_in_airgap

_LATER_TRANSPORTS = ("oci", "oci-archive", "docker-archive", "containers-storage")


@dataclass(frozen=True)
class ConfigImage:
    """One image: its name in the airgap's documents, its path under the registry, and where its bytes are.

    ``origin`` is a reference to pull (``name`` itself unless the config says otherwise) or the directory of a
    skopeo ``dir:`` layout. ``line`` is the config's, for errors found later.
    """

    name: ImageRef
    repository: str
    origin: Union[ImageRef, Path]
    line: int

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


def read_images(
    value: Value, directory: Path, *, paths: str, registry: Optional[RegistryTarget]
) -> tuple[ConfigImage, ...]:
    """Read the list; layouts are relative to ``directory``, ``paths`` and ``registry`` are the config's words."""
    images: list[ConfigImage] = []
    seen: dict[str, tuple[str, ConfigImage]] = {}
    for item in value.items():
        image = _image(item, directory, keep_host=paths == "keep-host")
        if image is None:
            continue
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


def _image(item: Value, directory: Path, *, keep_host: bool) -> Optional[ConfigImage]:
    if isinstance(item.node.value, str):
        name = item.image()
        origin: Union[ImageRef, Path, None] = name
    elif not isinstance(item.node.value, dict):
        item.fault("must be an image name, or a mapping with image and from")
        return None
    else:
        section = item.section(
            ("image", "from", "fromDirs"), required=() if "fromDirs" in item.node.value else ("image",)
        )
        if "fromDirs" in section:
            section["fromDirs"].fault(f"fromDirs {LATER}; write one entry with image and from for each directory")
        name = section["image"].image() if "image" in section else None
        origin = _origin(section["from"], directory) if "from" in section else name
        _same_digest(section, name, origin)
    if name is None or origin is None:
        return None
    return ConfigImage(name, repository_in_airgap(name, keep_host=keep_host), origin, item.node.line)


def _origin(value: Value, directory: Path) -> Union[ImageRef, Path, None]:
    text = value.string()
    if text is None:
        return None
    transport, colon, rest = text.partition(":")
    if colon and transport in _LATER_TRANSPORTS:
        value.fault(f"{transport}: {LATER}; use dir:PATH or docker://REFERENCE")
    elif text.startswith("docker://"):
        return value.attempt(lambda: ImageRef.parse(text[len("docker://") :]))
    elif transport == "dir" and rest and "\0" not in rest:
        return directory / rest
    else:
        value.fault(f"{text[:200]!a} is not dir:PATH or docker://REFERENCE")
    return None


def _same_digest(section: Mapping[str, Value], name: Optional[ImageRef], origin: object) -> None:
    if name is None or not isinstance(origin, ImageRef):
        return
    if name.digest and origin.digest and name.digest != origin.digest:
        section["from"].fault(f"{origin} has another digest than {name}")
