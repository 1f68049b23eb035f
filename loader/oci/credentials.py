"""Finding the login for a repository: auth.json, Docker's config and credential helpers.

Order and matching are containers-auth.json(5)'s: an explicit file is the only one read, else the
first file that knows the repository or one of its parents wins. ``credential-helpers`` of
containers-registries.conf(5) may put helpers before the files, behind them or in their place.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional, Protocol

from loader.bundle.errors import ConfigError
from loader.oci.environment import Environment
from loader.oci.model import DOCKER_HUB
from loader.oci.registriesconf import AUTH_FILES
from loader.presence import is_file

MAX_AUTHFILE = 2**20
"""An auth file of one pull secret is a few KiB; a mistaken --authfile must not be read into memory."""
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LINE_ENDS = re.compile(r"[\r\n]")
_HELPER_TIMEOUT = 60
_TOKEN_USER = "<token>"  # noqa: S105 - the literal user name by which a helper hands out an identity token
_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")


@dataclass(frozen=True)
class Credential:
    """A user and password, or an identity (refresh) token instead. Never shown."""

    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def basic(self) -> str:
        """Return the value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")


class HelperRunner(Protocol):
    """Runs a credential helper: argument list and stdin in, (exit status, stdout) out."""

    def __call__(self, argv: Sequence[str], stdin: bytes, /) -> tuple[int, bytes]:
        """Run ``argv``; ``FileNotFoundError`` when there is no such program."""
        ...


def run_helper(argv: Sequence[str], stdin: bytes) -> tuple[int, bytes]:
    """Run a credential helper found on PATH, with a time limit; the secret passes through pipes only."""
    done = subprocess.run(
        list(argv), input=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_HELPER_TIMEOUT, check=False
    )
    return done.returncode, done.stdout


class Credentials:
    """All logins of one user; files are read when first asked, once."""

    def __init__(
        self,
        environment: Environment,
        run: HelperRunner,
        *,
        authfile: Optional[Path] = None,
        helpers: Callable[[], Sequence[str]] = lambda: (AUTH_FILES,),
    ) -> None:
        self._run = run
        self._helpers = helpers
        explicit = authfile or environment.registry_auth_file
        if explicit is not None and not is_file(explicit):
            raise ConfigError(
                f"the auth file {explicit} is not there",
                why="there is no file of that name",
                hint="write it with airgap-loader login or skopeo login, or correct --authfile",
            )
        self._paths = (explicit,) if explicit is not None else _default_paths(environment)
        self._lock = threading.Lock()
        self._files: Optional[list[_AuthFile]] = None
        self._found: dict[tuple[str, str], Optional[Credential]] = {}

    def find(self, host: str, repository: str) -> Optional[Credential]:
        """Return the login for ``host/repository``, or ``None``.

        ``ConfigError`` names a file that cannot be read or a helper that fails; neither shows a secret.
        """
        with self._lock:
            key = (host, repository)
            if key not in self._found:
                self._found[key] = self._search(host, repository)
            return self._found[key]

    def _search(self, host: str, repository: str) -> Optional[Credential]:
        failed: list[ConfigError] = []
        for helper in self._helpers():
            try:
                found = self._in_files(host, repository) if helper == AUTH_FILES else self._ask(helper, host)
            except ConfigError as error:
                # The next one may know the host; if none does, the first failure is what has to be mended.
                failed.append(error)
                continue
            if found is not None:
                return found
        if failed:
            raise failed[0]
        return None

    def _in_files(self, host: str, repository: str) -> Optional[Credential]:
        if self._files is None:
            self._files = [found for path in self._paths if (found := _AuthFile.load(path)) is not None]
        for file in self._files:
            credential = file.find(host, repository, self._run)
            if credential is not None:
                return credential
        return None

    def _ask(self, helper: str, host: str) -> Optional[Credential]:
        return ask_helper(helper, host, self._run, named_in="registries.conf")


def _default_paths(environment: Environment) -> tuple[Path, ...]:
    runtime = environment.xdg_runtime_dir
    return (
        runtime / "containers/auth.json" if runtime else environment.run / f"containers/{environment.uid}/auth.json",
        environment.containers_config / "auth.json",
        (environment.docker_config or environment.home / ".docker") / "config.json",
        environment.home / ".dockercfg",
    )


