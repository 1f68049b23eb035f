"""What the renderers take and give."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Optional

from loader.bundle.manifest import Document
from loader.oci.model import tag_in_airgap


@dataclass(frozen=True)
class PinnedImage:
    """A resolved image: ``source`` is its name outside (``docker.io/ceph/ceph``), ``repository`` its path inside.

    ``digest`` is the top digest: the list's where there is a list, so that every architecture finds its child.
    ``rewritten`` is the digest outside, where the bundle has another list in its place.
    """

    source: str
    tag: Optional[str]
    digest: str
    repository: str
    rewritten: Optional[str] = None

    @property
    def reference(self) -> str:
        """``name@digest``, the only form a digest mirror serves."""
        return f"{self.source}@{self.digest}"

    @property
    def target(self) -> str:
        """``repository:tag`` that the image gets in the airgap."""
        return f"{self.repository}:{tag_in_airgap(self.tag, self.digest)}"

    def __str__(self) -> str:
        return f"{self.source}{f':{self.tag}' if self.tag else ''}@{self.digest}"


@dataclass(frozen=True)
class Rendered:
    """One document of the bundle with its bytes; ``name`` is what people read (``rook-operator``)."""

    name: str
    document: Document
    content: bytes


def json_body(value: object) -> bytes:
    """Return ``value`` as the bytes of a JSON document: sorted keys, no spaces, ASCII, no line feed.

    The same bytes can be given to ``oc patch -p``.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")
