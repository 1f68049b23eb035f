"""Logging in to a registry: the login is tried, then kept where skopeo, podman and the loader look for it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from loader.bundle.errors import ConfigError, StorageError
from loader.durable import write_whole
from loader.oci.credentials import MAX_AUTHFILE, Credential
from loader.oci.environment import AccessOptions, Environment
from loader.signing import read_small_file


def login_file(options: AccessOptions, environment: Environment) -> Path:
    """Where a login is written: ``--authfile``, ``REGISTRY_AUTH_FILE``, the runtime folder, or the user's own.

    The runtime folder is skopeo's choice, and gone after a restart; without one the login lasts.
    """
    given = options.authfile or environment.registry_auth_file
    if given is not None:
        return given
    runtime = environment.xdg_runtime_dir
    return (runtime / "containers" if runtime else environment.containers_config) / "auth.json"


def make_credential(user: str, password: str) -> Credential:
    """Return the login; ``ConfigError`` for one that an auth file can't hold."""
    if not user or ":" in user or not (user.isprintable() and password):
        raise ConfigError("this is no login", why="a user without a colon, and a password, are needed")
    return Credential(user, password)


def keep_login(path: Path, key: str, credential: Credential) -> None:
    """Write the login for ``key`` (``host[:port][/prefix]``) into the auth file, readable by its owner alone."""
    document = _read(path)
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise ConfigError(f"the auth file {path} is not understood", why="its auths are no object")
    packed = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode("ascii")
    auths[key] = {"auth": packed}
    data = (json.dumps(document, indent="\t") + "\n").encode()
    write_whole(path, data, mode=0o600, hint="--authfile FILE names another")


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        document = json.loads(read_small_file(path, MAX_AUTHFILE))
    except (ValueError, RecursionError) as error:
        # The decoder's message may quote the file, which holds secrets.
        raise StorageError(
            f"the auth file {path} is not JSON", why="it does not parse", hint="move it away, then log in again"
        ) from error
    if not isinstance(document, dict):
        raise StorageError(
            f"the auth file {path} is not a JSON object",
            why="its outermost value is something else",
            hint="move it away, then log in again",
        )
    return document
