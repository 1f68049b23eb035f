from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import ClusterError, Interrupted, Pending, StorageError
from loader.bundle.verify import VerifiedBundle
from loader.cluster.waits import Waited
from loader.loadpage import load_page
from loader.oci.pushplan import BlobReport, ImageReport, PushReport
from loader.record import decode
from loader.report import Report
from loader.vault import Vault
from tests.support.bundles import NOW, make_signer, open_head, tiny_recipe
from tests.support.refusals import refused
from tests.unit.loader.cluster import makers

LATER = "2026-01-01T00:05:00Z"
WHO = {"host": "bastion", "loader": "airgap-loader 1", "loaderSha256": "0" * 64, "user": "jo"}
NAME = "demo-1.load.json"


@pytest.fixture(scope="module")
def bundle() -> VerifiedBundle:
    return open_head(tiny_recipe().change(not_after="2025-12-31T00:00:00Z").archive())


def report(folder: Path, **facts: str) -> Report:
    return Report(folder / "reports", {**WHO, **facts}, Vault(folder / "state"))


def read(folder: Path) -> dict[str, Any]:
    data = (folder / "reports" / NAME).read_bytes()
    decode(data, NAME)  # what we write we must be able to read
    plain: dict[str, Any] = json.loads(data)
    return plain


def test_a_run_that_is_killed_left_a_true_report(bundle: VerifiedBundle, tmp_path: Path) -> None:
    first = report(tmp_path)
    assert first.path is None
    assert first.begin(bundle, "registry.example", NOW) == ""
    written = read(tmp_path)
    assert (written["state"], written["finished"]) == ("interrupted", None)
    assert written["bundle"] == {
        "created": "2025-12-01T00:00:00Z",
        "id": bundle.id,
        "name": "demo",
        "sequence": 7,
        "version": "1",
    }
    assert written["signers"] == [{"fingerprint": make_signer("builder").public.fingerprint, "name": "builder"}]
    assert written["warnings"] == list(bundle.warnings)
    assert not (tmp_path / "reports" / "demo-1.load.html").exists()


def test_what_the_preflight_warns_of_is_kept_and_is_the_last_runs(bundle: VerifiedBundle, tmp_path: Path) -> None:
    report(tmp_path).begin(bundle, "registry.example", NOW, warnings=["pool worker is paused", "password: x\x1b[2J"])
    assert read(tmp_path)["warnings"] == [*bundle.warnings, "pool worker is paused", "password: (hidden)"]
    again = report(tmp_path)
    again.begin(bundle, "registry.example", LATER, warnings=["clocks are apart"])
    assert read(tmp_path)["warnings"] == [*bundle.warnings, "clocks are apart"]
    again.finish(LATER)
    assert "<li>clocks are apart</li>" in (tmp_path / "reports/demo-1.load.html").read_text()


def test_a_run_that_succeeds(bundle: VerifiedBundle, tmp_path: Path) -> None:
    run = report(tmp_path)
    run.begin(bundle, "registry.example", NOW)
    image = ImageReport("apps/app0", "v1", "sha256:" + "0" * 64, 1, 0, 2, 1000, 1, tag_moved=True, error=None)
    run.pushed(PushReport((image,), BlobReport({})))
    run.waited(Waited("pools", "documents/x", 61.4, "done", "all updated"))
    run.succeeded()
    run.finish(LATER)
    written = read(tmp_path)
    assert (written["state"], written["finished"], written["error"]) == ("complete", LATER, None)
    assert [row["repository"] for row in written["images"]] == ["apps/app0"]
    assert not run.changed
    page = (tmp_path / "reports" / "demo-1.load.html").read_text()
    assert "demo 1: load complete" in page
    assert "apps/app0" in page


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (ClusterError("oc failed", why="forbidden", hint="log in"), "failed"),
        (Pending("not finished", why="pool paused"), "pending"),
        (Interrupted("Ctrl-C"), "interrupted"),
    ],
)
def test_an_error_is_written_down_as_what_it_is(
    error: ClusterError | Interrupted, state: str, bundle: VerifiedBundle, tmp_path: Path
) -> None:
    run = report(tmp_path)
    run.begin(bundle, "registry.example", NOW)
    run.failed(error)
    run.finish(LATER)
    written = read(tmp_path)
    assert written["state"] == state
    assert written["error"] == {
        "code": error.exit_code, "hint": error.hint, "message": error.message, "why": error.why
    }  # fmt: skip


