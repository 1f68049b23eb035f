from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from loader.bundle import strictjson
from loader.cluster.objects import Key
from loader.imports import ImportPolicy, ImportRecord
from loader.otherloads import OtherLoads
from loader.record import Record, decode
from tests.unit.loader.test_record import GOOD, HEX, NOW

OPERATOR = Key("apps/v1", "Deployment", "rook-ceph", "rook-ceph-operator")


def reported(bundle: str, *, state: str = "complete", uid: str | None = "5f0c", **row: Any) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    document["bundle"]["id"] = bundle
    document["cluster"]["uid"] = uid
    document["objects"][0].update(row)
    return {**document, "finished": NOW, "state": state}


def kept(state: Path, when: str, report: dict[str, Any], name: str = "stwo") -> Path:
    """Put a load's folder into the state folder."""
    record = ImportRecord(
        bundle=report["bundle"]["id"],
        cluster=report["cluster"]["server"],
        created=NOW,
        finished=NOW,
        format_version=1,
        host="h",
        loader="l",
        loader_sha256=HEX,
        name=name,
        policy=ImportPolicy((), None, 1, ()),
        reason=None,
        registry="r:5000",
        sequence=1,
        signers=(),
        started=NOW,
        state=report["state"],
        user="eve",
        verb="load",
        version="1",
    )
    folder = state / "loads" / f"{when}-{name}-1"
    folder.mkdir(parents=True)
    (folder / "import.json").write_bytes(strictjson.encode(record))
    (folder / "report.json").write_text(json.dumps(report))
    return folder


OURS: Record = decode(json.dumps(reported(HEX)).encode(), "ours")[0]


@pytest.mark.parametrize(
    ("report", "has"),
    [
        (reported("b" * 64), True),
        (reported("b" * 64, action="unchanged"), True),
        (reported("b" * 64, uid=None), True),
        (reported("b" * 64, action="skip"), False),
        (reported("b" * 64, restored=True), False),
        (reported("b" * 64, state="rolled-back"), False),
        (reported("b" * 64, uid="another"), False),
        (reported(HEX), False),
    ],
)
def test_what_the_load_of_another_bundle_has(report: dict[str, Any], has: bool, tmp_path: Path) -> None:
    kept(tmp_path, "20260131T000000Z", report)
    assert OtherLoads(tmp_path).having(OURS) == ({OPERATOR: "stwo 1"} if has else {})


def test_the_last_load_of_a_bundle_counts_and_a_damaged_one_does_not(tmp_path: Path) -> None:
    assert OtherLoads(tmp_path).having(OURS) == {}
    kept(tmp_path, "20260131T000000Z", reported("b" * 64))
    folder = kept(tmp_path, "20260201T000000Z", reported("b" * 64, state="rolled-back"))
    assert OtherLoads(tmp_path).having(OURS) == {}
    (folder / "import.json").write_text("{}")
    assert OtherLoads(tmp_path).having(OURS) == {OPERATOR: "stwo 1"}
    (tmp_path / "loads/20260131T000000Z-stwo-1/report.json").write_text("{}")
    assert OtherLoads(tmp_path).having(OURS) == {}


def test_a_rollback_is_kept_with_the_load_it_undid(tmp_path: Path) -> None:
    times = {"20260131T000000Z": HEX, "20260201T000000Z": "b" * 64}
    folders = [kept(tmp_path, when, reported(bundle)) for when, bundle in times.items()]
    other, _ = decode(json.dumps(reported("b" * 64)).encode(), "theirs")
    assert OtherLoads(tmp_path).having(other) == {OPERATOR: "stwo 1"}
    OtherLoads(tmp_path).undone(OURS, reported(HEX, state="rolled-back", restored=True))
    assert OtherLoads(tmp_path).having(other) == {}
    states = [json.loads((folder / "import.json").read_text())["state"] for folder in folders]
    assert states == ["rolled-back", "complete"]
    assert "<html" in (folders[0] / "report.html").read_text()
