"""One folder for each load in the state folder: what was imported when, by whom, signed by whom, under which policy.

Each holds ``import.json``, the load's report as JSON and page, and the evidence itself: ``SHA256SUMS``,
``bundle.json``, every signature that counted and the key it counted under, for openssl to check again years later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Optional

from loader.bundle import strictjson
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import AirgapError, FormatError, StorageError, TrustError
from loader.bundle.head import MANIFEST, SUMS
from loader.bundle.keys import SignatureCheck, parse_public_key
from loader.bundle.limits import MAX_HEAD_FILE, MAX_KEY_FILE, MAX_SIGNATURE
from loader.bundle.manifest import BundleManifest
from loader.bundle.manifest import decode as decode_manifest
from loader.bundle.sums import manifest_line
from loader.bundle.verify import Trust, VerifiedBundle
from loader.cluster.failures import printable
from loader.durable import make_folders, write_whole
from loader.loadpage import load_page
from loader.signing import read_small_file
from loader.trust import NAME

FOLDER = "loads"
RECORD = "import.json"
MAX_RECORD = 2**20
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z-.+")


@dataclass(frozen=True)
class ImportSigner:
    """A key that signed: the trust folder's name for it, and the file its signature is kept in."""

    algorithm: str
    file: str
    fingerprint: str
    name: str


@dataclass(frozen=True)
class ImportPolicy:
    """What was asked for: ``sha256`` of the ``policy.toml`` in force, None where there was none."""

    required: tuple[str, ...]
    sha256: Optional[str]
    threshold: int
    trusted: tuple[str, ...]


@dataclass(frozen=True)
class ImportRecord:
    """``import.json``. ``reason`` is that of ``--allow-older``; ``state`` is the report's."""

    bundle: str
    cluster: Optional[str]
    created: str
    finished: Optional[str]
    format_version: int
    host: str
    loader: str
    loader_sha256: str
    name: str
    policy: ImportPolicy
    reason: Optional[str]
    registry: str
    sequence: int
    signers: tuple[ImportSigner, ...]
    started: str
    state: str
    user: str
    verb: str
    version: str


@dataclass(frozen=True)
class Import:
    """A folder as it is found: its record, its manifest, and what is wrong with it (empty: nothing)."""

    folder: Path
    record: Optional[ImportRecord]
    manifest: Optional[BundleManifest]
    fault: str


