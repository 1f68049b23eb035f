from __future__ import annotations

import dataclasses
import hashlib
import stat
from pathlib import Path

import pytest

from bundler.sign import open_signer, sign_bundle, write_key_pair
from loader.attach import check_label
from loader.bundle.errors import BundleError, ConfigError, StorageError, TrustError
from loader.bundle.policy import Rule
from loader.opening import open_bundle
from loader.signing import new_key_pair
from tests.support.bundles import ARCHIVE, make_policy, make_signer, make_trust, private_pem, public_pem, tiny_recipe
from tests.support.refusals import refused

BUILDER, APPROVER, STRANGER = make_signer("builder"), make_signer("approver"), make_signer("stranger")
SUMS = tiny_recipe().head.sums


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / ARCHIVE
    path.write_bytes(tiny_recipe().archive())
    path.with_name(f"{ARCHIVE}.sha256").write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {ARCHIVE}\n")
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "Builder.key"
    path.write_bytes(private_pem(BUILDER._private))
    return path


def test_a_key_by_path_is_named_for_its_file(key: Path) -> None:
    for uri in (str(key), f"file:{key}"):
        signer = open_signer(uri, label=None, environ={})
        assert (signer.label, signer.public.spki) == ("builder", BUILDER.public.spki)
    assert open_signer(str(key), label="release", environ={}).label == "release"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_key_that_others_can_exchange(mode: int, key: Path) -> None:
    key.chmod(mode)
    with refused(TrustError, "Builder.key", "writable by others"):
        open_signer(str(key), label=None, environ={})


def test_a_key_in_a_variable(key: Path) -> None:
    signer = open_signer("env:SIGNING-KEY", label=None, environ={"SIGNING-KEY": key.read_text()})
    assert (signer.label, signer.public.spki) == ("signing-key", BUILDER.public.spki)
    with refused(ConfigError, "env:OTHER", "not set"):
        open_signer("env:OTHER", label=None, environ={})


def test_a_locked_key(tmp_path: Path) -> None:
    private, public = new_key_pair(b"open sesame")
    (tmp_path / "locked.key").write_bytes(private)
    (tmp_path / "word").write_bytes(b"open sesame\r\n")
    signer = open_signer(str(tmp_path / "locked.key"), label=None, environ={}, passphrase_file=tmp_path / "word")
    assert signer.public.pem == public
    with refused(ConfigError, "locked.key"):
        open_signer(str(tmp_path / "locked.key"), label=None, environ={})


def test_what_is_no_key(tmp_path: Path) -> None:
    with refused(ConfigError, "--key vault:"):
        open_signer("vault:secret/key", label=None, environ={})
    with refused(StorageError, str(tmp_path / "none.key")):
        open_signer(str(tmp_path / "none.key"), label=None, environ={})


@pytest.mark.parametrize("label", ["", "A", "a b", "a.b", "a/b", "a" * 33, "a\n", "\u00e4"])
def test_a_label_that_no_file_can_bear(label: str, key: Path) -> None:
    with refused(ConfigError, "can't name a signature"):
        check_label(label)
    if label:
        with refused(ConfigError, "can't name a signature"):
            open_signer(str(key), label=label, environ={})


