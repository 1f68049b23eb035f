"""The record of a run, written as JSON and as one self-contained page beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import AirgapError, FormatError, Interrupted, Pending, StorageError
from loader.bundle.manifest import Image
from loader.bundle.strictjson import to_plain
from loader.bundle.verify import VerifiedBundle
from loader.cluster.failures import printable
from loader.cluster.survey import Survey
from loader.cluster.waits import Waited
from loader.durable import REPORT_ELSEWHERE, write_report
from loader.journal import ObjectJournal
from loader.loadpage import load_page
from loader.oci.pushplan import PushImage, PushReport
from loader.record import MAX_REPORT, Change, Record, decode, identity
from loader.signing import read_small_file
from loader.vault import Vault


class Report:
    """``DIR/NAME-VERSION.load.json`` and ``.html``.

    The JSON is written anew after each step and says ``interrupted`` until the end, so that a kill leaves it true. A
    report of the same bundle and cluster is continued; any other of that name is kept under a number.
    """

    def __init__(self, directory: Path, facts: Mapping[str, str], vault: Vault) -> None:
        self._directory = directory
        self._facts = {name: printable(value) for name, value in facts.items()}
        self._vault = vault
        self._path: Optional[Path] = None
        self._record: dict[str, Any] = {
            **self._facts,
            "archive": None,
            "blobs": {"bytesSent": 0, "mounted": 0, "present": 0, "sent": 0},
            "cluster": None,
            "error": None,
            "finished": None,
            "formatVersion": 1,
            "images": [],
            "objects": [],
            "runs": [],
            "state": "interrupted",
            "waits": [],
        }
        self.journal = ObjectJournal(self._record["objects"], vault, self.write)

    @property
    def record(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return self._record

    @property
    def directory(self) -> Path:
        """The folder the report is written to."""
        return self._directory

    @property
    def path(self) -> Optional[Path]:
        """The JSON file, once the run has begun."""
        return self._path

    @property
    def folder(self) -> Path:
        """Where the report is written."""
        return self._directory

    @property
    def changed(self) -> bool:
        """Tell whether there is anything in the cluster to put back."""
        return any(row["action"] in {"create", "patch"} and not row["restored"] for row in self._record["objects"])

    def begin(
        self,
        bundle: VerifiedBundle,
        registry: str,
        now: str,
        cluster: Optional[Survey] = None,
        *,
        verb: str = "load",
        warnings: Iterable[str] = (),
    ) -> str:
        """Write the first record; return a word on an earlier report of that name, if there is one to say.

        ``StorageError`` if the folder can't be written, before anything else is.
        """
        manifest = bundle.manifest
        self._path = self._directory / f"{manifest.name}-{manifest.version}.load.json"
        self._record.update(
            {
                "bundle": {
                    "created": manifest.created,
                    "id": bundle.id,
                    "name": manifest.name,
                    "sequence": manifest.sequence,
                    "version": manifest.version,
                },
                "cluster": _cluster_row(cluster),
                "registry": registry,
                "signers": [
                    {"fingerprint": signer.key.fingerprint, "name": signer.key.name} for signer in bundle.signers
                ],
                "started": now,
                "warnings": [printable(warning) for warning in (*bundle.warnings, *warnings)],
            }
        )
        said = self._continued()
        self._begin_run(verb, now)
        return said

    def resume(self, path: Path, record: Record, changes: tuple[Change, ...], *, verb: str, now: str) -> None:
        """Go on with the report at ``path``, which ``record`` and ``changes`` were decoded from."""
        self._path = path
        self._record.update({**to_plain(record), **self._facts, "error": None, "started": now, "finished": None})
        self._take_objects(changes)
        self._begin_run(verb, now)

    def _begin_run(self, verb: str, now: str) -> None:
        run = {
            **{name: self._record[name] for name in ("host", "loader", "loaderSha256", "user")},
            "finished": None,
            "started": now,
            "state": "interrupted",
            "verb": verb,
        }
        self._record["runs"].append(run)
        self._mark("interrupted")
        self.write()

    def _continued(self) -> str:
        """Take over what an earlier run on the same bundle and cluster wrote; move any other report aside."""
        path = self.path
        if path is None or not path.exists():
            return ""
        try:
            data = read_small_file(path, MAX_REPORT)
            record, changes = decode(data, str(path))
        except FormatError as error:
            return self._set_aside(path, f"it is no report ({error.why or error.message})")
        server = record.cluster.server if record.cluster else None
        if not self._vault.sealed(identity(record.bundle.id, server), data):
            return self._set_aside(path, "this state folder did not see it written")
        here = self._record["cluster"]
        other = record.cluster and here and record.cluster.is_other(here["server"], here["uid"])
        if record.bundle.id != self._record["bundle"]["id"] or other:
            return self._set_aside(path, "it is of another bundle or cluster")
        plain = to_plain(record)
        self._record.update({name: plain[name] for name in ("archive", "blobs", "images", "runs", "waits")})
        known = plain["cluster"] or {}
        self._record["cluster"] = {**here, "uid": here["uid"] or known.get("uid")} if here else plain["cluster"]
        self._take_objects(tuple(change for change in changes if not change.row.restored))
        return ""

    def _take_objects(self, changes: tuple[Change, ...]) -> None:
        rows = [{**to_plain(change.row), "after": change.after, "before": change.before} for change in changes]
        self._record["objects"] = rows
        self.journal = ObjectJournal(rows, self._vault, self.write)

    def _set_aside(self, path: Path, why: str) -> str:
        number = 1
        while path.with_name(f"{path.stem}.{number}.json").exists():
            number += 1
        kept = path.with_name(f"{path.stem}.{number}.json")
        try:
            path.rename(kept)
        except OSError as error:
            raise _unwritable(path, error) from error
        return f"the report that was there is kept as {kept}: {why}"

    def pushed(self, report: PushReport) -> None:
        """Add what the push did."""
        self._record["images"] = [
            {
                "digest": image.digest,
                "error": None if image.error is None else printable(str(image.error)),
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
        self.write()

    def stored(self, images: Iterable[tuple[Image, Optional[str]]]) -> None:
        """Add the images that went to local storage, each with what was in its way."""
        self._record["images"] = [
            {
                "digest": image.digest,
                "error": None if error is None else printable(error),
                "repository": image.source,
                "tag": image.tag,
                "tagMoved": error is None and image.tag is not None,
            }
            for image, error in images
        ]
        self.write()

    def found(self, images: Iterable[PushImage]) -> None:
        """Add the images that are all in the registry already, where no push has told of them."""
        self._record["images"] = self._record["images"] or [
            {
                "digest": image.top.digest,
                "error": None,
                "repository": image.repository,
                "tag": image.tag,
                "tagMoved": False,
            }
            for image in images
        ]
        self.write()

    def waited(self, waited: Waited) -> None:
        """Add one wait, ended one way or another."""
        self._record["waits"].append(
            {
                "document": waited.document,
                "name": waited.name,
                "run": len(self._record["runs"]) - 1,
                "seconds": round(waited.seconds),
                "state": waited.state,
                "text": printable(waited.text),
            }
        )
        self.write()

    def restored(self, api_version: str, kind: str, namespace: Optional[str], name: str) -> None:
        """Mark an object as put back."""
        for row in self._record["objects"]:
            if (row["apiVersion"], row["kind"], row["namespace"], row["name"]) == (api_version, kind, namespace, name):
                row["restored"] = True
        self.write()

    def failed(self, error: AirgapError) -> None:
        """Add the error that ended the run."""
        self._record["error"] = {
            "code": error.exit_code,
            "hint": printable(error.hint),
            "message": printable(error.message),
            "why": printable(error.why),
        }
        self._mark(
            "pending" if isinstance(error, Pending) else "interrupted" if isinstance(error, Interrupted) else "failed"
        )

    def finish(self, now: str, archive: Optional[dict[str, Any]] = None) -> None:
        """Write the last record and the page, with what is known of the archive file.

        A run that was killed before says ``interrupted``.
        """
        self._record["archive"] = archive or self._record["archive"]
        self._record["finished"] = self._record["runs"][-1]["finished"] = now
        self.write()
        if self._path is not None:
            write_report(self._path.with_suffix(".html"), load_page(self._record).encode())

    def succeeded(self, state: str = "complete") -> None:
        """Mark the run as complete."""
        self._mark(state)

    def _mark(self, state: str) -> None:
        self._record["state"] = self._record["runs"][-1]["state"] = state

    def write(self) -> None:
        """Put the record on disk as it is now, and note in the state folder that it is ours."""
        path = self.path
        if path is not None:
            data = (json.dumps(self._record, indent=2, sort_keys=True) + "\n").encode()
            cluster = self._record["cluster"]
            self._vault.seal(identity(self._record["bundle"]["id"], cluster and cluster["server"]), path, data)
            write_report(path, data)


def _cluster_row(cluster: Optional[Survey]) -> Optional[dict[str, Optional[str]]]:
    if cluster is None:
        return None
    version = f"OpenShift {cluster.openshift}" if cluster.openshift else f"Kubernetes {cluster.kubernetes}"
    about = {"context": cluster.context, "server": cluster.server, "user": cluster.user, "version": version}
    return {**about, "uid": cluster.uid}


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write the report {path}", why=error.strerror or str(error), hint=REPORT_ELSEWHERE)