class ImportLog:
    """The loads of state folder ``state``; nothing is written before :meth:`begin`."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER
        self._record: Optional[ImportRecord] = None
        self._path = self._folder

    def begin(
        self, bundle: VerifiedBundle, trust: Trust, report: Mapping[str, Any], *, verb: str, reason: Optional[str]
    ) -> Path:
        """Write the folder of a load that is about to change something, and return it.

        ``report`` is the load's report as it is begun; ``reason`` is that of an older bundle, if it was one.
        """
        manifest = bundle.manifest
        signers = tuple(
            ImportSigner(s.key.algorithm, f"{SUMS}.{s.key.name}.sig", s.key.fingerprint, s.key.name)
            for s in bundle.signers
        )
        policy = trust.policy
        rule = policy.names.get(manifest.name, policy.rule)
        self._record = ImportRecord(
            bundle=bundle.id,
            cluster=report["cluster"] and report["cluster"]["server"],
            created=manifest.created,
            finished=None,
            format_version=1,
            host=report["host"],
            loader=report["loader"],
            loader_sha256=report["loaderSha256"],
            name=manifest.name,
            policy=ImportPolicy(
                rule.required, policy.sha256, rule.threshold, tuple(key.fingerprint for key in policy.usable)
            ),
            reason=None if reason is None else printable(reason),
            registry=report["registry"],
            sequence=manifest.sequence,
            signers=signers,
            started=report["started"],
            state="interrupted",
            user=report["user"],
            verb=verb,
            version=manifest.version,
        )
        self._path = self._new_folder(f"{_compact(self._record.started)}-{manifest.name}-{manifest.version}")
        self._write(SUMS, bundle.head.sums)
        self._write(MANIFEST, bundle.head.manifest)
        for signer, kept in zip(bundle.signers, signers):
            self._write(kept.file, signer.signature)
            self._write(f"keys/{signer.key.name}.pub", signer.key.pem)
        self._write(RECORD, strictjson.encode(self._record))
        return self._path

    def finish(self, report: Mapping[str, Any]) -> None:
        """Add the report and how it ended; nothing where :meth:`begin` was not reached."""
        if self._record is None:
            return
        self._write("report.json", (json.dumps(report, indent=2, sort_keys=True) + "\n").encode())
        self._write("report.html", load_page(dict(report)).encode())
        ended = replace(self._record, state=report["state"], finished=report["finished"])
        self._write(RECORD, strictjson.encode(ended))

    def _new_folder(self, name: str) -> Path:
        try:
            make_folders(self._folder, 0o700)
            number = 1
            path = self._folder / name
            while path.exists():
                number += 1
                path = self._folder / f"{name}-{number}"
            path.mkdir(mode=0o700)
        except OSError as error:
            raise StorageError(
                f"cannot write {self._folder / name}",
                why=error.strerror or str(error),
                hint="--state DIR names another folder",
            ) from error
        return path

    def _write(self, name: str, data: bytes) -> None:
        write_whole(self._path / name, data, mode=0o600, hint="--state DIR names another folder")


def read_imports(state: Path, name: Optional[str] = None, *, check: SignatureCheck) -> list[Import]:
    """Return the loads kept in ``state``, oldest first; of bundle ``name`` alone if it is given.

    Each signature that is told of is verified again, under the key that was kept with it.
    A folder that is damaged is returned with its ``fault``, not left out.
    """
    try:
        folders = sorted(path for path in (state / FOLDER).iterdir() if _STAMP.fullmatch(path.name))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"cannot read {state / FOLDER}", why=error.strerror or str(error)) from error
    found = [_read(folder, check) for folder in folders]
    return [one for one in found if name is None or one.record is None or one.record.name == name]


def _read(folder: Path, check: SignatureCheck) -> Import:
    record: Optional[ImportRecord] = None
    try:
        record = strictjson.decode(ImportRecord, read_small_file(folder / RECORD, MAX_RECORD), RECORD)
        sums = read_small_file(folder / SUMS, MAX_HEAD_FILE)
        data = read_small_file(folder / MANIFEST, MAX_HEAD_FILE)
        if sha256_hex(sums) != record.bundle or manifest_line(sha256_hex(data)) not in sums:
            raise FormatError(
                "SHA256SUMS, bundle.json and import.json are not of one bundle",
                why="their hashes do not agree with each other",
            )
        for signer in record.signers:
            _require_signature(folder, signer, sums, check)
        return Import(folder, record, decode_manifest(data), "")
    except AirgapError as error:
        return Import(folder, record, None, str(error))


def _require_signature(folder: Path, signer: ImportSigner, sums: bytes, check: SignatureCheck) -> None:
    """Verify a kept signature again; the record is read strictly, but its names were made by whoever wrote it."""
    if NAME.fullmatch(signer.name) is None:
        raise FormatError(
            f"{signer.name[:80]!a} can't name a key", why="a name is 1 to 64 letters, digits, dots, _ and -"
        )
    key = parse_public_key(read_small_file(folder / "keys" / f"{signer.name}.pub", MAX_KEY_FILE), signer.name)
    signature = read_small_file(folder / f"{SUMS}.{signer.name}.sig", MAX_SIGNATURE)
    held = key.has_shape(signature) and check.verify(key, signature, sums)
    if key.fingerprint != signer.fingerprint or not held:
        raise TrustError(
            f"the signature of {signer.name} over {SUMS} does not hold",
            why="it is not by that key, or not of this list",
        )


def _compact(time: str) -> str:
    return time.replace("-", "").replace(":", "")
