from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from loader import signing
from loader.bundle.errors import AirgapError, ConfigError, StorageError
from loader.bundle.keys import P256, parse_public_key
from loader.signing import CryptographyCheck, find_check, load_signer, new_key_pair, read_small_file
from tests.support.bundles import make_signer, private_pem
from tests.support.refusals import refused

MESSAGE = b"the list"


@pytest.fixture
def fips(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The kernel's FIPS flag, a file of ours."""
    flag = tmp_path / "fips_enabled"
    monkeypatch.setattr(signing, "_FIPS_FLAG", flag)
    return flag


def without_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric.ec", None)


@pytest.mark.parametrize(
    ("flag", "here", "name"),
    [
        (None, True, "cryptography"),
        ("0\n", True, "cryptography"),
        ("1\n", True, "openssl"),
        (None, False, "openssl"),
        ("1\n", False, "openssl"),
    ],
)
def test_auto_takes_the_host_s_openssl_in_fips_mode_or_without_the_package(
    flag: str | None, here: bool, name: str, fips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "PROGRAM", sys.executable)  # any program that is there
    if flag is not None:
        fips.write_text(flag)
    if not here:
        without_cryptography(monkeypatch)
    assert find_check().name == name
    assert find_check("openssl").name == "openssl"


@pytest.mark.usefixtures("fips")
def test_a_backend_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused(ConfigError, "--crypto gpg"):
        find_check("gpg")
    without_cryptography(monkeypatch)
    with refused(ConfigError, "--crypto cryptography", "not installed"):
        find_check("cryptography")
    monkeypatch.setattr(signing, "PROGRAM", "/nonexistent/openssl")
    for choice in ("auto", "openssl"):
        with refused(ConfigError, "/nonexistent/openssl"):
            find_check(choice)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA"])
def test_what_is_signed_verifies_and_nothing_else(kind: str) -> None:
    signer, check = make_signer(f"good-{kind.lower()}", kind), CryptographyCheck()
    signature = signer.sign(MESSAGE)
    assert signer.public.has_shape(signature)
    assert check.verify(signer.public, signature, MESSAGE)
    assert not check.verify(signer.public, signature, MESSAGE + b"\n")
    assert not check.verify(make_signer("other").public, signature, MESSAGE)
    assert not check.verify(signer.public, b"", MESSAGE)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA"])
def test_the_same_key_and_bytes_give_the_same_signature(kind: str) -> None:
    signer = make_signer(f"good-{kind.lower()}", kind)
    assert signer.sign(MESSAGE) == signer.sign(MESSAGE)


def test_a_key_that_is_none_verifies_nothing() -> None:
    signer = make_signer("builder")
    broken = replace(signer.public, spki=b"\x30\x00")
    assert not CryptographyCheck().verify(broken, signer.sign(MESSAGE), MESSAGE)


def test_the_package_of_an_older_host_checks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = make_signer("old host")
    signature, newer = signer.sign(MESSAGE), ec.ECDSA

    # As in RHEL 9 (36.0) and Debian 12 (38.0): signing in the deterministic way came with 43.
    def older(algorithm: Any) -> ec.ECDSA:
        return newer(algorithm)

    monkeypatch.setattr(ec, "ECDSA", older)
    assert CryptographyCheck().verify(signer.public, signature, MESSAGE)
    assert not CryptographyCheck().verify(signer.public, signature, b"another list")


def test_a_new_key_pair_signs() -> None:
    private, public = new_key_pair()
    signer = load_signer(private, label="new", where="new.key")
    assert signer.label == "new"
    assert signer.public.algorithm == P256
    assert parse_public_key(public, "new.key") == signer.public
    assert new_key_pair() != (private, public)


def test_a_passphrase_locks_a_key() -> None:
    private, _ = new_key_pair(b"open sesame")
    assert load_signer(private, label="new", where="new.key", passphrase=b"open sesame").label == "new"
    for wrong in (None, b"open barley"):
        with refused(ConfigError, "new.key"):
            load_signer(private, label="new", where="new.key", passphrase=wrong)
    plain, _ = new_key_pair()
    with refused(ConfigError, "new.key"):
        load_signer(plain, label="new", where="new.key", passphrase=b"not needed")


def test_a_key_in_the_traditional_form_is_read_too() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert load_signer(pem, label="old", where="old.key").public.algorithm == P256


def weak_keys() -> dict[str, bytes]:
    return {
        "Ed25519": private_pem(ed25519.Ed25519PrivateKey.generate()),
        "P-521": private_pem(ec.generate_private_key(ec.SECP521R1())),
        "RSA-2048": private_pem(rsa.generate_private_key(65537, 2048)),
    }


def test_a_key_no_loader_would_accept_does_not_sign() -> None:
    for name, pem in weak_keys().items():
        with refused(ConfigError, name, "not of an allowed kind"):
            load_signer(pem, label="weak", where=name)


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\xff" * 100])
def test_what_is_no_private_key(pem: bytes) -> None:
    with refused(ConfigError, "some.key", "can't be read"):
        load_signer(pem, label="some", where="some.key")


def test_an_error_never_shows_the_key() -> None:
    pem = private_pem(ec.generate_private_key(ec.SECP256R1())).replace(b"\n", b"\n!", 2)
    with pytest.raises(ConfigError) as caught:
        load_signer(pem, label="some", where="some.key")
    secret = pem.decode().splitlines()[1][1:]
    assert secret not in f"{caught.value.message}{caught.value.why}{caught.value.hint}"


def test_a_small_file_is_read_up_to_its_cap(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"x" * 10)
    assert read_small_file(path, 10) == b"x" * 10
    with refused(AirgapError, str(path), "more than 9 bytes"):
        read_small_file(path, 9)


def test_a_file_that_is_none_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "folder", "none"):
        with refused(StorageError, f"cannot read {tmp_path / name}"):
            read_small_file(tmp_path / name)
