"""What the test registry holds: blobs in memory or in a directory, links per repository, manifests."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from loader.bundle.digest import digest_of, is_digest
from loader.bundle.ocimanifest import parse_manifest


class BlobStore:
    """Shared by the servers of one test, so that a second one can play the CDN.

    ``stored``: every (repository, digest or tag) that was pushed, in order; ``incomplete``: every tag that named,
    at the moment it was put, an image of which a child or a blob was missing.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._temporary = None if directory else tempfile.TemporaryDirectory()
        self.directory = directory or Path(self._temporary.name if self._temporary else "")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.links: set[tuple[str, str]] = set()
        self.manifests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.stored: list[tuple[str, str]] = []
        self.incomplete: list[str] = []
        self._serial = 0

    def close(self) -> None:
        if self._temporary:
            self._temporary.cleanup()

    # blobs

    def path(self, digest: str) -> Path:
        return self.directory / digest.replace(":", "-")

    def has_blob(self, repository: str, digest: str) -> bool:
        return (repository, digest) in self.links

    def has_repository(self, repository: str) -> bool:
        with self.lock:
            return any(name == repository for name, _ in (*self.links, *self.manifests))

    def blob(self, digest: str) -> bytes:
        return self.path(digest).read_bytes()

    def add_blob(self, repository: str, data: bytes) -> str:
        digest = digest_of(data)
        self.path(digest).write_bytes(data)
        self.links.add((repository, digest))
        return digest

    def new_upload(self) -> Path:
        with self.lock:
            self._serial += 1
            path = self.directory / f"upload-{self._serial}"
        path.touch()
        return path

    def commit(self, upload: Path, repository: str, digest: str) -> bool:
        """Make an upload a blob if it hashes to ``digest``."""
        found = hashlib.sha256()
        with upload.open("rb") as stream:
            while data := stream.read(2**20):
                found.update(data)
        if f"sha256:{found.hexdigest()}" != digest:
            upload.unlink()
            return False
        with self.lock:
            upload.replace(self.path(digest))
            self.links.add((repository, digest))
            self.stored.append((repository, digest))
        return True

    @contextlib.contextmanager
    def open(self, digest: str) -> Iterator[BinaryIO]:
        with self.path(digest).open("rb") as stream:
            yield stream

    # manifests

    def add_manifest(self, repository: str, data: bytes, media_type: str, tag: str | None = None) -> str:
        digest = digest_of(data)
        with self.lock:
            self.manifests[repository, digest] = (data, media_type)
            if tag:
                self.tags[repository, tag] = digest
        return digest

    def put_manifest(self, repository: str, data: bytes, media_type: str, reference: str) -> str:
        """Add a manifest that came by PUT, and note a tag on something incomplete."""
        with self.lock:
            is_tag = not is_digest(reference)
            self.stored.append((repository, reference))
            digest = self.add_manifest(repository, data, media_type, reference if is_tag else None)
            if is_tag and self._gap(repository, digest):
                self.incomplete.append(f"{repository}:{reference} lacks {self._gap(repository, digest)}")
        return digest

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Forget a manifest, and that it was ever stored."""
        with self.lock:
            self.stored = [one for one in self.stored if one != (repository, digest)]
            return self.manifests.pop((repository, digest), None) is not None

    def _gap(self, repository: str, digest: str) -> str | None:
        data, media_type = self.manifests[repository, digest]
        missing = self.unknown(repository, data, media_type)
        if missing is not None:
            return missing
        children = parse_manifest(data, "stored manifest", media_type).children
        return next((gap for child in children if (gap := self._gap(repository, child.digest))), None)

    def manifest(self, repository: str, reference: str) -> tuple[bytes, str] | None:
        digest = self.tags.get((repository, reference), reference)
        return self.manifests.get((repository, digest))

    def referrers(self, repository: str, subject: str) -> list[dict[str, object]]:
        """Descriptors of the manifests whose subject this is, as the referrers API gives them."""
        found = []
        for (name, digest), (data, media_type) in sorted(self.manifests.items()):
            plain = json.loads(data)
            if name == repository and plain.get("subject", {}).get("digest") == subject:
                kind = plain.get("artifactType") or plain.get("config", {}).get("mediaType")
                found.append({"mediaType": media_type, "digest": digest, "size": len(data), "artifactType": kind})
        return found

    def unknown(self, repository: str, data: bytes, media_type: str) -> str | None:
        """Digest of the first child or blob that a manifest names and the repository does not have."""
        parsed = parse_manifest(data, "pushed manifest", media_type)
        for child in parsed.children:
            if (repository, child.digest) not in self.manifests:
                return child.digest
        for blob in parsed.blobs:
            if not blob.foreign and not self.has_blob(repository, blob.digest):
                return blob.digest
        return None
