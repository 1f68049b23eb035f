"""What a registry's client returns, and the one refusal its callers act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Optional

from loader.bundle.errors import RegistryError
from loader.oci.exchange import Reply


@dataclass(frozen=True)
class Ping:
    """What a registry says of itself: ``scheme`` it was reached by, its ``Server`` header, whether the login holds.

    ``date`` is its clock as the header of that name has it, empty without one; ``kind`` the product it seems to be.
    """

    scheme: str
    api_version: str
    server: str
    authorized: bool
    date: str = ""
    kind: str = ""


class ManifestBytes(NamedTuple):
    """A manifest as it came."""

    data: bytes
    media_type: str
    digest: str


class ManifestHead(NamedTuple):
    """What HEAD says of a manifest; ``media_type`` may be empty."""

    digest: str
    media_type: str


class MountAnswer(NamedTuple):
    """``opened``: the session for an upload that a registry opens where it does not mount; to be used or dropped."""

    mounted: bool
    opened: Optional[Reply] = None


class LostParts(RegistryError):
    """A manifest was refused because the registry does not know parts of it, whatever it said before.

    ``named``: the digests in its answer; some say which part they miss.
    """

    def __init__(self, error: RegistryError, named: frozenset[str]) -> None:
        super().__init__(error.message, status=error.status, why=error.why, hint=error.hint)
        self.named = named
