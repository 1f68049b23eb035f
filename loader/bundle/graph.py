"""Step 4b: every link between images, manifests, configs, layers and files is there, and nothing else is.

A signed list of files proves nothing about how they refer to each other (cosign CVE-2022-36056), so
each reference is followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Union

from loader.bundle.digest import digest_of
from loader.bundle.errors import FormatError
from loader.bundle.limits import MAX_MANIFEST
from loader.bundle.manifest import Attachment, BundleManifest, File, Image
from loader.bundle.ocimanifest import Descriptor, ParsedManifest, parse_manifest

VERSION_FILE = b"Directory Transport Version: 1.1\n"
_SIGNATURE = re.compile(r"(?:[0-9a-f]{64}\.)?signature-[1-9][0-9]{0,2}")

_NOTHING: frozenset[str] = frozenset()

ReadFile = Callable[[str], bytes]


@dataclass(frozen=True)
class Node:
    """A manifest of an image: its file, digest and media type, and the blobs it names that are carried."""

    path: str
    digest: str
    media_type: str
    blobs: tuple[Descriptor, ...]


@dataclass(frozen=True)
class ImageGraph:
    """The manifests of one directory in push order: children first, the image's own last."""

    directory: str
    nodes: tuple[Node, ...]


def check_graph(manifest: BundleManifest, files: Mapping[str, File], read: ReadFile) -> Mapping[str, ImageGraph]:
    """Return the graph of every image directory; ``read`` gives a small file's verified bytes by path.

    Raises ``FormatError`` for a reference that leads nowhere and for a file that nothing refers to.
    """
    walker = _Walker(manifest, files, read)
    for image in manifest.images:
        walker.visit(image)
    for attachment in manifest.attachments:
        walker.visit(attachment)
    walker.seen.update(document.path for document in manifest.documents)
    unreferenced = sorted(path for path in files if path not in walker.seen)
    if unreferenced:
        raise FormatError(f"{unreferenced[0]} is not referred to by anything", why=f"{len(unreferenced)} such files")
    return walker.graphs


class _Walker:
    def __init__(self, manifest: BundleManifest, files: Mapping[str, File], read: ReadFile) -> None:
        self._files = files
        self._read = read
        self._requires = {item.digest: item.size for item in manifest.requires}
        self._signatures: dict[str, list[str]] = {}
        for path in files:
            directory, _, name = path.rpartition("/")
            if _SIGNATURE.fullmatch(name):
                self._signatures.setdefault(directory, []).append(path)
        self._omitted: dict[str, frozenset[str]] = {}
        self.seen: set[str] = set()
        self.graphs: dict[str, ImageGraph] = {}

    def visit(self, owner: Union[Image, Attachment]) -> None:
        omitted = frozenset(item.digest for item in owner.omitted) if isinstance(owner, Image) else _NOTHING
        known = self.graphs.get(owner.path)
        if known is not None:
            if known.nodes[-1].digest != owner.digest:
                raise FormatError(f"two images share {owner.path}", why="their digests differ")
            if self._omitted[owner.path] != omitted:
                raise FormatError(f"two images share {owner.path}", why="they do not omit the same")
            return
        self._omitted[owner.path] = omitted or _NOTHING
        top_path = f"{owner.path}/manifest.json"
        data = self._manifest(top_path, owner.digest)
        media_type = owner.media_type if isinstance(owner, Image) else None
        top = parse_manifest(data, top_path, media_type)
        nodes = []
        for child in top.children:
            if child.digest in omitted:
                continue
            path = f"{owner.path}/{child.digest[7:]}.manifest.json"
            child_data = self._manifest(path, child.digest, child.size)
            parsed = parse_manifest(child_data, path, child.media_type)
            nodes.append(Node(path, child.digest, child.media_type, self._blobs(owner.path, path, parsed, omitted)))
        nodes.append(Node(top_path, owner.digest, top.media_type, self._blobs(owner.path, top_path, top, omitted)))
        self._version(owner.path)
        children = {child.digest[7:] for child in top.children}
        for path in self._signatures.get(owner.path, ()):
            prefix = path.rpartition("/")[2].partition(".signature-")
            if prefix[1] and prefix[0] not in children:
                raise FormatError(
                    f"{path} signs a manifest that the image does not have",
                    why="its name is the digest of none of the image's manifests",
                )
            self.seen.add(path)
        self.graphs[owner.path] = ImageGraph(owner.path, tuple(nodes))

    def _version(self, directory: str) -> None:
        path = f"{directory}/version"
        if path not in self._files or self._read(path) != VERSION_FILE:
            raise FormatError(
                f"{path} is missing or not that of a dir layout",
                why="each image is a skopeo dir: layout of version 1.1",
            )
        self.seen.add(path)

    def _manifest(self, path: str, digest: str, size: int | None = None) -> bytes:
        file = self._files.get(path)
        if file is None:
            raise FormatError(f"{path} is missing", why=f"manifest {digest} is named and neither carried nor omitted")
        if file.size > MAX_MANIFEST or (size is not None and size != file.size):
            raise FormatError(f"{path} does not have its size", why=f"{file.size} bytes")
        data = self._read(path)
        if digest_of(data) != digest:
            raise FormatError(f"{path} is not the manifest that is named", why=f"expected {digest}")
        self.seen.add(file.path)
        return data

    def _blobs(
        self, directory: str, where: str, parsed: ParsedManifest, omitted: frozenset[str]
    ) -> tuple[Descriptor, ...]:
        carried = []
        named = (parsed.config, *parsed.layers) if parsed.config else parsed.layers
        for blob in named:
            path = f"{directory}/{blob.digest[7:]}"
            file = self._files.get(path)
            if file is None:
                # A blob of another bundle: it has no file that could be left over.
                required = self._requires.get(blob.digest)
                if blob.digest in omitted:
                    continue
                if required is None:
                    raise FormatError(f"{path} is missing", why=f"{where} names it; it is neither carried nor omitted")
                if required != blob.size:
                    raise FormatError(f"{blob.digest} does not have its size", why=f"{where} says {blob.size} bytes")
            elif file.size != blob.size or file.sha256 != blob.digest[7:]:
                raise FormatError(f"{path} is not the blob that {where} names", why=f"{blob.digest}, {blob.size} bytes")
            else:
                self.seen.add(file.path)
            carried.append(blob)
        return tuple(carried)
