"""registries.conf as OpenShift puts it on nodes: its values and its text; pure.

Two files are compared by their values: newer versions of the Machine Config Operator write extra empty keys.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from loader.bundle.errors import ClusterError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DIGEST_ONLY, TAG_ONLY = "digest-only", "tag-only"
# The Machine Config Operator's own template, the same since OpenShift 4.2.
SEARCH = ("registry.access.redhat.com", "docker.io")


@dataclass(frozen=True)
class Endpoint:
    """One ``[[registry.mirror]]``; ``pull`` is digest-only, tag-only, or empty where the file does not say."""

    location: str
    insecure: bool = False
    pull: str = ""


@dataclass(frozen=True)
class Registry:
    """One ``[[registry]]``; ``digest_only`` is ``mirror-by-digest-only``, the flag of OpenShift 4.12 and older."""

    location: str
    prefix: str = ""
    insecure: bool = False
    blocked: bool = False
    digest_only: bool = False
    mirrors: tuple[Endpoint, ...] = ()

    @property
    def scope(self) -> str:
        """Return what names are matched with: the prefix where there is one, else the location."""
        return self.prefix or self.location

    def locations(self, *, tags: bool = False) -> tuple[str, ...]:
        """Return where the mirrors for digests (``tags``: for tags) are, in order."""
        if tags and self.digest_only:
            return ()
        other = DIGEST_ONLY if tags else TAG_ONLY
        return tuple(mirror.location for mirror in self.mirrors if mirror.pull != other)


@dataclass(frozen=True)
class Registries:
    """One registries.conf: the search list and the entries in order."""

    entries: tuple[Registry, ...] = ()
    search: tuple[str, ...] = SEARCH

    @property
    def by_scope(self) -> dict[str, Registry]:
        """Return the entries by what they match."""
        return {entry.scope: entry for entry in self.entries}


def parse(data: bytes, what: str) -> Registries:
    """Return the values of a registries.conf; ``ClusterError`` naming ``what`` where it is none of version 2."""
    try:
        plain = tomllib.loads(data.decode("utf-8"))
        entries = tuple(_registry(table) for table in plain.get("registry", []))
        return Registries(entries, tuple(str(name) for name in plain.get("unqualified-search-registries", [])))
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        raise ClusterError(f"{what} is no registries.conf this loader can read", why=ascii(str(error))[:200]) from error


def _registry(table: Mapping[str, Any]) -> Registry:
    mirrors = table.get("mirror", [])
    return Registry(
        location=str(table.get("location", "")),
        prefix=str(table.get("prefix", "")),
        insecure=table.get("insecure", False) is True,
        blocked=table.get("blocked", False) is True,
        digest_only=table.get("mirror-by-digest-only", False) is True,
        mirrors=tuple(_endpoint(mirror) for mirror in mirrors),
    )


def _endpoint(table: Mapping[str, Any]) -> Endpoint:
    location, pull = str(table.get("location", "")), str(table.get("pull-from-mirror", ""))
    return Endpoint(location, table.get("insecure", False) is True, pull)


def render(conf: Registries) -> str:
    """Return the text as the Machine Config Operator writes it: two spaces, keys in the order of containers/image."""
    search = ", ".join(_quoted(name) for name in conf.search)
    lines = [f"unqualified-search-registries = [{search}]", 'short-name-mode = ""']
    for entry in conf.entries:
        lines += ["", "[[registry]]", *(f"  {line}" if line else "" for line in _entry_lines(entry))]
    return "\n".join(lines) + "\n"


def _entry_lines(entry: Registry) -> Iterator[str]:
    yield f"prefix = {_quoted(entry.prefix)}"
    if entry.location:
        yield f"location = {_quoted(entry.location)}"
    flags = {"insecure": entry.insecure, "blocked": entry.blocked, "mirror-by-digest-only": entry.digest_only}
    yield from (f"{name} = true" for name, value in flags.items() if value)
    for mirror in entry.mirrors:
        yield from ("", "[[registry.mirror]]", f"  location = {_quoted(mirror.location)}")
        if mirror.insecure:
            yield "  insecure = true"
        if mirror.pull:
            yield f"  pull-from-mirror = {_quoted(mirror.pull)}"


def _quoted(value: str) -> str:
    # The escapes of JSON strings are a subset of those of TOML's basic strings.
    return json.dumps(value)


def same(one: Registries, other: Registries) -> bool:
    """Tell whether two files mean the same to a node; the order of entries does not count, that of mirrors does."""
    return one.search == other.search and _normal(one) == _normal(other)


def _normal(conf: Registries) -> dict[str, Registry]:
    # `prefix` says the same as an equal `location` alone (sysregistriesv2, postProcessRegistries).
    return {scope: replace(e, prefix="" if e.prefix == e.location else e.prefix) for scope, e in conf.by_scope.items()}
