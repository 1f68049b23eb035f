from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.attach import Signature, attach_signature
from loader.bundle.errors import ConfigError, StorageError, TrustError
from loader.bundle.policy import Rule, TrustPolicy
from loader.opening import open_bundle
from loader.signing import CryptographyCheck
from tests.support.bundles import ARCHIVE, make_policy, make_signer, make_trust, tiny_recipe
from tests.support.discs import bundle_set
from tests.support.refusals import refused
from tests.support.setfolder import write_discs

BUILDER, APPROVER, STRANGER = make_signer("builder"), make_signer("approver"), make_signer("stranger")
SUMS = tiny_recipe().head.sums
BOTH = make_policy(BUILDER, APPROVER, rule=Rule(2))
CHECK = CryptographyCheck()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "disc" / ARCHIVE
    path.parent.mkdir()
    path.write_bytes(tiny_recipe().archive())
    path.with_name(f"{ARCHIVE}.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {ARCHIVE}\n")
    return path


def mailed(folder: Path, data: bytes, label: str = "approver") -> Signature:
    mail = folder / "mail"
    mail.mkdir(exist_ok=True)
    (mail / "approver.pub").write_bytes(APPROVER.public.pem)
    (mail / "signature").write_bytes(data)
    return Signature(label, mail / "approver.pub", mail / "signature")


def attach(archive: Path, data: bytes, label: str = "approver", output: Path | None = None) -> Path:
    return attach_signature([archive], mailed(archive.parent.parent, data, label), CHECK, output=output)


def test_another_person_s_signature_is_stored_for_what_it_signs(archive: Path) -> None:
    sidecar = archive.with_name(f"{ARCHIVE}.sha256").read_bytes()
    assert attach(archive, APPROVER.sign(SUMS)) == archive.with_name(f"{ARCHIVE}.approver.sig")
    assert attach(archive, APPROVER.sign(sidecar)) == archive.with_name(f"{ARCHIVE}.sha256.approver.sig")
    with open_bundle(archive, make_trust(BOTH)) as bundle:
        assert sorted(signer.key.name for signer in bundle.signers) == ["approver", "builder"]


@pytest.mark.parametrize(
    "signature",
    [b"", STRANGER.sign(SUMS), APPROVER.sign(SUMS + b"\n"), APPROVER.sign(SUMS) + b"\n", APPROVER.sign(b"")],
    ids=["empty", "of another key", "of other bytes", "with a line feed", "of nothing"],
)
def test_a_signature_that_does_not_verify_is_not_stored(signature: bytes, archive: Path) -> None:
    with refused(TrustError, "signature", "approver.pub"):
        attach(archive, signature)
    assert not list(archive.parent.glob("*.approver.sig"))


def test_what_to_type_names_the_hash_of_the_key(archive: Path) -> None:
    given = mailed(archive.parent.parent, b"")
    given.public_key.write_bytes(make_signer("large", "P-384").public.pem)
    with pytest.raises(TrustError) as caught:
        attach_signature([archive], given, CHECK)
    assert "openssl dgst -sha384 -sign" in caught.value.hint


def test_a_signature_under_a_label_that_leads_elsewhere(archive: Path) -> None:
    with refused(ConfigError, "can't name a signature"):
        attach(archive, APPROVER.sign(SUMS), "../../approver")


def test_a_bundle_without_a_sidecar_takes_signatures_too(archive: Path) -> None:
    archive.with_name(f"{ARCHIVE}.sha256").unlink()
    assert attach(archive, APPROVER.sign(SUMS)).is_file()


def test_a_medium_that_cannot_be_written_leaves_it_to_the_user(archive: Path) -> None:
    path = attach(archive, APPROVER.sign(SUMS), output=archive.parent.parent / "safe")
    assert path == archive.parent.parent / "safe" / f"{ARCHIVE}.approver.sig"
    assert not list(archive.parent.glob("*.approver.sig"))
    with open_bundle(archive, make_trust(BOTH), signatures=[path]) as bundle:
        assert len(bundle.signers) == 2
    (archive.parent / "file").write_bytes(b"")
    with refused(StorageError, "file"):
        attach(archive, APPROVER.sign(SUMS), output=archive.parent / "file")


def test_a_newer_signature_replaces_the_signer_s_own_and_nobody_else_s(archive: Path) -> None:
    there = archive.with_name(f"{ARCHIVE}.approver.sig")
    there.write_bytes(STRANGER.sign(SUMS))
    with refused(ConfigError, str(there)):
        attach(archive, APPROVER.sign(SUMS))
    there.unlink()
    for _ in range(2):
        assert attach(archive, APPROVER.sign(SUMS)) == there


def test_a_signature_beside_the_discs_of_a_set_counts(tmp_path: Path) -> None:
    made = bundle_set()
    discs = write_discs(tmp_path / "set", made, "v01", "v02", "v03")
    with pytest.raises(TrustError, match="required signer"), open_bundle(discs, make_trust(_third())):
        pass
    third = make_signer("third")
    given = mailed(tmp_path, third.sign(made.common["bundle/SHA256SUMS"]), "third")
    given.public_key.write_bytes(third.public.pem)
    path = attach_signature(discs, given, CHECK)
    assert path == tmp_path / "set" / f"{ARCHIVE}.third.sig"
    for sources in (discs, [tmp_path / "set"]):
        with open_bundle(sources, make_trust(_third())) as bundle:
            assert "third" in {signer.key.name for signer in bundle.signers}


def test_a_folder_of_mounts_that_cannot_be_listed_costs_its_signatures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    discs = write_discs(tmp_path / "set", bundle_set(), "v01", "v02", "v03")
    listed = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path == tmp_path / "set":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with open_bundle(discs, make_trust()) as bundle:
        assert [signer.key.name for signer in bundle.signers] == ["builder"]


def _third() -> TrustPolicy:
    return make_policy(BUILDER, make_signer("third"), rule=Rule(1, ("third",)))
