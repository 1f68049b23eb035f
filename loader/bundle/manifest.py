"""The types of ``bundle.json`` and its one canonical form (format.md section 1).

Attribute names are the JSON names in snake case. Decoding is strict both ways: unknown, missing or
wrongly typed fields, duplicate keys and any byte that differs from the canonical form are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from loader.bundle import strictjson


@dataclass(frozen=True)
class Omitted:
    """A child manifest or foreign layer that an image names and the bundle does not carry."""

    digest: str
    reason: str


@dataclass(frozen=True)
class Image:
    """One image: its name outside, its directory in the archive, its repository in the airgap."""

    source: str
    tag: Optional[str]
    digest: str
    media_type: str
    platforms: tuple[str, ...]
    path: str
    repository: str
    omitted: tuple[Omitted, ...]
    rewritten: Optional[str]


@dataclass(frozen=True)
class Attachment:
    """A signature, attestation, SBOM or other referrer of an image."""

    kind: str
    subject: str
    digest: str
    path: str
    repository: str
    tag: Optional[str]


@dataclass(frozen=True)
class Mirror:
    """One row of the mirror table; ``policy`` is OpenShift's ``mirrorSourcePolicy``."""

    source: str
    mirror: str
    policy: str


AUTO = "auto"
"""A target's name or namespace that the loader finds in the cluster (docs/decisions/0008)."""


@dataclass(frozen=True)
class Target:
    """The cluster object that a document creates or changes; ``namespace`` is null when cluster-scoped."""

    api_version: str
    kind: str
    namespace: Optional[str]
    name: str


@dataclass(frozen=True)
class When:
    """What a cluster must have for a document: a served resource, a range of Rook versions."""

    api: Optional[str]
    rook: Optional[str]


@dataclass(frozen=True)
class Document:
    """One rendered document and what the loader does with it."""

    path: str
    phase: str
    action: str
    target: Optional[Target]
    wait: Optional[str]
    when: When
    otherwise: str


@dataclass(frozen=True)
class File:
    """One member after ``bundle.json``; ``link_to`` and no ``stored`` for a hard link."""

    __slots__ = ("link_to", "path", "sha256", "size", "stored")  # there may be 200,000

    path: str
    size: int
    sha256: str
    stored: Optional[str]
    link_to: Optional[str]


@dataclass(frozen=True)
class Require:
    """A blob that a delta needs and does not carry."""

    digest: str
    size: int
    repositories: tuple[str, ...]


@dataclass(frozen=True)
class Builder:
    """What wrote the bundle: a bundle with ``zstd`` members is the same bytes only under the same libzstd."""

    program: str
    libzstd: Optional[str]


@dataclass(frozen=True)
class BundleManifest:
    """``bundle.json``."""

    format_version: int
    name: str
    version: str
    sequence: int
    created: str
    not_after: Optional[str]
    builder: Builder
    complete: bool
    base: Optional[str]
    registry: str
    images: tuple[Image, ...]
    attachments: tuple[Attachment, ...]
    mirrors: tuple[Mirror, ...]
    documents: tuple[Document, ...]
    files: tuple[File, ...]
    requires: tuple[Require, ...]
    payload_size: int


PHASES = ("mirrors", "before-rook", "rook", "after-rook", "nodes")
ACTIONS = ("apply", "merge-patch", "strategic-patch", "file")
OTHERWISE = ("skip", "refuse")
STORED = ("raw", "zstd")
POLICIES = ("AllowContactingSource", "NeverContactSource")


def encode(manifest: BundleManifest) -> bytes:
    """Return the canonical bytes of ``manifest``."""
    return strictjson.encode(manifest)


def decode(data: bytes) -> BundleManifest:
    """Return the manifest that ``data`` is the canonical form of; anything else is a ``FormatError``."""
    return strictjson.decode(BundleManifest, data, "bundle.json")
