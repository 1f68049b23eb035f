"""Which repositories a bundle is: every image under its name in the airgap, and under the one it has outside.

Nodes that are told of a mirror ask in several ways: for the path under the registry, for that with the registry's
prefix, for the source's name as a path (``docker.io/ceph/ceph``), or for the source's path with ``?ns=docker.io``
(containerd).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from loader.bundle.digest import is_digest
from loader.bundle.graph import Node
from loader.bundle.manifest import Image
from loader.bundle.strictjson import loads
from loader.bundle.verify import Complete, VerifiedBundle
from loader.distribution.sharing import SharedFrames
from loader.oci.model import DOCKER_HUB, ImageRef, RegistryTarget, repository_in_airgap, tag_in_airgap
from loader.site import attachments_of

_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io"})


@dataclass(frozen=True)
class ServedManifest:
    """A manifest: where its bytes are, what it is, and the descriptor that lists it as a referrer of ``subject``."""

    path: str
    media_type: str
    size: int
    subject: Optional[str]
    descriptor: Mapping[str, Any]


@dataclass
class Repository:
    """What one name holds: tags and manifests by digest, and the digests of blobs.

    ``hosts``: where the image of a tag comes from outside.
    """

    tags: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, ServedManifest] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)

    def put(self, tag: str, digest: str, host: str) -> None:
        """Let ``tag`` name ``digest``, unless it names another already."""
        self.tags.setdefault(tag, digest)
        self.hosts.setdefault(tag, host)

    def referrers(self, subject: str) -> list[Mapping[str, Any]]:
        """Descriptors of the manifests whose ``subject`` is that digest, by digest."""
        found = [one.descriptor for one in self.manifests.values() if one.subject == subject]
        return sorted(found, key=lambda descriptor: str(descriptor["digest"]))

    def of_host(self, host: str) -> Repository:
        """The same with the tags of images from ``host`` alone: a tag means another image elsewhere."""
        tags = {tag: digest for tag, digest in self.tags.items() if self.hosts[tag] == host}
        return Repository(tags, self.hosts, self.manifests, self.blobs)


class Catalogue:
    """The repositories of a complete bundle; ``more`` are complete bundles that fill a delta up."""

    def __init__(self, complete: Complete, more: Sequence[Complete] = ()) -> None:
        self._bundle = complete.bundle
        self._bundles = [one.bundle for one in (complete, *more)]
        self._served: dict[str, ServedManifest] = {}
        self._shared = SharedFrames(lambda digest, start, stop: self.holder(digest).open_blob(digest, start, stop))
        target = RegistryTarget.parse(self._bundle.manifest.registry)
        self._own = target.host
        self._primary: dict[str, Repository] = {}
        self._by_source: dict[str, Repository] = {}
        aliases: dict[str, Repository] = {}
        for image in self._bundle.manifest.images:
            self._add(self._primary, image.repository, image)
            self._add(self._by_source, image.source, image)
            for name in (target.repository(image.repository), _source_path(image)):
                self._add(aliases, name, image)
        self._all = {**aliases, **self._primary}

    def _add(self, repositories: dict[str, Repository], name: str, image: Image) -> None:
        repository = repositories.setdefault(name, Repository())
        repository.put(tag_in_airgap(image.tag, image.digest), image.digest, image.source.partition("/")[0])
        attachments = attachments_of(self._bundle, [image])
        for item in attachments:
            if item.tag is not None:
                repository.put(item.tag, item.digest, image.source.partition("/")[0])
        for path in (image.path, *(item.path for item in attachments)):
            for node in self._bundle.graphs[path].nodes:
                repository.manifests[node.digest] = self._describe(node)
                repository.blobs.update(blob.digest for blob in node.blobs)

    def _describe(self, node: Node) -> ServedManifest:
        if node.path not in self._served:
            self._served[node.path] = describe(node.path, node.digest, node.media_type, self._bundle.read(node.path))
        return self._served[node.path]

    @property
    def names(self) -> list[str]:
        """The repositories as the airgap's registry has them, in the order of ``_catalog``."""
        return sorted(self._primary)

    def find(self, name: str, namespace: Optional[str] = None) -> Optional[Repository]:
        """Return what ``name`` holds; with ``namespace``, the registry the client means, its images alone.

        Our own registry's name as ``namespace`` means nothing more than none.
        """
        found = self._all.get(name)
        if namespace is None or namespace == self._own:
            return found
        host = DOCKER_HUB if namespace in _HUB_NAMES else namespace
        source = self._by_source.get(f"{host}/{name}")
        if source is not None:
            return source
        return None if found is None else found.of_host(host)

    def open_blob(self, digest: str, start: int, stop: int) -> Iterator[memoryview]:
        """Yield bytes ``start`` to ``stop`` of a blob, each frame checked before a byte of it is handed on."""
        bundle = self.holder(digest)
        return self._shared.part(digest, start, stop, bundle.blob_size(digest))

    def read(self, manifest: ServedManifest) -> bytes:
        """Return the bytes of a manifest, checked against its hash."""
        return self._bundle.read(manifest.path)

    def holder(self, digest: str) -> VerifiedBundle:
        """The bundle that carries a blob."""
        return next(bundle for bundle in self._bundles if bundle.has_blob(digest))


def describe(path: str, digest: str, media_type: str, data: bytes) -> ServedManifest:
    """Return what is served of a manifest; ``artifactType`` and annotations as the spec wants them listed.

    Source: distribution spec 1.1, "Listing Referrers": the config's type stands in for a missing ``artifactType``.
    """
    plain = loads(data, path)
    descriptor: dict[str, Any] = {"mediaType": media_type, "digest": digest, "size": len(data)}
    kind = plain.get("artifactType") or (plain.get("config") or {}).get("mediaType")
    if isinstance(kind, str):
        descriptor["artifactType"] = kind
    if isinstance(plain.get("annotations"), dict):
        descriptor["annotations"] = plain["annotations"]
    subject = plain.get("subject")
    named = subject.get("digest") if isinstance(subject, dict) else None
    is_named = isinstance(named, str) and is_digest(named)
    return ServedManifest(path, media_type, len(data), named if is_named else None, descriptor)


def _source_path(image: Image) -> str:
    host, _, path = image.source.partition("/")
    return repository_in_airgap(ImageRef(host, path, None, image.digest), keep_host=True)
