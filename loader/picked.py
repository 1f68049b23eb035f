"""What is taken of an image: all of it, or the one child that a platform names; and what it is called on a node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from loader.bundle.errors import ConfigError
from loader.bundle.graph import Node
from loader.bundle.manifest import Attachment, Image
from loader.bundle.ocimanifest import parse_manifest
from loader.bundle.verify import VerifiedBundle
from loader.oci.platforms import matches


@dataclass(frozen=True)
class Picked:
    """An image or an attachment; ``nodes`` are its manifests in push order, the last one is what its name means.

    ``platform``: of that last one, where it is a child taken alone.
    """

    owner: Union[Image, Attachment]
    nodes: tuple[Node, ...]
    platform: Optional[str] = None

    @property
    def top(self) -> Node:
        """The manifest that the image's name means."""
        return self.nodes[-1]

    @property
    def blobs(self) -> dict[str, int]:
        """Every blob and its size."""
        return {blob.digest: blob.size for node in self.nodes for blob in node.blobs}

    @property
    def names(self) -> tuple[str, ...]:
        """The name by tag, if it has one, and by digest, as pods write them: of the source, not of a mirror."""
        if isinstance(self.owner, Attachment):
            return ()
        source, tag = self.owner.source, self.owner.tag
        return (*([f"{source}:{tag}"] if tag else []), f"{source}@{self.top.digest}")


def pick(bundle: VerifiedBundle, owners: Sequence[Union[Image, Attachment]], platform: Optional[str]) -> list[Picked]:
    """Return what is taken of each image; ``ConfigError`` names all images that have no such platform."""
    if platform is None:
        return [Picked(owner, bundle.graphs[owner.path].nodes) for owner in owners]
    picked, lacking = [], []
    for owner in owners:
        children = dict(_offered(bundle, owner))
        found = [(node, name) for name, node in children.items() if matches(name, [platform])]
        if found:
            picked.append(Picked(owner, (found[0][0],), found[0][1]))
        elif isinstance(owner, Image):
            name = f"{owner.source}:{owner.tag}" if owner.tag else f"{owner.source}@{owner.digest}"
            lacking.append((name, f"it has {', '.join(children) or 'no platform'}"))
    if lacking:
        raise ConfigError(
            f"not every image is here for {platform}",
            faults=lacking,
            hint="choose among the images with --image, or another --platform",
        )
    return picked


def _offered(bundle: VerifiedBundle, owner: Union[Image, Attachment]) -> Iterator[tuple[str, Node]]:
    """Yield (platform, manifest) of an image's children, or of itself where it is no index."""
    nodes = {node.digest: node for node in bundle.graphs[owner.path].nodes}
    top = bundle.graphs[owner.path].nodes[-1]
    parsed = parse_manifest(bundle.read(top.path), top.path, top.media_type)
    for child in parsed.children:
        if child.platform is not None and child.digest in nodes:
            yield child.platform, nodes[child.digest]
    if not parsed.is_index and isinstance(owner, Image):
        for platform in owner.platforms[:1]:
            yield platform, top