def test_a_new_key_pair_is_for_its_owner_alone(tmp_path: Path) -> None:
    private, public, known = write_key_pair("release", tmp_path / "keys", None)
    assert (private.name, public.name) == ("release.key", "release.pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert open_signer(str(private), label=None, environ={}).public.fingerprint == known.fingerprint
    assert public.read_bytes() == known.pem


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    write_key_pair("one", tmp_path, None)
    before = (tmp_path / "one.key").read_bytes()
    with refused(ConfigError, "one.key exists"):
        write_key_pair("one", tmp_path, None)
    assert (tmp_path / "one.key").read_bytes() == before
    (tmp_path / "two.pub").symlink_to(tmp_path / "nowhere")
    with refused(ConfigError, "two.pub exists"):
        write_key_pair("two", tmp_path, None)
    assert not (tmp_path / "two.key").exists()


def test_a_new_key_behind_a_passphrase(tmp_path: Path) -> None:
    (tmp_path / "word").write_bytes(b"open sesame\n")
    private, _, _ = write_key_pair("locked", tmp_path, tmp_path / "word")
    assert b"ENCRYPTED" in private.read_bytes()
    signer = open_signer(str(private), label=None, environ={}, passphrase_file=tmp_path / "word")
    assert signer.label == "locked"


def test_a_folder_for_keys_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with refused(StorageError, str(tmp_path / "file")):
        write_key_pair("one", tmp_path / "file", None)


def test_a_further_signature_counts_and_changes_nothing(archive: Path) -> None:
    before = archive.read_bytes()
    written = sign_bundle(archive, APPROVER)
    assert [path.name for path in written] == [f"{ARCHIVE}.approver.sig", f"{ARCHIVE}.sha256.approver.sig"]
    assert archive.read_bytes() == before
    with open_bundle(archive, make_trust(make_policy(BUILDER, APPROVER, rule=Rule(2)))) as bundle:
        assert len(bundle.signers) == 2
    archive.with_name(f"{ARCHIVE}.sha256").unlink()
    assert len(sign_bundle(archive, APPROVER)) == 1


def test_another_keys_signature_is_not_overwritten(archive: Path) -> None:
    first = sign_bundle(archive, APPROVER)
    before = [path.read_bytes() for path in first]
    with refused(ConfigError, f"{ARCHIVE}.approver.sig is there already", "not this key's"):
        sign_bundle(archive, dataclasses.replace(STRANGER, label="approver"))
    assert [path.read_bytes() for path in first] == before
    assert sign_bundle(archive, APPROVER) == first


def test_signing_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(b"no bundle")
    with pytest.raises(BundleError):
        sign_bundle(tmp_path / ARCHIVE, APPROVER)
    assert [entry.name for entry in tmp_path.iterdir()] == [ARCHIVE]


@pytest.mark.parametrize(
    "other", [tiny_recipe().change(version="9").head.sums, public_pem(STRANGER._private.public_key())]
)
def test_what_lies_there_as_the_sidecar_is_not_signed(archive: Path, other: bytes) -> None:
    archive.with_name(f"{ARCHIVE}.sha256").write_bytes(other)
    with refused(TrustError, f"{ARCHIVE}.sha256 is not the sidecar of {ARCHIVE}", "SHA-256"):
        sign_bundle(archive, APPROVER)
    assert list(archive.parent.glob("*.sig")) == []


def test_a_list_that_its_manifest_does_not_make_is_not_signed(tmp_path: Path) -> None:
    listed = tiny_recipe()
    path = tmp_path / ARCHIVE
    path.write_bytes(dataclasses.replace(listed, sums=public_pem(STRANGER._private.public_key())).archive())
    with pytest.raises(TrustError):
        sign_bundle(path, APPROVER)
    path.write_bytes(dataclasses.replace(listed, sums=listed.head.sums + b"0" * 64 + b"  more\n").archive())
    with pytest.raises(BundleError):
        sign_bundle(path, APPROVER)
    assert [entry.name for entry in tmp_path.iterdir()] == [ARCHIVE]


@pytest.mark.parametrize("which", [f"{ARCHIVE}.sha256.approver.sig", f"{ARCHIVE}.approver.sigstore.json"])
def test_no_file_of_another_key_is_overwritten(archive: Path, which: str) -> None:
    for path in sign_bundle(archive, dataclasses.replace(STRANGER, label="approver"), sigstore=True):
        if path.name != which:
            path.unlink()
    before = archive.with_name(which).read_bytes()
    with refused(ConfigError, f"{which} is there already", "not this key's"):
        sign_bundle(archive, APPROVER, sigstore=True)
    assert archive.with_name(which).read_bytes() == before
    assert [path.name for path in archive.parent.glob("*approver*")] == [which]


def test_a_newer_file_replaces_the_own_older_one(archive: Path) -> None:
    assert sign_bundle(archive, APPROVER, sigstore=True) == sign_bundle(archive, APPROVER, sigstore=True)