def test_what_others_say_is_made_printable(bundle: VerifiedBundle, tmp_path: Path) -> None:
    run = report(tmp_path, user="j\x1b[2Jo\u00e9")
    run.begin(bundle, "registry.example", NOW)
    run.failed(ClusterError("bad\x07", why="\x1b]0;owned\x07\nsecond line"))
    run.finish(LATER)
    text = (tmp_path / "reports" / NAME).read_text()
    assert "\\u001b" not in text
    assert "\\u0007" not in text
    assert read(tmp_path)["state"] == "failed"
    assert "\x1b" not in load_page(run.record)


def test_the_same_bundle_again_goes_on_with_its_report(bundle: VerifiedBundle, tmp_path: Path) -> None:
    for when in (NOW, LATER):
        run = report(tmp_path)
        assert run.begin(bundle, "registry.example", when) == ""
        run.succeeded()
        run.finish(when)
    assert [row["started"] for row in read(tmp_path)["runs"]] == [NOW, LATER]
    assert [path.name for path in (tmp_path / "reports").glob("*.json")] == [NAME]


@pytest.mark.parametrize("content", [b"{}", b"not json", b""])
def test_a_file_that_is_no_report_is_kept_and_said(content: bytes, bundle: VerifiedBundle, tmp_path: Path) -> None:
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / NAME).write_bytes(content)
    said = report(tmp_path).begin(bundle, "registry.example", NOW)
    kept = tmp_path / "reports" / "demo-1.load.1.json"
    assert str(kept) in said
    assert kept.read_bytes() == content
    assert len(read(tmp_path)["runs"]) == 1


def test_a_report_that_someone_edited_is_not_gone_on_with(bundle: VerifiedBundle, tmp_path: Path) -> None:
    # Its "before" would be put back by a rollback.
    report(tmp_path).begin(bundle, "registry.example", NOW)
    path = tmp_path / "reports" / NAME
    path.write_bytes(path.read_bytes().replace(b"registry.example", b"evil.example"))
    assert "did not see it written" in report(tmp_path).begin(bundle, "registry.example", LATER)
    assert read(tmp_path)["registry"] == "registry.example"


def test_a_report_of_another_bundle_of_that_name_is_kept(bundle: VerifiedBundle, tmp_path: Path) -> None:
    report(tmp_path).begin(bundle, "registry.example", NOW)
    other = open_head(tiny_recipe().change(sequence=8).archive())
    assert "another bundle" in report(tmp_path).begin(other, "registry.example", LATER)
    assert json.loads((tmp_path / "reports" / "demo-1.load.1.json").read_bytes())["bundle"]["id"] == bundle.id


def test_a_report_goes_on_only_on_the_cluster_it_is_of(bundle: VerifiedBundle, tmp_path: Path) -> None:
    def begun(uid: str | None) -> str:
        there = dataclasses.replace(makers.survey(), uid=uid)
        return report(tmp_path).begin(bundle, "registry.example", NOW, there)

    # Who may not read the uid cannot tell, and takes nothing away from what is known.
    assert [begun(uid) for uid in (None, "5f0c", None, "5f0c")] == [""] * 4
    assert read(tmp_path)["cluster"]["uid"] == "5f0c"
    assert "another bundle or cluster" in begun("0a0b")
    assert (read(tmp_path)["cluster"]["uid"], len(read(tmp_path)["runs"])) == ("0a0b", 1)


def test_a_folder_that_cannot_be_written_is_seen_before_anything_else(bundle: VerifiedBundle, tmp_path: Path) -> None:
    (tmp_path / "reports").write_bytes(b"")
    with refused(StorageError, NAME):
        report(tmp_path).begin(bundle, "registry.example", NOW)
