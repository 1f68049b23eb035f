"""The sigstore signatures of a ``dir:`` layout as what they are in a registry, the image of a ``.sig`` tag; pure.

containers/image keeps each signature of such an image in a file ``signature-N`` (``internal/signature``): a zero byte,
``sigstore-json``, LF, and the layer as JSON. Pushed as files they would reach no node and no requirement; so the image
is made again, as containers/image does when it copies the layout to a registry (``docker_image_dest.go``). Files of
the other form, simple signing, have no place in a registry and stay files.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from loader.bundle.digest import digest_of
from loader.bundle.errors import FormatError
from loader.bundle.ocimanifest import OCI_MANIFEST
from loader.bundle.strictjson import loads
from loader.oci.referrers import fallback_tag

_SIGSTORE = b"\x00sigstore-json\n"
_CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True)
class SignatureImage:
    """The image of one ``.sig`` tag: its manifest, and its layers and config by digest."""

    digest: str
    data: bytes
    blobs: Mapping[str, bytes]

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type); there is no other manifest beside it."""
        if digest not in {None, self.digest}:
            raise RuntimeError(f"{digest} is not the manifest of {self.digest}")
        return self.data, OCI_MANIFEST


@dataclass(frozen=True)
class LayoutNeighbours:
    """What stands beside the image of a layout: the signatures in its own folder, by tag."""

    images: Mapping[str, SignatureImage]

    def tagged(self, tag: str) -> Optional[SignatureImage]:
        """Return what ``tag`` names."""
        return self.images.get(tag)

    def tags(self) -> frozenset[str]:
        """Return all tags."""
        return frozenset(self.images)

    def referrers(self, subject: str) -> tuple[str, ...]:
        """Return nothing."""
        return ()


def signature_images(files: Iterable[tuple[str, bytes]], top: str) -> dict[str, SignatureImage]:
    """Return the images by tag, for ``files`` as (name, content) of a layout whose top manifest is ``top``.

    Raises ``FormatError`` for a file of this form that cannot be read.
    """
    layers: dict[str, list[tuple[dict[str, object], bytes]]] = {}
    for name, content in files:
        if content.startswith(_SIGSTORE):
            child, dot, _ = name.rpartition(".")
            tag = f"{fallback_tag(f'sha256:{child}' if dot else top)}.sig"
            layers.setdefault(tag, []).append(_layer(content[len(_SIGSTORE) :], name))
    return {tag: _image(found) for tag, found in layers.items()}


def _layer(content: bytes, name: str) -> tuple[dict[str, object], bytes]:
    plain = loads(content, name)
    try:
        kind, notes = plain["mimeType"], plain["annotations"] or {}
        payload = base64.b64decode(plain["payload"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise FormatError(f"{name} is no sigstore signature", why=f"{type(error).__name__}: {error}") from error
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise FormatError(f"{name} is no sigstore signature", why="its annotations are no texts by name")
    return {**_descriptor(kind, payload), "annotations": notes}, payload


def _image(layers: list[tuple[dict[str, object], bytes]]) -> SignatureImage:
    diffs = [digest_of(payload) for _, payload in layers]
    config = _encoded({"architecture": "", "config": {}, "os": "", "rootfs": {"diff_ids": diffs, "type": "layers"}})
    manifest = {
        "config": _descriptor(_CONFIG, config),
        "layers": [described for described, _ in layers],
        "mediaType": OCI_MANIFEST,
        "schemaVersion": 2,
    }
    data = _encoded(manifest)
    blobs = {digest_of(blob): blob for blob in (config, *(payload for _, payload in layers))}
    return SignatureImage(digest_of(data), data, blobs)


def _descriptor(kind: object, data: bytes) -> dict[str, object]:
    return {"digest": digest_of(data), "mediaType": kind, "size": len(data)}


def _encoded(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
