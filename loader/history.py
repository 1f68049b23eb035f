"""The state folder: which sequence of which bundle was last imported under which key.

Replay protection needs memory on the high side (TUF: rollback). Kept per (bundle name, key), so a
thief's jump to a high sequence dies with the stolen key.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Optional, Protocol

from loader.bundle import strictjson
from loader.bundle.errors import AirgapError, ConfigError, FormatError, StorageError, TrustError
from loader.bundle.manifest import BundleManifest
from loader.bundle.verify import Signer, VerifiedBundle
from loader.durable import make_folders, write_whole
from loader.signing import read_small_file

_MAX_STATE = 16 * 2**20
_RESET = "reset: "


@dataclass(frozen=True)
class Seen:
    """The highest sequence of bundle ``name`` recorded under key ``fingerprint``, and the id it had."""

    name: str
    fingerprint: str
    sequence: int
    id: str


@dataclass(frozen=True)
class Override:
    """A replay that a person allowed, and why."""

    name: str
    id: str
    sequence: int
    when: str
    reason: str


@dataclass(frozen=True)
class _State:
    format_version: int
    seen: tuple[Seen, ...]
    overrides: tuple[Override, ...]


class Vouched(Protocol):
    """A bundle that trusted keys signed, read in full or not."""

    @property
    def manifest(self) -> BundleManifest:
        """What it says of itself."""
        ...

    @property
    def id(self) -> str:
        """The bundle id."""
        ...

    @property
    def signers(self) -> tuple[Signer, ...]:
        """Who signed it."""
        ...


class History:
    """The state folder ``directory``; nothing is written before :meth:`record`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "sequences.json"

    def newest(self, bundle: Vouched) -> Optional[Seen]:
        """The highest entry that any of the bundle's signers has for its name."""
        keys = {signer.key.fingerprint for signer in bundle.signers}
        entries = [s for s in self._load().seen if s.name == bundle.manifest.name and s.fingerprint in keys]
        return max(entries, key=lambda entry: entry.sequence, default=None)

    def check(self, bundle: Vouched) -> Optional[Seen]:
        """Return what was imported before, or raise ``TrustError`` when ``bundle`` is a replay of something older."""
        newest = self.newest(bundle)
        if newest is None or newest.sequence < bundle.manifest.sequence:
            return newest
        if newest.sequence == bundle.manifest.sequence and newest.id == bundle.id:
            return newest
        same = newest.sequence == bundle.manifest.sequence
        raise TrustError(
            f"{bundle.manifest.name} {bundle.manifest.version} is older than what was imported before",
            why=(
                f"sequence {bundle.manifest.sequence} was imported with another id {newest.id[:12]}"
                if same
                else f"sequence {bundle.manifest.sequence}; {newest.sequence} was imported (id {newest.id[:12]})"
            ),
            hint="if going back is meant: --allow-older --reason TEXT",
        )

    def record(self, bundle: VerifiedBundle, *, when: str, reason: Optional[str] = None) -> None:
        """Write the bundle's sequence for each of its signers, and the override if one was given.

        Called just before the first write anywhere; holds a lock, so two loads can't both win.
        """
        with self._locked():
            if reason is None:
                self.check(bundle)
            state = self._load()
            seen = {(entry.name, entry.fingerprint): entry for entry in state.seen}
            manifest = bundle.manifest
            for signer in bundle.signers:
                key = (manifest.name, signer.key.fingerprint)
                if key not in seen or seen[key].sequence <= manifest.sequence:
                    seen[key] = Seen(manifest.name, signer.key.fingerprint, manifest.sequence, bundle.id)
            overrides = state.overrides
            if reason is not None:
                overrides += (Override(manifest.name, bundle.id, manifest.sequence, when, _printable(reason)),)
            self._store(_State(1, tuple(seen[key] for key in sorted(seen)), overrides))

    def reset(self, name: str, *, fingerprint: Optional[str], when: str, reason: str) -> tuple[Seen, ...]:
        """Forget the sequences of bundle ``name``, those of one key or of all, and keep who said why."""
        with self._locked():
            state = self._load()
            gone = tuple(s for s in state.seen if s.name == name and fingerprint in {None, s.fingerprint})
            if not gone:
                known = ", ".join(sorted({entry.name for entry in state.seen})) or "none"
                raise ConfigError(f"no sequence of {name[:80]!a} is kept here", why=f"bundles known: {known}")
            resets = tuple(Override(s.name, s.id, s.sequence, when, _printable(_RESET + reason)) for s in gone)
            seen = tuple(entry for entry in state.seen if entry not in gone)
            self._store(_State(1, seen, state.overrides + resets))
        return gone

    def resets(self, name: Optional[str] = None) -> tuple[Override, ...]:
        """When a sequence was forgotten by :meth:`reset`, and why, oldest first; of bundle ``name`` alone if given."""
        return tuple(
            replace(entry, reason=entry.reason[len(_RESET) :])
            for entry in self._load().overrides
            if entry.reason.startswith(_RESET) and name in {None, entry.name}
        )

    def _load(self) -> _State:
        try:
            self._file.lstat()
        except FileNotFoundError:
            return _State(1, (), ())
        except OSError as error:
            raise StorageError(f"cannot read {self._file}", why=error.strerror or str(error)) from error
        try:
            state = strictjson.decode(_State, read_small_file(self._file, _MAX_STATE), str(self._file))
        except FormatError as error:
            raise self._foreign(str(error)) from error
        if state.format_version != 1:
            raise self._foreign(f"formatVersion {state.format_version}")
        return state

    def _foreign(self, why: str) -> AirgapError:
        return StorageError(
            f"{self._file} is not a state file of this loader",
            why=why,
            hint="it guards against replay: find out who changed it; --state DIR names another folder",
        )

    def _store(self, state: _State) -> None:
        write_whole(self._file, strictjson.encode(state), hint="--state DIR names another folder")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Keep a second run off this state folder while one changes a registry or a cluster."""
        path = self._directory / "run.lock"
        try:
            make_folders(self._directory, 0o700)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StorageError(
                f"another run uses the state folder {self._directory}",
                why="it is pushing or applying; two at once would write over each other's reports",
                hint="wait for it to end, then run the same command; another site needs another --state DIR",
            ) from error
        except OSError as error:
            os.close(descriptor)
            raise self._unusable(error) from error
        try:
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> StorageError:
        return StorageError(
            f"cannot use the state folder {self._directory}",
            why=error.strerror or str(error),
            hint="--state DIR names another one",
        )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            make_folders(self._directory, 0o700)
            with (self._directory / "lock").open("w") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise self._unusable(error) from error


def _printable(text: str) -> str:
    """Make one line of printable ASCII: the state is read back by the strict decoder, which takes nothing else."""
    flat = text.replace("\n", " ").replace("\r", " ")
    return "".join(char if " " <= char <= "~" else ascii(char)[1:-1] for char in flat)[:500]
