"""The types of ``NAME-VERSION.load.json`` and its strict decoder.

A report is written by us and read again by ``rollback``, so it is hostile input like any other. What an object was
before and after is JSON of any shape; all else has exactly the fields below.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from loader.bundle import strictjson
from loader.bundle.errors import FormatError

# A hundred manifests with Rook's CRDs, each before and after, stay below 20 MB.
MAX_REPORT = 128 * 2**20
_MAX_DEPTH = 80
STATES = ("interrupted", "complete", "pending", "failed", "rolled-back")
ACTIONS = ("create", "patch", "unchanged", "skip")
ENDS = ("done", "failed", "paused", "timeout", "interrupted")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
HEX = re.compile(r"[0-9a-f]{64}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True)
class ArchiveRow:
    """The archive file: what `sha256sum` prints for it, None where a run ended before it was known."""

    name: str
    sha256: Optional[str]
    size: int


@dataclass(frozen=True)
class BundleRow:
    """Which bundle was loaded."""

    created: str
    id: str
    name: str
    sequence: int
    version: str


@dataclass(frozen=True)
class SignerRow:
    """A key that signed it, by the trust folder's name and the SPKI fingerprint."""

    fingerprint: str
    name: str


@dataclass(frozen=True)
class ClusterRow:
    """The cluster that was changed, and who asked.

    ``uid`` is that of its namespace kube-system, None where it was not to be read and in reports of earlier loaders.
    """

    context: str
    server: str
    uid: Optional[str]
    user: str
    version: str

    def is_other(self, server: str, uid: Optional[str]) -> bool:
        """Tell whether what is at ``server`` is another cluster: a URL may lead to one that was made anew."""
        return self.server != server or (None not in {self.uid, uid} and self.uid != uid)


@dataclass(frozen=True)
class ImageRow:
    """One image and where it went."""

    digest: str
    error: Optional[str]
    repository: str
    tag: Optional[str]
    tag_moved: bool


@dataclass(frozen=True)
class BlobsRow:
    """What the push sent, and what was there."""

    bytes_sent: int
    mounted: int
    present: int
    sent: int


@dataclass(frozen=True)
class Versions:
    """The resourceVersion before and after."""

    after: Optional[str]
    before: Optional[str]


@dataclass(frozen=True)
class ObjectRow:
    """One object of the cluster: what was done, and since which state.

    ``confirmed`` is false from just before a write until its answer was read. ``ceph_version`` is what a CephCluster
    ran before. ``restored``: a rollback put it back. Beside these fields a row has ``before`` and ``after``.
    """

    action: str
    api_version: Optional[str]
    ceph_version: Optional[str]
    confirmed: bool
    document: str
    kind: str
    name: str
    namespace: Optional[str]
    reason: str
    resource_version: Versions
    restored: bool
    uid: Optional[str]


@dataclass(frozen=True)
class WaitRow:
    """One wait of run number ``run`` (from 0): how long, how it ended, the last that was seen."""

    document: str
    name: str
    run: int
    seconds: int
    state: str
    text: str


@dataclass(frozen=True)
class ErrorRow:
    """The error that ended the last run."""

    code: int
    hint: str
    message: str
    why: str


@dataclass(frozen=True)
class RunRow:
    """One run of the loader on this bundle and cluster."""

    finished: Optional[str]
    host: str
    loader: str
    loader_sha256: str
    started: str
    state: str
    user: str
    verb: str


@dataclass(frozen=True)
class Record:
    """``NAME-VERSION.load.json``; ``archive`` is None for a media set."""

    archive: Optional[ArchiveRow]
    blobs: BlobsRow
    bundle: BundleRow
    cluster: Optional[ClusterRow]
    error: Optional[ErrorRow]
    finished: Optional[str]
    format_version: int
    host: str
    images: tuple[ImageRow, ...]
    loader: str
    loader_sha256: str
    objects: tuple[ObjectRow, ...]
    registry: str
    runs: tuple[RunRow, ...]
    signers: tuple[SignerRow, ...]
    started: str
    state: str
    user: str
    waits: tuple[WaitRow, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A row with the object's states; None where it was not there."""

    row: ObjectRow
    before: Optional[dict[str, Any]]
    after: Optional[dict[str, Any]]


def decode(data: bytes, what: str) -> tuple[Record, tuple[Change, ...]]:
    """Return a report and its objects; ``FormatError`` names ``what`` for anything else."""
    plain = strictjson.loads(data, what, max_depth=_MAX_DEPTH)
    states = [_taken(row, f"{what}.objects[{i}]") for i, row in enumerate(_rows(plain))]
    if isinstance(plain, dict) and isinstance(plain.get("cluster"), dict):
        plain["cluster"].setdefault("uid", None)
    canonical = (json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True) + "\n").encode("ascii")
    record = strictjson.decode(Record, canonical, what)
    if record.format_version != 1:
        raise FormatError(
            f"{what} is of a format this loader does not know", why=f"formatVersion {record.format_version}, known is 1"
        )
    odd = next(_odd(record), None)
    if odd is not None:
        raise FormatError(f"{what} has a value this loader does not write", why=f"no load writes {odd[:80]!a}")
    return record, tuple(Change(row, *state) for row, state in zip(record.objects, states))


def _odd(record: Record) -> Iterator[str]:
    """Give each value that its field cannot have."""
    words: list[tuple[str, tuple[str, ...]]] = [(record.state, STATES)]
    words += [(run.state, STATES) for run in record.runs]
    words += [(row.action, ACTIONS) for row in record.objects]
    words += [(wait.state, ENDS) for wait in record.waits]
    yield from (word for word, known in words if word not in known)
    texts = [(record.bundle.id, HEX), (record.loader_sha256, HEX), *((run.loader_sha256, HEX) for run in record.runs)]
    texts += [(image.digest, DIGEST) for image in record.images]
    texts += [(record.archive.sha256, HEX)] if record.archive and record.archive.sha256 else []
    times = (record.started, record.finished, *(time for run in record.runs for time in (run.started, run.finished)))
    texts += [(record.bundle.created, TIME), *((time, TIME) for time in times if time is not None)]
    yield from (value for value, pattern in texts if pattern.fullmatch(value) is None)


def _rows(plain: object) -> list[Any]:
    rows = plain.get("objects") if isinstance(plain, dict) else None
    return rows if isinstance(rows, list) else []


def _taken(row: object, where: str) -> tuple[Optional[dict[str, Any]], Optional[dict[str, Any]]]:
    """Take the two free values out of ``row``; the rest is decoded by its type."""
    found = []
    for name in ("before", "after"):
        value = row.pop(name, ...) if isinstance(row, dict) else ...
        if value is not None and not isinstance(value, dict):
            raise FormatError(f"{where}.{name} is not an object or null", why=type(value).__name__)
        found.append(value)
    return found[0], found[1]


def identity(bundle_id: str, server: Optional[str]) -> str:
    """Return what a report is the report of: one bundle on one cluster."""
    return f"{bundle_id} {server or ''}"