@dataclass(frozen=True)
class _AuthFile:
    path: Path
    auths: Mapping[str, Any]
    helpers: Mapping[str, Any]
    store: str

    @classmethod
    def load(cls, path: Path) -> Optional[_AuthFile]:
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_AUTHFILE + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ConfigError(f"cannot read the auth file {path}", why=error.strerror or "") from error
        if len(data) > MAX_AUTHFILE:
            raise ConfigError(f"the auth file {path} is too large", why=f"more than {MAX_AUTHFILE} bytes")
        try:
            plain = json.loads(data)
        except (ValueError, RecursionError) as error:
            # The decoder's message may quote the file, which holds secrets.
            raise ConfigError(
                f"the auth file {path} is not JSON",
                why="it does not parse",
                hint="move it away, and write it again with airgap-loader login or skopeo login",
            ) from error
        if not isinstance(plain, dict):
            raise ConfigError(f"the auth file {path} is not a JSON object", why="its outermost value is something else")
        if path.name == ".dockercfg":
            return cls(path, plain, {}, "")
        store = plain.get("credsStore")
        return cls(
            path, _object(plain, "auths"), _object(plain, "credHelpers"), store if isinstance(store, str) else ""
        )

    def find(self, host: str, repository: str, run: HelperRunner) -> Optional[Credential]:
        helper = self.helpers.get(host)
        if isinstance(helper, str) and helper:
            return ask_helper(helper, host, run, named_in=f"the auth file {self.path}")
        for key in _keys(host, repository):
            entry = self.auths.get(key)
            if isinstance(entry, dict):
                credential = self._decode(key, entry)
                if credential is not None:
                    return credential
        if self.store:
            server = _HUB_KEYS[0] if host == DOCKER_HUB else host
            return ask_helper(self.store, server, run, named_in=f"the auth file {self.path}")
        return None

    def _decode(self, key: str, entry: dict[str, Any]) -> Optional[Credential]:
        token = entry.get("identitytoken")
        packed, username, password = entry.get("auth"), entry.get("username"), entry.get("password")
        if isinstance(packed, str) and packed:
            try:
                # Line ends do not count, as for Go; base64(1) writes some.
                text = base64.b64decode(_LINE_ENDS.sub("", packed), validate=True).decode("utf-8")
            except (binascii.Error, ValueError):
                text = ""
            username, colon, password = text.partition(":")
            if not colon:
                raise ConfigError(
                    f"the auth file {self.path} has a broken entry for {key[:200]!a}",
                    why="auth is base64 of USER:PASSWORD",
                )
            password = password.rstrip("\0")
        username = username if isinstance(username, str) else ""
        token = token if isinstance(token, str) else ""
        if not isinstance(password, str):
            return Credential(username, "", token) if token else None
        return Credential(username, password, token) if token or username else None


def ask_helper(helper: str, server: str, run: HelperRunner, *, named_in: str) -> Optional[Credential]:
    """Ask ``docker-credential-HELPER`` for the login at ``server``; ``ConfigError`` when it fails, without a secret."""
    if _HELPER_NAME.fullmatch(helper) is None:
        raise ConfigError(f"{named_in} names an impossible credential helper", why=ascii(helper[:80]))
    program = f"docker-credential-{helper}"
    try:
        status, out = run([program, "get"], server.encode())
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"cannot run {program} for {server}", why=type(error).__name__, hint=f"it is named in {named_in}"
        ) from error
    if status != 0:
        # The helpers' protocol: this text on stdout means "no login", every other failure is one.
        if b"credentials not found" in out:
            return None
        raise ConfigError(f"{program} gave no login for {server}", why=f"exit status {status}")
    try:
        answer = json.loads(out)
        username, secret = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{program} gave no login for {server}", why="its answer is not understood") from error
    if not isinstance(username, str) or not isinstance(secret, str):
        raise ConfigError(f"{program} gave no login for {server}", why="its answer is not understood")
    return Credential("", "", secret) if username == _TOKEN_USER else Credential(username, secret)


def _object(plain: dict[str, Any], name: str) -> Mapping[str, Any]:
    value = plain.get(name)
    return value if isinstance(value, dict) else {}


def _keys(host: str, repository: str) -> Iterator[str]:
    parts = [host, *repository.split("/")] if repository else [host]
    for length in range(len(parts), 0, -1):
        yield "/".join(parts[:length])
    if host == DOCKER_HUB:
        yield from _HUB_KEYS
    # Docker writes some hosts with a scheme, and with /v1/ or /v2/ behind.
    for scheme in ("https://", "http://"):
        for end in ("", "/", "/v1", "/v1/", "/v2", "/v2/"):
            yield f"{scheme}{host}{end}"
