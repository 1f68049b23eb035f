"""How a test registry behaves, what it saw, and what goes wrong in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Fault:
    """What goes wrong, for the next ``times`` requests that match ``method`` and the regexes ``path`` and ``range``.

    ``kind``: status, reset, hang, truncate, length, corrupt, html, no-range, lie, junk, unsized, endless, short (of
    a part at most ``after`` bytes); of uploads cut (keeps ``after`` bytes, then hangs up), forget (the session too) and
    mute (does it all, then hangs up).
    """

    kind: str
    method: str = "GET"
    path: str = ".*"
    range: str = ""
    times: int = 1
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: int = 0
    seconds: float = 30.0


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    at: float

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


@dataclass
class Rules:
    """How a server behaves. ``login``: user and password; ``auth``: none, basic or bearer.

    ``projects``: first parts of paths that exist; ``depth``: most parts of a path; ``refused_types`` of manifests are
    answered by ``refusal``; ``accepted``: 202 where 201 is due; ``ghosts``: digests that HEAD says are there;
    ``referrers``: the API of that name is there, in pages of ``referrers_page``;
    ``clock``: seconds that its ``Date`` is ahead; ``hangs_up``: no answer to a body of more than ``max_body``;
    ``spacing``: seconds after a request that was let in during which others are answered ``crowded``.
    """

    auth: str = "none"
    login: tuple[str, str] = ("user", "s3cret-Password")
    identity_token: str = ""
    token_life: float = 300.0
    anonymous_pull: bool = False
    realm: str = ""
    redirect_blobs_to: str = ""
    uploads_to: str = ""
    relative_location: bool = True
    location_scheme: str = ""
    mounts: bool = True
    sparse: bool = False
    max_body: int = 0
    hangs_up: bool = False
    least_piece: int = 0
    digest_header: bool = True
    head_manifests: bool = True
    by_digest: bool = True
    hide_missing: bool = False
    projects: frozenset[str] | None = None
    depth: int = 0
    refused_types: frozenset[str] = frozenset()
    refusal: tuple[int, str, str] = (400, "MANIFEST_INVALID", "manifest invalid")
    largest_manifest: int = 0
    bad_from_is_an_error: bool = False
    accepted: bool = False
    ghosts: set[str] = field(default_factory=set)
    read_only: bool = False
    referrers: bool = False
    clock: float = 0.0
    referrers_page: int = 0
    spacing: float = 0.0
    crowded: int = 429
