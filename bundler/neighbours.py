"""What stands beside an image in its repository of a registry: other tags, and what refers to a manifest."""

from __future__ import annotations

from typing import Optional, Protocol


class Tagged(Protocol):
    """What a tag names, with its manifests."""

    @property
    def digest(self) -> str:
        """Digest that the tag stands for."""
        ...

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type) of it, or of the manifest ``digest`` beside it."""
        ...


class Neighbours(Protocol):
    """A repository as an image of it sees it; every error but "there is none" is raised."""

    def tagged(self, tag: str) -> Optional[Tagged]:
        """Return what ``tag`` names; None only where the registry says there is none."""
        ...

    def tags(self) -> Optional[frozenset[str]]:
        """Return all tags, or None where no whole list is to be had."""
        ...

    def referrers(self, subject: str) -> Optional[tuple[str, ...]]:
        """Return the digests of what refers to ``subject``; None where the registry has no such API."""
        ...
