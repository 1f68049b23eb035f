from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loader.bundle.errors import FormatError, StorageError, TrustError
from loader.bundle.policy import Rule
from loader.claims import read_claim
from loader.opening import open_bundle
from loader.signaturefiles import passed_over, signatures_beside
from tests.support.bundles import (
    ARCHIVE,
    make_policy,
    make_signer,
    make_trust,
    tiny_recipe,
)
from tests.support.refusals import refused

BUILDER, APPROVER = make_signer("builder"), make_signer("approver")
SUMS = tiny_recipe().head.sums


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / ARCHIVE
    path.write_bytes(tiny_recipe().archive())
    return path


def test_signatures_beside_an_archive_are_found_by_name(archive: Path, tmp_path: Path) -> None:
    for name in (
        f"{ARCHIVE}.b.sig",
        f"{ARCHIVE}.a.sig",
        f"{ARCHIVE}.sha256.builder.sig",  # over the sidecar, not over the list
        f"{ARCHIVE}.J.Smith.sig",
        f"{ARCHIVE}.a b.sig",
        f"{ARCHIVE}.\n.sig",
        f"{ARCHIVE}..sig",
        f"{ARCHIVE}.sig",
        "other-1.tar.zst.a.sig",
        "a.sig",
    ):
        (tmp_path / name).write_bytes(name.encode())
    assert signatures_beside(archive) == [(label, f"{ARCHIVE}.{label}.sig".encode()) for label in ("a", "b")]
    assert [text.split(" is not read")[0] for _, text in passed_over(archive)] == [
        f"{ARCHIVE}.\n.sig",
        f"{ARCHIVE}..sig",
        f"{ARCHIVE}.J.Smith.sig",
        f"{ARCHIVE}.a b.sig",
        f"{ARCHIVE}.sig",
    ]


def test_further_signatures_may_lie_anywhere(archive: Path, tmp_path: Path) -> None:
    extra = tmp_path / "elsewhere" / "From The Approver.bin"
    extra.parent.mkdir()
    extra.write_bytes(APPROVER.sign(SUMS))
    trust = make_trust(make_policy(BUILDER, APPROVER, rule=Rule(2)))
    with refused(TrustError, "not enough signers"), open_bundle(archive, trust):
        pass
    with open_bundle(archive, trust, signatures=[extra]) as bundle:
        assert [(signer.key.name, signer.label) for signer in bundle.signers] == [
            ("builder", "builder"),
            ("approver", extra.name),
        ]


def test_a_signature_beside_counts(archive: Path) -> None:
    archive.write_bytes(replace(tiny_recipe(), signatures=()).archive())
    with refused(TrustError, "no trusted key signed"), open_bundle(archive, make_trust()):
        pass
    archive.with_name(f"{ARCHIVE}.builder.sig").write_bytes(BUILDER.sign(SUMS))
    with open_bundle(archive, make_trust()) as bundle:
        assert bundle.read("images/0000-app0/version").startswith(b"Directory Transport")


def test_a_signature_file_that_is_not_there(archive: Path, tmp_path: Path) -> None:
    with refused(StorageError, "none.sig"), open_bundle(archive, make_trust(), signatures=[tmp_path / "none.sig"]):
        pass


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with refused(StorageError, str(tmp_path / "none")):
        signatures_beside(tmp_path / "none" / ARCHIVE)


def test_what_an_archive_claims_is_read_without_trust(archive: Path) -> None:
    archive.write_bytes(replace(tiny_recipe(), signatures=()).archive())
    claimed = read_claim(archive)
    assert claimed.manifest == tiny_recipe().manifest
    assert claimed.head.id == tiny_recipe().head.id


def test_claims_that_contradict_each_other_are_not_shown(archive: Path) -> None:
    archive.write_bytes(replace(tiny_recipe(), sums=b"").archive())
    with refused(FormatError, "SHA256SUMS and bundle.json disagree"):
        read_claim(archive)
    archive.write_bytes(tiny_recipe().change(name="../demo").archive())
    with refused(FormatError, "name"):
        read_claim(archive)
