"""The state folder's loads as a rollback needs them: what others have on this cluster, and that one is undone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Optional

from loader.bundle import strictjson
from loader.bundle.errors import AirgapError
from loader.cluster.objects import Key
from loader.durable import write_whole
from loader.imports import FOLDER, MAX_RECORD, RECORD, ImportRecord
from loader.loadpage import load_page
from loader.record import MAX_REPORT, Record, decode
from loader.signing import read_small_file

_REPORT = "report.json"
_HAS = frozenset({"create", "patch", "unchanged"})


class OtherLoads:
    """The last load of each bundle in state folder ``state``."""

    def __init__(self, state: Path) -> None:
        self._folder = state / FOLDER

    def having(self, record: Record) -> dict[Key, str]:
        """Return what loads of other bundles changed or found right on the cluster of ``record``, and which they are.

        A load that is rolled back has nothing, and of a damaged folder nothing is known.
        """
        found: dict[Key, str] = {}
        for folder, load in self._last(record).items():
            if load.bundle != record.bundle.id:
                found.update(dict.fromkeys(_objects(folder, record), f"{load.name} {load.version}"))
        return found

    def undone(self, record: Record, report: Mapping[str, Any]) -> None:
        """Keep ``report``, as the rollback of ``record`` left it, with its load; ``StorageError`` where that fails."""
        for folder, load in self._last(record).items():
            if load.bundle == record.bundle.id:
                data = json.dumps(report, indent=2, sort_keys=True) + "\n"
                self._write(folder / _REPORT, data.encode())
                self._write(folder / "report.html", load_page(dict(report)).encode())
                self._write(folder / RECORD, strictjson.encode(replace(load, state=report["state"])))

    def _write(self, path: Path, data: bytes) -> None:
        write_whole(path, data, mode=0o600, hint="--state DIR names another folder")

    def _last(self, record: Record) -> dict[Path, ImportRecord]:
        """Return the last load of each bundle at the server of ``record``."""
        server = record.cluster.server if record.cluster else None
        # The time is the first word of a folder's name; a load that was killed has left no report in it.
        folders = sorted(path.parent for path in self._folder.glob(f"*/{_REPORT}"))
        loads = [(folder, load) for folder in folders for load in [_load(folder)] if load is not None]
        return dict({load.bundle: (folder, load) for folder, load in loads if load.cluster == server}.values())


def _load(folder: Path) -> Optional[ImportRecord]:
    try:
        return strictjson.decode(ImportRecord, read_small_file(folder / RECORD, MAX_RECORD), RECORD)
    except AirgapError:
        return None


def _objects(folder: Path, record: Record) -> list[Key]:
    try:
        other, _ = decode(read_small_file(folder / _REPORT, MAX_REPORT), _REPORT)
    except AirgapError:
        return []
    if other.state == "rolled-back" or _elsewhere(other, record):
        return []
    rows = [row for row in other.objects if row.action in _HAS and not row.restored]
    return [Key(row.api_version or "", row.kind, row.namespace, row.name) for row in rows]


def _elsewhere(other: Record, record: Record) -> bool:
    if other.cluster is None or record.cluster is None:
        return True
    return other.cluster.is_other(record.cluster.server, record.cluster.uid)
