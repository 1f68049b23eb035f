"""Types and schema of a load's report judge the same documents the same way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loader.bundle.errors import FormatError
from loader.record import decode

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "schemas/load-report.v1.json").read_text())
HEX, NOW = "a" * 64, "2026-01-31T00:00:00Z"
RUN = {"finished": NOW, "host": "h", "loader": "l", "loaderSha256": HEX, "started": NOW}
GOOD: dict[str, Any] = {
    "archive": {"name": "rook-ceph-2020.10.tar.zst", "sha256": HEX, "size": 9},
    "blobs": {"bytesSent": 1, "mounted": 0, "present": 2, "sent": 3},
    "bundle": {"created": NOW, "id": HEX, "name": "rook-ceph", "sequence": 3, "version": "2020.10"},
    "cluster": {
        "context": "admin",
        "server": "https://api:6443",
        "uid": "5f0c",
        "user": "admin",
        "version": "OpenShift 4.14.8",
    },
    "error": {"code": 7, "hint": "h", "message": "m", "why": "w"},
    "finished": None,
    "formatVersion": 1,
    "host": "h",
    "images": [{"digest": f"sha256:{HEX}", "error": None, "repository": "ceph/ceph", "tag": "v1", "tagMoved": True}],
    "loader": "l",
    "loaderSha256": HEX,
    "objects": [
        {
            "action": "patch",
            "after": {"spec": {"any": ["thing", 1.5, "é\n"]}},
            "apiVersion": "apps/v1",
            "before": None,
            "cephVersion": None,
            "confirmed": False,
            "document": "documents/rook/operator.json",
            "kind": "Deployment",
            "name": "rook-ceph-operator",
            "namespace": "rook-ceph",
            "reason": "",
            "resourceVersion": {"after": None, "before": "7"},
            "restored": False,
            "uid": None,
        }
    ],
    "registry": "r:5000",
    "runs": [{**RUN, "state": "failed", "user": "eve", "verb": "load"}],
    "signers": [{"fingerprint": "sha256:x", "name": "builder"}],
    "started": NOW,
    "state": "failed",
    "user": "eve",
    "waits": [{"document": "d", "name": "pools", "run": 0, "seconds": 9, "state": "timeout", "text": "t"}],
    "warnings": ["w"],
}

Change = Callable[[dict[str, Any]], Any]
BAD: dict[str, Change] = {
    "no archive": lambda d: d.pop("archive"),
    "archive hash": lambda d: d["archive"].update(sha256="A" * 64),
    "unknown field": lambda d: d.update(extra=1),
    "missing field": lambda d: d.pop("waits"),
    "another format": lambda d: d.update(formatVersion=2),
    "unknown state": lambda d: d.update(state="fine"),
    "unknown action": lambda d: d["objects"][0].update(action="exec"),
    "unknown end": lambda d: d["waits"][0].update(state="bored"),
    "no before": lambda d: d["objects"][0].pop("before"),
    "before as text": lambda d: d["objects"][0].update(before="x"),
    "after as list": lambda d: d["objects"][0].update(after=[]),
    "an object's field too many": lambda d: d["objects"][0].update(force=True),
    "objects not a list": lambda d: d.update(objects={}),
    "an object as text": lambda d: d.update(objects=["x"]),
    "a number as the cluster's uid": lambda d: d["cluster"].update(uid=5),
    "id too short": lambda d: d["bundle"].update(id="a"),
    "digest of another kind": lambda d: d["images"][0].update(digest=f"md5:{HEX}"),
    "a time in words": lambda d: d["runs"][0].update(started="yesterday"),
    "a time with a line feed": lambda d: d.update(started=NOW + "\n"),
    "half seconds": lambda d: d["waits"][0].update(seconds=0.5),
    "restored as number": lambda d: d["objects"][0].update(restored=1),
}


def types_accept(document: object) -> bool:
    try:
        decode(json.dumps(document, indent=2).encode(), "report")
    except FormatError:
        return False
    return True


def schema_accepts(document: object) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


def test_a_good_report_passes_both() -> None:
    assert types_accept(GOOD)
    assert schema_accepts(GOOD)
    _, changes = decode(json.dumps(GOOD).encode(), "report")
    assert changes[0].after == GOOD["objects"][0]["after"]
    assert changes[0].before is None


def test_a_report_of_an_earlier_loader_passes_both_and_does_not_know_the_clusters_uid() -> None:
    document = copy.deepcopy(GOOD)
    del document["cluster"]["uid"]
    assert schema_accepts(document)
    record, _ = decode(json.dumps(document).encode(), "report")
    assert record.cluster is not None
    assert record.cluster.uid is None
    assert not record.cluster.is_other("https://api:6443", "5f0c")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_report_passes_neither(name: str) -> None:
    document = copy.deepcopy(GOOD)
    BAD[name](document)
    assert not types_accept(document)
    assert not schema_accepts(document)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b'{"a": 1, "a": 2}', b"[" * 10000, b'{"a": NaN}', b"null"])
def test_bytes_that_are_no_report(data: bytes) -> None:
    with pytest.raises(FormatError):
        decode(data, "report")
