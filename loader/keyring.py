"""Changing the trust directory: keys come in by the paper's fingerprint or by the word of those already trusted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import AirgapError, ConfigError, StorageError, TrustError
from loader.bundle.keys import ALGORITHMS, PublicKey, SignatureCheck
from loader.bundle.limits import MAX_KEY_FILE, MAX_POLICY
from loader.bundle.policy import TrustPolicy
from loader.durable import write_whole
from loader.guarded import read_guarded
from loader.signing import read_small_file
from loader.trust import POLICY, named_key, parse_toml, read_keys, read_policy

_REVOKED = re.compile(r"^revoked[ \t]*=[ \t]*\[([^\[\]]*)\]", re.MULTILINE)


@dataclass(frozen=True)
class Listed:
    """A key of the directory; ``state`` is ``trusted``, ``revoked`` or ``not allowed`` (its algorithm)."""

    key: PublicKey
    state: str


class Keyring:
    """The trust directory ``folder``: ``NAME.pub`` files and ``policy.toml``. A single key file can be listed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def listed(self) -> tuple[Listed, ...]:
        """Every key with whether it counts; the policy may be one that no load would take."""
        keys, document = self._read()
        revoked, algorithms = _strings(document, "revoked", ()), _strings(document, "algorithms", ALGORITHMS)
        return tuple(
            Listed(
                key,
                "revoked"
                if key.fingerprint in revoked
                else "trusted"
                if key.algorithm in algorithms
                else "not allowed",
            )
            for key in keys
        )

    def fault(self) -> str:
        """Why no load takes this directory as it is, in one line; empty when one would."""
        keys, document = self._read()
        try:
            self._policy(keys, document)
        except AirgapError as error:
            faults = error.faults if isinstance(error, ConfigError) else ()
            return "; ".join([str(error), *(f"{place}: {problem}" for place, problem in faults)])
        return ""

    def add(
        self,
        file: Path,
        *,
        name: Optional[str] = None,
        fingerprint: Optional[str] = None,
        endorsements: Sequence[Path] = (),
        check: SignatureCheck,
    ) -> tuple[PublicKey, tuple[str, ...]]:
        """Trust the key in ``file``: its ``fingerprint`` was compared, or enough of the trusted keys signed the file.

        Returns the key and the names of those who endorsed it. Raises ``TrustError`` for another fingerprint, for
        endorsements that do not satisfy the policy, and for a revoked key.
        """
        data = read_small_file(file, MAX_KEY_FILE)
        key = named_key(data, name or file.stem, hint="give another with --name")
        endorsers: tuple[str, ...] = ()
        if fingerprint is not None:
            _compare(key, fingerprint)
        with self._locked():
            keys, document = self._read()
            if endorsements:
                endorsers = _endorsed(data, file, endorsements, self._policy(keys, document), check)
            self._store(key, keys, document)
        return key, endorsers

    def _store(self, key: PublicKey, keys: Sequence[PublicKey], document: Optional[Mapping[str, Any]]) -> None:
        if key.fingerprint in _strings(document, "revoked", ()):
            raise TrustError(
                f"key {key.name} is revoked here", why=key.fingerprint, hint=f"it stands under revoked in {POLICY}"
            )
        if key.algorithm not in _strings(document, "algorithms", ALGORITHMS):
            raise TrustError(f"key {key.name} is of a kind the policy does not allow", why=key.algorithm)
        same = next((one for one in keys if one.fingerprint == key.fingerprint), None)
        if same is not None and same.name != key.name:
            raise ConfigError(
                f"this key is trusted already, as {same.name}",
                why="its fingerprint is the same",
                hint="one key needs one name",
            )
        other = next((one for one in keys if one.name == key.name), None)
        if other is not None and other.fingerprint != key.fingerprint:
            raise ConfigError(
                f"another key is called {key.name} here",
                why=other.fingerprint,
                hint="give the new one another name with --name, or remove the old one first",
            )
        if same is None:
            write_whole(self.folder / f"{key.name}.pub", key.pem)

    def remove(self, name: str) -> PublicKey:
        """Take a key out; ``ConfigError`` where the policy could not be met without it."""
        with self._locked():
            keys, document = self._read()
            key = _find(keys, name)
            rest = [one for one in keys if one is not key]
            if document is not None and self._is_met(keys, document):
                self._require_spare(key, rest, document)
            try:
                (self.folder / f"{key.name}.pub").unlink()
            except OSError as error:
                raise StorageError(f"cannot remove {key.name}.pub", why=error.strerror or str(error)) from error
        return key

    def revoke(self, wanted: str) -> str:
        """Put a key's fingerprint under ``revoked`` in the policy, and return it; the key need not be here.

        It holds even if nothing can be loaded afterwards: a stolen key must not count one minute longer.
        """
        with self._locked():
            keys, document = self._read()
            printed = _printed(wanted)
            found = _find(keys, wanted).fingerprint if printed is None else printed
            if found not in _strings(document, "revoked", ()):
                path = self.folder / POLICY
                text = "" if document is None else read_guarded(path, MAX_POLICY).decode("utf-8")
                write_whole(path, with_revoked(text, found).encode())
        return found

    def _require_spare(self, key: PublicKey, rest: Sequence[PublicKey], document: Mapping[str, Any]) -> None:
        with contextlib.suppress(TrustError):  # no key at all is no contradiction: nothing is loaded then
            try:
                self._policy(rest, document)
            except ConfigError as error:
                raise ConfigError(
                    f"{key.name} is needed: without it {error.message}",
                    faults=error.faults,
                    hint=f"change {POLICY} first; a key that must not count one minute longer is revoked",
                ) from error

    def _policy(self, keys: Sequence[PublicKey], document: Optional[Mapping[str, Any]]) -> TrustPolicy:
        return TrustPolicy(tuple(keys)) if document is None else read_policy(document, keys, self.folder / POLICY)

    def _is_met(self, keys: Sequence[PublicKey], document: Mapping[str, Any]) -> bool:
        """Whether the policy can be met as it is; one that can't may be mended key by key."""
        try:
            self._policy(keys, document)
        except AirgapError:
            return False
        return True

    def _read(self) -> tuple[tuple[PublicKey, ...], Optional[dict[str, Any]]]:
        if not os.path.lexists(self.folder):
            return (), None
        keys, policy = read_keys(self.folder)
        return keys, None if policy is None else parse_toml(policy, str(self.folder / POLICY))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if self.folder.is_file():
            raise ConfigError(
                f"{self.folder} is one key file", why="keys are kept in a folder", hint="name one: --trust DIR"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            except OSError as error:
                raise self._unusable(error) from error
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(f"cannot use {self.folder}", why=error.strerror or str(error))


def with_revoked(text: str, fingerprint: str) -> str:
    """Return the policy ``text`` with one more revoked key, everything else as a person wrote it."""
    before = parse_toml(text.encode(), POLICY)
    revoked = list(_strings(before, "revoked", ()))
    if "revoked" in before:
        made = _REVOKED.sub(lambda match: f'revoked = ["{fingerprint}",{match[1]}]', text, count=1)
    else:
        # A key of the root table must stand before the first [table].
        made = f'revoked = ["{fingerprint}"]\n{text}'
    try:
        agrees = parse_toml(made.encode(), POLICY) == {**before, "revoked": [fingerprint, *revoked]}
    except ConfigError:
        agrees = False
    if not agrees:
        raise ConfigError(
            f"{POLICY} is written in a way that is not changed by program",
            why="its list of revoked keys was not found as one plain list",
            hint=f'add "{fingerprint}" to revoked by hand',
        )
    return made


def _find(keys: Sequence[PublicKey], name: str) -> PublicKey:
    for key in keys:
        if name in {key.name, key.fingerprint}:
            return key
    known = ", ".join(key.name for key in keys) or "none"
    raise ConfigError(f"no key is called {name[:80]!a} here", why=f"known: {known}")


def _printed(text: str) -> Optional[str]:
    """The fingerprint in ``text``, None if it is none; capitals, gaps and a missing prefix are a matter of printing."""
    wanted = re.sub(r"[\s:]", "", text.lower()).removeprefix("sha256")
    return f"sha256:{wanted}" if re.fullmatch(r"[0-9a-f]{64}", wanted) else None


def _compare(key: PublicKey, given: str) -> None:
    """Hold the key against what stands on the paper slip."""
    wanted = _printed(given)
    if wanted is None:
        raise ConfigError(
            f"--fingerprint {given[:80]!a} is not one", why="expected sha256: and 64 hex digits, as the slip has them"
        )
    if wanted != key.fingerprint:
        raise TrustError(
            f"{key.name} is not the key of that fingerprint",
            why=f"the file's is {key.fingerprint}",
            hint="do not add it: ask the person who printed the slip, by another way than the medium",
        )


def _endorsed(
    data: bytes, file: Path, endorsements: Sequence[Path], policy: TrustPolicy, check: SignatureCheck
) -> tuple[str, ...]:
    """Names of the trusted keys that signed ``data``; as many and those that the strictest rule asks for a bundle.

    One key of two must not be able to bring in its own second.
    """
    signed: dict[str, PublicKey] = {}
    for path in endorsements:
        signature = read_small_file(path)
        key = next((k for k in policy.usable if k.has_shape(signature) and check.verify(k, signature, data)), None)
        if key is None:
            raise TrustError(
                f"{path} is no trusted key's signature over {file}",
                why=f"keys tried: {', '.join(one.name for one in policy.usable)}",
                hint="openssl dgst -sha256 -sign OLD.key -out SIG NEW.pub, OLD being trusted here (P-384: -sha384)",
            )
        signed[key.fingerprint] = key
    try:
        for name in ("", *policy.names):
            policy.judge(name, list(signed.values()))
    except TrustError as error:
        hint = (
            "as many trusted keys, and those, must endorse a new one as must sign a bundle: --endorsed-by SIG for each"
        )
        raise TrustError(error.message, why=error.why, hint=hint) from error
    return tuple(key.name for key in signed.values())


def _strings(document: Optional[Mapping[str, Any]], name: str, default: Sequence[str]) -> tuple[str, ...]:
    value = (document or {}).get(name, default)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, (list, tuple)) else ()
