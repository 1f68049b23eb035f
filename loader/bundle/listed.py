"""A bundle of which one disc is at hand: its signed list and its documents, but not its images.

What refers to what is not read from manifests here but from the signed list's names: a skopeo ``dir`` layout names
every manifest and blob by its digest. Nothing can be sent from it; it serves to ask what a registry has.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Union

from loader.bundle.archive import Archive
from loader.bundle.digest import is_hex
from loader.bundle.graph import ImageGraph, Node
from loader.bundle.manifest import Attachment, BundleManifest, File, Image
from loader.bundle.ocimanifest import Descriptor
from loader.bundle.tarlayout import Layout, Member

_CHILD = re.compile(r"[0-9a-f]{64}\.manifest\.json")


@dataclass
class Nowhere:
    """An archive that is not at hand: its name and size, and no byte of it."""

    name: str
    size: int

    def read_into(self, offset: int, view: memoryview) -> int:
        """Fill nothing."""
        return 0


class ListedFiles(Archive):
    """The documents of an archive; ``read`` gives one by its path, or raises for what is not at hand."""

    def __init__(self, source: Nowhere, manifest: BundleManifest, read: Callable[[str], bytes]) -> None:
        self.source = source
        self.layout = Layout([Member(file.path, file.size, "raw", file.link_to) for file in manifest.files])
        self.expected = tuple(file.sha256 for file in manifest.files)
        self._read = read

    def content(self, index: int, start: int = 0, stop: Optional[int] = None) -> Iterator[memoryview]:
        """Yield a document in one block; ``TrustError`` unless its SHA-256 is the signed one."""
        data = self._read(self.layout.members[index].path)
        self.check_hash(index, hashlib.sha256(data))
        yield memoryview(data)[start:stop]


def listed_graphs(manifest: BundleManifest) -> Mapping[str, ImageGraph]:
    """What the list says stands in the directory of each image and attachment; every blob is the top manifest's."""
    by_folder: dict[str, list[File]] = {}
    for file in manifest.files:
        by_folder.setdefault(file.path.rpartition("/")[0], []).append(file)
    graphs = {}
    owners: list[Union[Image, Attachment]] = [*manifest.images, *manifest.attachments]
    for owner in owners:
        files = by_folder.get(owner.path, [])
        omitted = [_blob(item.digest, item.size) for item in manifest.requires if owner.repository in item.repositories]
        graphs[owner.path] = ImageGraph(owner.path, _nodes(owner.path, owner.digest, files, omitted))
    return graphs


def _blob(digest: str, size: int) -> Descriptor:
    return Descriptor("application/octet-stream", digest, size, None, foreign=False)


def _nodes(path: str, digest: str, files: Sequence[File], omitted: Sequence[Descriptor]) -> tuple[Node, ...]:
    names = [(file, file.path.rpartition("/")[2]) for file in files]
    children = [
        Node(file.path, f"sha256:{file.sha256}", "", ()) for file, name in names if _CHILD.fullmatch(name) is not None
    ]
    blobs = [_blob(f"sha256:{name}", file.size) for file, name in names if is_hex(name)]
    return (*children, Node(f"{path}/manifest.json", digest, "", (*blobs, *omitted)))
