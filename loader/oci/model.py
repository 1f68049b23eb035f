"""Names of images, registries and targets; pure.

The grammar is the one of the distribution spec ("Pulling manifests") and of distribution/reference.
Every check is a length bound, then a regular expression that is linear and matched in full.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Optional

from loader.bundle.digest import is_digest
from loader.bundle.errors import ConfigError
from loader.bundle.names import MAX_REPOSITORY, is_host, is_repository, is_tag

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"
_MAX_REFERENCE = 1024


@dataclass(frozen=True)
class ImageRef:
    """An image outside: ``host/repository`` with a tag, a digest or both; normalised as Docker does."""

    host: str
    repository: str
    tag: Optional[str]
    digest: Optional[str]

    @classmethod
    def parse(cls, text: str) -> ImageRef:
        """Parse ``[host/]repository[:tag][@digest]``; ``busybox`` is ``docker.io/library/busybox:latest``.

        ``ConfigError`` names the text and what is wrong with it.
        """
        if len(text) > _MAX_REFERENCE:
            raise _bad(text, f"longer than {_MAX_REFERENCE} characters")
        name, at, digest = text.partition("@")
        if at and not is_digest(digest):
            raise _bad(text, "the digest is not sha256: and 64 lower-case hex digits")
        head, slash, last = name.rpartition("/")
        last, colon, tag = last.partition(":")
        if colon and not is_tag(tag):
            raise _bad(text, "the tag is not 1 to 128 of letters, digits, _ . - (first a letter, digit or _)")
        host, repository = _split_host(head + slash + last)
        if not is_host(host):
            raise _bad(text, f"{host[:80]!a} is not a host name with an optional port")
        if not is_repository(repository):
            raise _bad(text, "the repository is not lower-case words with . _ - inside, parted by /")
        return cls(host, repository, tag or (None if at else DEFAULT_TAG), digest or None)

    @property
    def name(self) -> str:
        """``host/repository``, the key of auth files and mirror tables."""
        return f"{self.host}/{self.repository}"

    @property
    def reference(self) -> str:
        """What a registry is asked for: the digest where there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    def __str__(self) -> str:
        return self.name + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True)
class RegistryTarget:
    """Where images go in the airgap: ``host[:port][/prefix]``."""

    host: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> RegistryTarget:
        """Parse ``host[:port][/prefix]``; ``ConfigError`` for a scheme, a tag or a bad name."""
        host, slash, prefix = text.partition("/")
        if "://" in text:
            scheme, _, place = text.partition("://")
            shown = place.rpartition("@")[2][:200]
            said = f"{scheme[:20]}://{shown}"
            raise ConfigError(f"{said!a} is not a registry", why="no scheme belongs there", hint=f"write {shown!a}")
        if not is_host(host) or (slash and not is_repository(prefix)):
            # Before an @ there may be a password.
            _, at, shown = text.rpartition("@")
            raise ConfigError(
                f"{shown[:200]!a} is not a registry",
                why=f"it is not host[:port][/prefix]{', and a login goes with login or --authfile' if at else ''}",
                hint="lower-case names, no slash at the end; a host name for an IPv6 address",
            )
        return cls(host, prefix)

    def repository(self, path: str) -> str:
        """Return the repository that ``path`` (``ceph/ceph``) has in this registry, prefix included."""
        full = f"{self.prefix}/{path}" if self.prefix else path
        if not is_repository(full):
            raise ConfigError(f"{self}/{path} is not a repository name", why=f"at most {MAX_REPOSITORY} characters")
        return full

    def __str__(self) -> str:
        return f"{self.host}/{self.prefix}" if self.prefix else self.host


def repository_in_airgap(ref: ImageRef, *, keep_host: bool) -> str:
    """Return the path of ``ref`` under the target: ``ceph/ceph``, or ``docker.io/ceph/ceph`` with ``keep_host``.

    A port's colon cannot stand in a repository name; ``reg:5000`` becomes ``reg-5000``.
    """
    if not keep_host:
        return ref.repository
    host = re.sub(r"[^a-z0-9.-]+", "-", ref.host.lower()).strip("-")
    return f"{host}/{ref.repository}"


def tag_in_airgap(tag: Optional[str], digest: str) -> str:
    """Return ``tag``, or for an image known by digest only ``airgap-`` and the first 12 hex digits (cli.md)."""
    return tag or f"airgap-{digest.partition(':')[2][:12]}"


def api_host(host: str) -> str:
    """Return the host that speaks the API for ``host``: Docker Hub's differs from its name."""
    return "registry-1.docker.io" if host == DOCKER_HUB else host


def is_domain(first: str) -> bool:
    """Tell whether references take ``first``, up to the first slash, for a host and not for a part of docker.io."""
    return bool(set(first) & {".", ":"}) or first == "localhost" or first.lower() != first


def _split_host(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not is_domain(first):
        first, rest = DOCKER_HUB, name
    # As distribution/reference has it; what answers for Docker Hub, registry-1.docker.io, is a registry of that name.
    if first == "index.docker.io":
        first = DOCKER_HUB
    if first == DOCKER_HUB and "/" not in rest:
        rest = f"library/{rest}"
    return first, rest


def _bad(text: str, why: str) -> ConfigError:
    return ConfigError(f"{text[:200]!a} is not an image reference", why=why)
