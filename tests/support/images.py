"""Small images for tests: real manifests, configs and layers, multi-arch, Docker or OCI."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loader.bundle import ocimanifest as oci
from loader.bundle.digest import digest_of
from loader.oci import dirlayout
from loader.oci.pushplan import PushBlob, PushImage, PushManifest
from tests.support.blobstore import BlobStore


@dataclass(frozen=True)
class MadeImage:
    """``manifests``: (digest, media type, bytes), children first, the top one last."""

    manifests: tuple[tuple[str, str, bytes], ...]
    blobs: dict[str, bytes]

    @property
    def digest(self) -> str:
        return self.manifests[-1][0]

    @property
    def media_type(self) -> str:
        return self.manifests[-1][1]

    @property
    def data(self) -> bytes:
        return self.manifests[-1][2]

    def put(self, store: BlobStore, repository: str, tag: str | None = None) -> MadeImage:
        """Put everything into a test registry's store."""
        for data in self.blobs.values():
            store.add_blob(repository, data)
        for digest, media_type, data in self.manifests:
            store.add_manifest(repository, data, media_type, tag if digest == self.digest else None)
        return self

    def write(self, directory: Path) -> Path:
        """Write a complete dir: layout."""
        directory.mkdir(parents=True)
        (directory / dirlayout.VERSION).write_bytes(dirlayout.VERSION_TEXT)
        (directory / dirlayout.MANIFEST).write_bytes(self.data)
        for digest, _, data in self.manifests[:-1]:
            (directory / dirlayout.manifest_name(digest)).write_bytes(data)
        for digest, data in self.blobs.items():
            (directory / dirlayout.blob_name(digest)).write_bytes(data)
        return directory

    def push_image(self, repository: str, tag: str | None = None) -> PushImage:
        manifests = tuple(PushManifest(digest, media_type, data) for digest, media_type, data in self.manifests)
        return PushImage(repository, tag, manifests, tuple(self.blobs))

    def push_blobs(self) -> tuple[PushBlob, ...]:
        return tuple(PushBlob(digest, len(data)) for digest, data in self.blobs.items())


def make_layer(name: str, size: int = 100, *, compressed: bool = True) -> bytes:
    """A layer with one file of ``size`` bytes that no compressor shrinks, the same for the same name."""
    content = b"".join(hashlib.sha256(f"{name}{i}".encode()).digest() for i in range(size // 32 + 1))[:size]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(f"files/{name}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0) if compressed else buffer.getvalue()


def make_image(
    *,
    platforms: Sequence[str] = ("linux/amd64", "linux/arm64"),
    layers: Sequence[bytes] = (),
    name: str = "app",
    layer_size: int = 100,
    oci_types: bool = False,
    compressed: bool = True,
    index: bool | None = None,
) -> MadeImage:
    """An image whose children share ``layers`` and have one layer each of their own.

    ``index``: whether a list is around the manifests; by default only for several platforms.
    """
    manifests = []
    blobs: dict[str, bytes] = {}
    for platform in platforms:
        own = make_layer(f"{name}-{platform.replace('/', '-')}", layer_size, compressed=compressed)
        manifests.append(_make_manifest(platform, [*layers, own], blobs, oci_types=oci_types))
    if index if index is not None else len(manifests) > 1:
        manifests.append(_make_index(platforms, manifests, oci_types=oci_types))
    return MadeImage(tuple(manifests), blobs)


def _make_manifest(
    platform: str, layers: Sequence[bytes], blobs: dict[str, bytes], *, oci_types: bool
) -> tuple[str, str, bytes]:
    system, architecture, *variant = platform.split("/")
    config = {
        "architecture": architecture,
        "os": system,
        **({"variant": variant[0]} if variant else {}),
        "config": {"Cmd": ["/files/app"]},
        "created": "2020-10-01T00:00:00Z",
        "history": [{"created": "2020-10-01T00:00:00Z", "created_by": "test"} for _ in layers],
        "rootfs": {"type": "layers", "diff_ids": [digest_of(_plain(layer)) for layer in layers]},
    }
    config_data = json.dumps(config).encode()
    plain = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST if oci_types else oci.DOCKER_MANIFEST,
        "config": _add(blobs, config_data, oci.OCI_CONFIG if oci_types else oci.DOCKER_CONFIG),
        "layers": [_add(blobs, layer, _layer_type(layer, oci_types=oci_types)) for layer in layers],
    }
    data = json.dumps(plain, indent=3).encode()
    return digest_of(data), str(plain["mediaType"]), data


def _make_index(
    platforms: Sequence[str], manifests: Sequence[tuple[str, str, bytes]], *, oci_types: bool
) -> tuple[str, str, bytes]:
    media_type = oci.OCI_INDEX if oci_types else oci.DOCKER_LIST
    children = []
    for platform, (digest, child_type, data) in zip(platforms, manifests):
        system, architecture, *variant = platform.split("/")
        described = {"architecture": architecture, "os": system, **({"variant": variant[0]} if variant else {})}
        children.append({"mediaType": child_type, "size": len(data), "digest": digest, "platform": described})
    top = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": children}, indent=3).encode()
    return digest_of(top), media_type, top


def _add(blobs: dict[str, bytes], data: bytes, media_type: str) -> dict[str, object]:
    digest = digest_of(data)
    blobs[digest] = data
    return {"mediaType": media_type, "size": len(data), "digest": digest}


def _plain(layer: bytes) -> bytes:
    return gzip.decompress(layer) if layer[:2] == b"\x1f\x8b" else layer


def _layer_type(layer: bytes, *, oci_types: bool) -> str:
    compressed = layer[:2] == b"\x1f\x8b"
    if oci_types:
        return oci.OCI_LAYER_GZIP if compressed else oci.OCI_LAYER
    return oci.DOCKER_LAYER if compressed else "application/vnd.docker.image.rootfs.diff.tar"
