"""``site.toml``: what is the same for every bundle at one site, so that one loader serves twenty of them.

The file decides whom to believe and which cluster is changed, so it is guarded as the trust directory is.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import AirgapError, ConfigError
from loader.guarded import read_guarded
from loader.oci.model import RegistryTarget
from loader.trust import parse_toml

MAX_SITE = 64 * 1024
PATHS = ("authfile", "certDir", "trust", "state", "reports")
KEYS = (*PATHS, "registry", "context", "server", "mirrors")
MIRRORS = ("cluster", "manual", "none")
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,1024}")
_SERVER = re.compile(r"https://[A-Za-z0-9.:\[\]-]+(?:/[A-Za-z0-9._/-]*)?")


@dataclass(frozen=True)
class Site:
    """The values of a site file; paths are absolute. ``server`` is the one API server that may be changed."""

    registry: Optional[str] = None
    authfile: Optional[Path] = None
    cert_dir: Optional[Path] = None
    trust: Optional[Path] = None
    state: Optional[Path] = None
    reports: Optional[Path] = None
    context: Optional[str] = None
    server: Optional[str] = None
    mirrors: Optional[str] = None


def read_site(path: Path, home: Path) -> Site:
    """Read a site file; paths in it start at its folder, or with ``~/`` at ``home``.

    Raises ``TrustError`` where another user could have written it, ``ConfigError`` for what is no such file, or with
    every wrong key.
    """
    try:
        document = parse_toml(read_guarded(path, MAX_SITE), str(path))
    except ConfigError as error:
        raise ConfigError(
            f"{path} is no site file", why=error.why, hint=f"TOML with any of {', '.join(KEYS)}"
        ) from error
    except AirgapError as error:
        if type(error) is AirgapError:  # more than the cap
            raise ConfigError(f"{path} is no site file", why=error.why) from error
        raise
    faults = [fault for key, value in document.items() for fault in _faults(key, value)]
    if faults:
        raise ConfigError(f"{path} is not usable", faults=faults)
    paths = {key: _path(document.get(key), path.parent, home) for key in PATHS}
    return Site(
        registry=document.get("registry"),
        authfile=paths["authfile"],
        cert_dir=paths["certDir"],
        trust=paths["trust"],
        state=paths["state"],
        reports=paths["reports"],
        context=document.get("context"),
        server=document.get("server"),
        mirrors=document.get("mirrors"),
    )


def _faults(key: str, value: Any) -> list[tuple[str, str]]:
    shown = key[:60] if _PRINTABLE.fullmatch(key) else ascii(key[:60])
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        return [(shown, f"unknown key{f'; did you mean {near[0]}?' if near else ''}")]
    if not isinstance(value, str) or _PRINTABLE.fullmatch(value) is None:
        return [(shown, "must be a line of printable ASCII")]
    problem = _problem(key, value)
    return [(shown, problem)] if problem else []


def _problem(key: str, value: str) -> str:
    if key == "registry":
        try:
            RegistryTarget.parse(value)
        except AirgapError as error:
            return str(error)
    if key == "mirrors" and value not in MIRRORS:
        return f"must be one of {', '.join(MIRRORS)}"
    if key == "server" and _SERVER.fullmatch(value) is None:
        return "must be https://HOST[:PORT], as oc whoami --show-server prints it"
    return "must not look like an option" if key == "context" and value.startswith("-") else ""


def _path(value: Optional[str], folder: Path, home: Path) -> Optional[Path]:
    if value is None:
        return None
    return home / value[2:] if value.startswith("~/") else folder.absolute() / value
