"""The record of a run, written as JSON and as one self-contained page beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import AirgapError, StorageError
from loader.bundle.verify import VerifiedBundle
from loader.cluster.apply import Applied
from loader.oci.pushplan import PushReport
from loader.page import Page, table


class Report:
    """``DIR/NAME-VERSION.load.json`` and ``.html``.

    The JSON is written anew after each step and says ``interrupted`` until the end, so that a kill leaves it true.
    """

    def __init__(self, directory: Path, facts: dict[str, Any]) -> None:
        self._directory = directory
        self._record: dict[str, Any] = {
            **facts,
            "formatVersion": 1,
            "state": "interrupted",
            "images": [],
            "blobs": {"bytesSent": 0, "mounted": 0, "present": 0, "sent": 0},
            "objects": [],
            "error": None,
            "finished": None,
        }
        self._stem: Optional[str] = None

    @property
    def record(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return self._record

    @property
    def path(self) -> Optional[Path]:
        """The JSON file, once the run has begun."""
        return None if self._stem is None else self._directory / f"{self._stem}.load.json"

    def begin(self, bundle: VerifiedBundle, registry: str, now: str) -> None:
        """Write the first record; ``StorageError`` if the folder can't be written, before anything else is."""
        manifest = bundle.manifest
        self._stem = f"{manifest.name}-{manifest.version}"
        self._record.update(
            {
                "bundle": {
                    "created": manifest.created,
                    "id": bundle.id,
                    "name": manifest.name,
                    "sequence": manifest.sequence,
                    "version": manifest.version,
                },
                "registry": registry,
                "signers": [
                    {"fingerprint": signer.key.fingerprint, "name": signer.key.name} for signer in bundle.signers
                ],
                "started": now,
                "warnings": list(bundle.warnings),
            }
        )
        self._write()

    def pushed(self, report: PushReport) -> None:
        """Add what the push did."""
        self._record["images"] = [
            {
                "digest": image.digest,
                "error": None if image.error is None else str(image.error),
                "repository": image.repository,
                "tag": image.tag,
                "tagMoved": image.tag_moved,
            }
            for image in report.images
        ]
        blobs = report.blobs
        self._record["blobs"] = {
            "bytesSent": blobs.bytes_sent,
            "mounted": blobs.count("mounted"),
            "present": blobs.count("present"),
            "sent": blobs.count("sent"),
        }
        self._write()

    def applied(self, applied: Applied) -> None:
        """Add one object."""
        self._record["objects"].append(
            {
                "action": applied.action,
                "document": applied.document,
                "kind": applied.kind,
                "name": applied.name,
                "namespace": applied.namespace,
                "reason": applied.reason,
                "resourceVersion": {"after": applied.version_after, "before": applied.version_before},
            }
        )
        self._write()

    def failed(self, error: AirgapError) -> None:
        """Add the error that ended the run."""
        self._record["error"] = {
            "code": error.exit_code,
            "hint": error.hint,
            "message": error.message,
            "why": error.why,
        }
        self._record["state"] = "failed"

    def finish(self, now: str) -> None:
        """Write the last record and the page. A run that was killed before says ``interrupted``."""
        self._record["finished"] = now
        self._write()
        if self._stem is not None:
            replace_file(self._directory / f"{self._stem}.load.html", load_page(self._record).encode())

    def succeeded(self) -> None:
        """Mark the run as complete."""
        self._record["state"] = "complete"

    def _write(self) -> None:
        path = self.path
        if path is not None:
            replace_file(path, (json.dumps(self._record, indent=2, sort_keys=True) + "\n").encode())


def replace_file(path: Path, data: bytes) -> None:
    """Write a report file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise StorageError(
            f"cannot write the report {path}",
            why=error.strerror or str(error),
            hint="--report DIR names another folder",
        ) from error


def load_page(record: dict[str, Any]) -> str:
    """The record as a page."""
    bundle = record["bundle"]
    page = Page(f"{bundle['name']} {bundle['version']}: load {record['state']}")
    page.facts(
        [
            ("bundle id", bundle["id"]),
            ("sequence", str(bundle["sequence"])),
            ("created", bundle["created"]),
            ("registry", record["registry"]),
            ("signed by", ", ".join(f"{s['name']} {s['fingerprint']}" for s in record["signers"])),
            ("by", f"{record['user']} on {record['host']}, {record['loader']}"),
            ("started", record["started"]),
            ("finished", record["finished"]),
        ]
    )
    if record["error"]:
        page.section("What failed", table(["what", "why"], [[record["error"]["message"], record["error"]["why"]]]))
    page.section(
        "Images",
        table(
            ["repository", "tag", "digest", "state"],
            [[i["repository"], i["tag"] or "", i["digest"], i["error"] or "confirmed"] for i in record["images"]],
        ),
    )
    page.section(
        "Cluster objects",
        table(
            ["kind", "namespace", "name", "action"],
            [[o["kind"], o["namespace"] or "", o["name"], o["action"]] for o in record["objects"]],
        ),
    )
    return page.html()
