"""containers-registries.conf(5), version 2: where a pull really goes, and what is insecure or blocked.

Matching and rewriting are those of containers/image ``pkg/sysregistriesv2``: the longest prefix wins,
``*.host`` matches subdomains, mirrors come in order and then the source unless it is blocked. A push
never goes to a mirror.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import ConfigError
from loader.bundle.names import is_host, is_repository
from loader.oci.environment import Environment
from loader.oci.model import ImageRef, is_domain
from loader.presence import is_file, is_named

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_FILE = 4 * 2**20
"""OpenShift renders some thousand mirrors into a few hundred KiB."""
AUTH_FILES = "containers-auth.json"
"""The credential helper that is none: the auth files."""
_NAME = "registries.conf"
_PULL_FROM = {"all", "digest-only", "tag-only"}


@dataclass(frozen=True)
class Mirror:
    """One ``[[registry.mirror]]``; ``pull_from`` is ``all``, ``digest-only`` or ``tag-only``."""

    location: str
    insecure: bool
    pull_from: str


@dataclass(frozen=True)
class RegistryEntry:
    """One ``[[registry]]``; an empty ``location`` leaves the name as it is."""

    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[Mirror, ...]


@dataclass(frozen=True)
class PullEndpoint:
    """One place to pull an image from, in the order to try."""

    host: str
    repository: str
    insecure: bool


@dataclass(frozen=True)
class RegistriesConf:
    """All entries, one per prefix; ``credential_helpers`` in the order to ask, ``AUTH_FILES`` being one of them."""

    entries: tuple[RegistryEntry, ...] = ()
    credential_helpers: tuple[str, ...] = (AUTH_FILES,)

    def find(self, name: str) -> Optional[RegistryEntry]:
        """Return the entry with the longest prefix that matches ``host/repository``."""
        matching = [entry for entry in self.entries if _matched(entry.prefix, name) is not None]
        return max(matching, key=lambda entry: len(entry.prefix), default=None)

    def pull_endpoints(self, ref: ImageRef) -> tuple[PullEndpoint, ...]:
        """Return where to pull ``ref`` from; ``ConfigError`` when everything is blocked or rewrites to no name."""
        entry = self.find(ref.name)
        if entry is None:
            return (PullEndpoint(ref.host, ref.repository, False),)
        places = [
            (mirror.location, mirror.insecure)
            for mirror in entry.mirrors
            if mirror.pull_from == "all" or (mirror.pull_from == "digest-only") == (ref.digest is not None)
        ]
        if not entry.blocked:
            places.append((entry.location, entry.insecure))
        if not places:
            raise _blocked(ref.name, entry)
        return tuple(_rewrite(ref.name, entry, location, insecure) for location, insecure in places)

    def push_is_insecure(self, host: str, repository: str) -> bool:
        """Tell whether a push to ``host/repository`` may be insecure; ``ConfigError`` when it is blocked."""
        entry = self.find(f"{host}/{repository}" if repository else host)
        if entry is not None and entry.blocked:
            raise _blocked(f"{host}/{repository}" if repository else host, entry)
        return entry is not None and entry.insecure


def load_registries_conf(environment: Environment) -> RegistriesConf:
    """Read the user's or the system's file and the drop-ins beside it.

    Of one prefix the first entry in a file counts, and the last file. ``CONTAINERS_REGISTRIES_CONF`` names the one main
    file, which may be ``/dev/null``. ``ConfigError`` names the file that is wrong.
    """
    entries: dict[str, RegistryEntry] = {}
    helpers: tuple[str, ...] = (AUTH_FILES,)
    for path in _files(environment):
        data = _read(path)
        first: dict[str, RegistryEntry] = {}
        for entry in parse_registries_conf(data, str(path)):
            first.setdefault(entry.prefix, entry)
        entries.update(first)
        helpers = parse_credential_helpers(data, str(path)) or helpers
    return RegistriesConf(tuple(entries.values()), helpers)


def _files(environment: Environment) -> list[Path]:
    """Return the files there are, in the order in which they are read."""
    # skopeo up to 1.9 looks into ~/.config whatever XDG_CONFIG_HOME says.
    users = tuple(dict.fromkeys((environment.containers_config, environment.home / ".config" / "containers")))
    system = environment.etc / "containers"
    folders = (system, *reversed(users))
    own = next((user for user in users if is_file(user / _NAME)), None)
    if environment.registries_conf is not None:
        if not is_named(environment.registries_conf):
            raise ConfigError(
                f"CONTAINERS_REGISTRIES_CONF names {environment.registries_conf}, which is not there",
                why="there is no file of that name",
            )
        main = [environment.registries_conf]
    elif own is not None:
        main, folders = [own / _NAME], (own,)
    else:
        main = [system / _NAME] if is_file(system / _NAME) else []
    return [*main, *(path for folder in folders for path in sorted((folder / f"{_NAME}.d").glob("*.conf")))]


def parse_registries_conf(data: bytes, what: str) -> tuple[RegistryEntry, ...]:
    """Parse one file; ``what`` names it in the ``ConfigError`` for anything that does not fit."""
    plain = _toml(data, what)
    if "registries" in plain:
        raise ConfigError(
            f"{what} has the old version 1 form",
            why="this program reads version 2 alone",
            hint="write [[registry]] tables (version 2)",
        )
    tables = plain.get("registry", [])
    return tuple(_entry(table, f"{what}: registry {number}") for number, table in enumerate(_tables(tables, what), 1))


def parse_credential_helpers(data: bytes, what: str) -> tuple[str, ...]:
    """Return ``credential-helpers`` of one file, nothing where it has none; ``ConfigError`` as for the entries."""
    names = _toml(data, what).get("credential-helpers", [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ConfigError(
            f"{what}: credential-helpers is not a list of names", why='it is a list in TOML: ["containers-auth.json"]'
        )
    return tuple(names)


def _toml(data: bytes, what: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what} is not TOML", why=str(error)) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}", why=error.strerror or "") from error
    if len(data) > MAX_FILE:
        raise ConfigError(f"{path} is too large", why=f"more than {MAX_FILE} bytes")
    return data


def _entry(table: Mapping[str, Any], where: str) -> RegistryEntry:
    location = _location(table, "location", where)
    prefix = _location(table, "prefix", where) or location
    if not prefix or (not location and not prefix.startswith("*.")):
        raise ConfigError(f"{where} has no location", why="only a prefix of *.DOMAIN does without")
    digest_only = _flag(table, "mirror-by-digest-only", where)
    mirrors = tuple(_mirror(one, digest_only, where) for one in _tables(table.get("mirror", []), where))
    return RegistryEntry(prefix, location, _flag(table, "insecure", where), _flag(table, "blocked", where), mirrors)


def _mirror(table: Mapping[str, Any], digest_only: bool, where: str) -> Mirror:
    location = _location(table, "location", where)
    if not location:
        raise ConfigError(f"{where} has a mirror without location", why="a mirror is a place to ask")
    pull_from = table.get("pull-from-mirror", "")
    if pull_from and (digest_only or pull_from not in _PULL_FROM):
        raise ConfigError(
            f"{where}: pull-from-mirror of {location} cannot be {str(pull_from)[:80]!a} there",
            why="it is all, digest-only or tag-only, and goes without mirror-by-digest-only",
        )
    return Mirror(location, _flag(table, "insecure", where), pull_from or ("digest-only" if digest_only else "all"))


def _tables(value: object, where: str) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ConfigError(
            f"{where} is not a list of tables", why="each starts with [[registry]], or [[registry.mirror]]"
        )
    return value


def _flag(table: Mapping[str, Any], name: str, where: str) -> bool:
    value = table.get(name, False)
    if not isinstance(value, bool):
        raise ConfigError(f"{where}: {name} is not true or false", why="TOML writes them without quotes")
    return value


def _location(table: Mapping[str, Any], name: str, where: str) -> str:
    value = table.get(name, "")
    if not isinstance(value, str) or "://" in value:
        raise ConfigError(
            f"{where}: {name} is not host[/path]",
            why="that is how registries.conf names places",
            hint="no scheme belongs there",
        )
    return value.rstrip("/")


def _matched(prefix: str, name: str) -> Optional[int]:
    """Return how much of ``name`` the prefix covers, or ``None``."""
    if prefix.startswith("*."):
        end = name.find(prefix[1:])
        if end < 1 or "/" in name[:end]:
            return None
        length = end + len(prefix) - 1
    elif name.startswith(prefix):
        length = len(prefix)
    else:
        return None
    return length if length == len(name) or name[length] in ":/@" else None


def _rewrite(name: str, entry: RegistryEntry, location: str, insecure: bool) -> PullEndpoint:
    covered = _matched(entry.prefix, name) or 0
    full = location + name[covered:] if location else name
    host, _, repository = full.partition("/")
    if not is_host(host) or not is_domain(host) or not is_repository(repository):
        raise ConfigError(
            f"registries.conf turns {name} into {full[:200]!a}",
            why="which is no full image name",
            hint="a mirror's host has a dot or a port; a source that is a bare host also matches it with any port",
        )
    return PullEndpoint(host, repository, insecure)


def _blocked(name: str, entry: RegistryEntry) -> ConfigError:
    return ConfigError(
        f"{name} is blocked by registries.conf",
        why=f"its entry {entry.prefix} has blocked = true, and no mirror for it",
        hint="change that entry, or use another registry",
    )
