from __future__ import annotations

import json
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import StorageError
from loader.bundle.verify import Trust, VerifiedBundle
from loader.imports import ImportLog, read_imports
from loader.report import Report
from loader.signing import CryptographyCheck
from loader.vault import Vault
from tests.support.bundles import NOW, make_policy, make_signer, make_trust, open_head, tiny_recipe
from tests.support.refusals import refused

LATER = "2026-01-01T00:05:00Z"
WHO = {"host": "bastion", "loader": "airgap-loader 1", "loaderSha256": "0" * 64, "user": "jo"}
BUILDER, OFFICER = make_signer("builder"), make_signer("officer")
CHECK = CryptographyCheck()


@pytest.fixture
def trust() -> Trust:
    return make_trust(replace(make_policy(BUILDER, OFFICER), sha256="ab" * 32))


@pytest.fixture
def bundle(trust: Trust) -> VerifiedBundle:
    recipe = tiny_recipe()
    return open_head(recipe.archive(), trust, beside=[("officer", OFFICER.sign(recipe.head.sums))])


def carried(state: Path, bundle: VerifiedBundle, trust: Trust, *, finish: bool = True, **facts: Any) -> Path:
    report = Report(state / "reports-out", WHO, Vault(state))
    report.begin(bundle, "registry.example", NOW)
    log = ImportLog(state)
    path = log.begin(bundle, trust, report.record, verb="load", reason=facts.get("reason"))
    if finish:
        report.succeeded()
        report.finish(LATER)
        log.finish(report.record)
    return path


def test_a_load_leaves_what_an_auditor_asks_for(tmp_path: Path, bundle: VerifiedBundle, trust: Trust) -> None:
    folder = carried(tmp_path, bundle, trust, reason="back to the old one")
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "SHA256SUMS",
        "SHA256SUMS.builder.sig",
        "SHA256SUMS.officer.sig",
        "bundle.json",
        "import.json",
        "keys/builder.pub",
        "keys/officer.pub",
        "report.html",
        "report.json",
    ]
    assert stat.S_IMODE((folder / "import.json").stat().st_mode) == 0o600
    (found,) = read_imports(tmp_path, check=CHECK)
    record = found.record
    assert record is not None
    assert (found.folder, found.fault, record.bundle) == (folder, "", bundle.id)
    assert (record.started, record.finished, record.state) == (NOW, LATER, "complete")
    assert (record.user, record.host, record.verb, record.reason) == ("jo", "bastion", "load", "back to the old one")
    assert [(s.name, s.fingerprint) for s in record.signers] == [
        ("builder", BUILDER.public.fingerprint),
        ("officer", OFFICER.public.fingerprint),
    ]
    assert (record.policy.sha256, record.policy.threshold) == ("ab" * 32, 1)
    assert found.manifest == bundle.manifest
    assert json.loads((folder / "report.json").read_text())["state"] == "complete"


@pytest.mark.parametrize("name", ["builder", "officer"])
def test_the_evidence_is_checked_with_openssl_alone(
    name: str, tmp_path: Path, bundle: VerifiedBundle, trust: Trust
) -> None:
    folder = carried(tmp_path, bundle, trust)
    line = ["openssl", "dgst", "-sha256", "-verify", f"keys/{name}.pub", "-signature", f"SHA256SUMS.{name}.sig"]
    said = subprocess.run([*line, "SHA256SUMS"], cwd=folder, capture_output=True, text=True)
    assert said.stdout == "Verified OK\n", said.stderr


def test_a_load_that_was_killed_is_in_the_history_as_such(tmp_path: Path, bundle: VerifiedBundle, trust: Trust) -> None:
    carried(tmp_path, bundle, trust, finish=False)
    (found,) = read_imports(tmp_path, check=CHECK)
    assert found.record is not None
    assert (found.record.state, found.record.finished) == ("interrupted", None)


def test_each_load_has_a_folder_of_its_own(tmp_path: Path, bundle: VerifiedBundle, trust: Trust) -> None:
    assert len({carried(tmp_path, bundle, trust) for _ in range(3)}) == 3
    assert len(read_imports(tmp_path, "demo", check=CHECK)) == 3
    assert read_imports(tmp_path, "other", check=CHECK) == []
    assert read_imports(tmp_path / "none", check=CHECK) == []


@pytest.mark.parametrize("name", ["SHA256SUMS", "bundle.json", "import.json"])
def test_evidence_that_was_changed_is_shown_as_damaged(
    name: str, tmp_path: Path, bundle: VerifiedBundle, trust: Trust
) -> None:
    path = carried(tmp_path, bundle, trust) / name
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    (found,) = read_imports(tmp_path, check=CHECK)
    assert found.fault
    path.unlink()
    (found,) = read_imports(tmp_path, check=CHECK)
    assert name in found.fault


@pytest.mark.parametrize("name", ["SHA256SUMS.officer.sig", "keys/officer.pub"])
def test_a_signer_whose_signature_does_not_hold_is_shown_as_damage(
    name: str, tmp_path: Path, bundle: VerifiedBundle, trust: Trust
) -> None:
    folder = carried(tmp_path, bundle, trust)
    other = {"SHA256SUMS.officer.sig": "SHA256SUMS.builder.sig", "keys/officer.pub": "keys/builder.pub"}[name]
    (folder / name).write_bytes((folder / other).read_bytes())
    (found,) = read_imports(tmp_path, check=CHECK)
    assert "the signature of officer over SHA256SUMS does not hold" in found.fault
    (folder / name).unlink()
    (found,) = read_imports(tmp_path, check=CHECK)
    assert "cannot read" in found.fault


def test_a_signer_with_the_name_of_a_path_is_not_followed(tmp_path: Path, bundle: VerifiedBundle, trust: Trust) -> None:
    record = carried(tmp_path, bundle, trust) / "import.json"
    record.write_bytes(record.read_bytes().replace(b'"name":"officer"', b'"name":"../../x"'))
    (found,) = read_imports(tmp_path, check=CHECK)
    assert "can't name a key" in found.fault


def test_a_state_folder_that_cannot_be_written(tmp_path: Path, bundle: VerifiedBundle, trust: Trust) -> None:
    (tmp_path / "loads").write_bytes(b"")
    with refused(StorageError, "loads"):
        carried(tmp_path, bundle, trust)
    with refused(StorageError, "loads"):
        read_imports(tmp_path, check=CHECK)
