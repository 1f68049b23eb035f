"""The trust directory on disk: public keys ``NAME.pub`` and an optional ``policy.toml``."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from loader.bundle.digest import sha256_hex
from loader.bundle.errors import ConfigError, StorageError, TrustError
from loader.bundle.keys import PublicKey, parse_public_key
from loader.bundle.limits import MAX_KEY_FILE, MAX_KEYS, MAX_POLICY
from loader.bundle.policy import TrustPolicy, parse_policy
from loader.guarded import read_guarded, require_guarded
from loader.presence import is_folder, is_named

POLICY = "policy.toml"
# A key's name goes into reports, state and file names, which are ASCII and are read back strictly.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def find_trust(given: str, places: Iterable[Path]) -> Path:
    """Return the key file or directory ``given``, else the first of ``places`` that exists."""
    if given:
        return Path(given)
    tried = list(places)
    for place in tried:
        # A link that leads nowhere stands for a choice someone made: an error, not the next place's keys.
        if is_named(place):
            return place
    raise TrustError(
        "no trusted key",
        why=f"no --trust, and there is no {' and no '.join(str(place) for place in tried)}",
        hint="give the key that came to you by another way: --trust FILE|DIR, or AIRGAP_TRUST",
    )


def load_trust(path: Path) -> TrustPolicy:
    """Read a public key file, or a directory of ``*.pub`` with an optional ``policy.toml``.

    Raises ``TrustError`` when no key is usable, one is not a key, or another user could have written them;
    ``ConfigError`` for a wrong policy.
    """
    keys, policy = read_keys(path)
    if policy is None:
        return TrustPolicy(keys)
    where = path / POLICY
    return replace(read_policy(parse_toml(policy, str(where)), keys, where), sha256=sha256_hex(policy))


def read_policy(document: Mapping[str, Any], keys: Sequence[PublicKey], where: Path) -> TrustPolicy:
    """As :func:`parse_policy`; its errors name the file ``where``."""
    try:
        return parse_policy(document, keys)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", faults=error.faults, why=error.why, hint=error.hint) from error


def read_keys(path: Path) -> tuple[tuple[PublicKey, ...], Optional[bytes]]:
    """As :func:`read_folder`; a single key file is one key without a policy."""
    if is_folder(path):
        return read_folder(path)
    return (_read_key(path),), None


def read_folder(path: Path) -> tuple[tuple[PublicKey, ...], Optional[bytes]]:
    """Return the keys of a trust directory and the text of its policy, None where there is none; neither is judged."""
    require_guarded(path)
    try:
        entries = sorted(path.iterdir())
    except OSError as error:
        raise StorageError(f"cannot read {path}", why=error.strerror or str(error)) from error
    # What nobody would read is not passed over: a policy or a key that does not count was meant to.
    for entry in entries:
        if entry.name.lower() == POLICY != entry.name or entry.suffix.lower() == ".pub" != entry.suffix:
            right = POLICY if entry.name.lower() == POLICY else f"{entry.stem}.pub"
            raise ConfigError(
                f"{entry} would not be read",
                why="its name has capitals",
                hint=f"rename it to {right}",
            )
    files = [entry for entry in entries if entry.suffix == ".pub"]
    if len(files) > MAX_KEYS:
        raise ConfigError(f"{path} has too many keys", why=f"{len(files)}; at most {MAX_KEYS}")
    keys = tuple(_read_key(file) for file in files)
    policy = path / POLICY
    # Asked of the listing: a policy that is there and can't be read must not count as none.
    if policy not in entries:
        return keys, None
    return keys, read_guarded(policy, MAX_POLICY)


def _read_key(file: Path) -> PublicKey:
    return named_key(read_guarded(file, MAX_KEY_FILE), file.stem, hint=f"rename {file}")


def named_key(data: bytes, name: str, *, hint: str) -> PublicKey:
    """Return the public key in ``data`` under ``name``; ``ConfigError`` with ``hint`` where that can't name one."""
    if NAME.fullmatch(name) is None:
        raise ConfigError(
            f"{name[:80]!a} can't name a key", why="a name is 1 to 64 letters, digits, dots, _ and -", hint=hint
        )
    return parse_public_key(data, name)


def parse_toml(data: bytes, where: str) -> dict[str, Any]:
    """Parse TOML with the standard library, or tomli before Python 3.11; ``ConfigError`` names ``where``."""
    try:
        module: Any = importlib.import_module("tomllib")
    except ImportError:
        module = importlib.import_module("tomli")
    try:
        document: dict[str, Any] = module.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not TOML", why=str(error)) from error
    return document
