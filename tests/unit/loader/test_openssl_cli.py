from __future__ import annotations

from pathlib import Path

import pytest

from loader import openssl_cli
from loader.bundle.errors import StorageError
from loader.openssl_cli import OpensslCheck
from tests.support.bundles import make_signer
from tests.support.refusals import refused

SIGNER = make_signer("builder")


def fake(folder: Path, script: str) -> OpensslCheck:
    """A program in place of openssl, and a folder for the check's temporary files."""
    (folder / "temporary").mkdir()
    path = folder / "openssl"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return OpensslCheck(str(path), str(folder / "temporary"))


def verdict(check: OpensslCheck, kind: str = "P-256") -> bool:
    return check.verify(make_signer(f"good-{kind.lower()}", kind).public, b"signature", b"message")


@pytest.mark.parametrize(
    ("script", "good"),
    [
        ("echo Verified OK", True),
        ("echo Verification failure; exit 1", False),
        ("echo Verified OK; exit 1", False),
        ("exit 0", False),
        ("echo VERIFIED; exit 0", False),
    ],
)
def test_only_its_words_and_its_status_together_are_a_yes(script: str, good: bool, tmp_path: Path) -> None:
    check = fake(tmp_path, f"cat >/dev/null; {script}")
    assert verdict(check) is good
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(("kind", "flag"), [("P-256", "-sha256"), ("P-384", "-sha384"), ("RSA", "-sha256")])
def test_it_gets_key_and_signature_as_files_and_the_message_on_stdin(kind: str, flag: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    check = fake(tmp_path, f'echo "$@" >{seen}; cat "$4" "$6" >>{seen}; cat >>{seen}; env >{seen}.env')
    verdict(check, kind)
    words, _, rest = seen.read_bytes().partition(b"\n")
    argv = words.decode().split()
    assert argv[:2] + argv[2:3] + argv[4:5] == ["dgst", flag, "-verify", "-signature"]
    assert rest == make_signer(f"good-{kind.lower()}", kind).public.pem + b"signature" + b"message"
    # Nothing of the caller's environment: OPENSSL_CONF must not choose who judges.
    names = {line.partition("=")[0] for line in Path(f"{seen}.env").read_text().splitlines()}
    assert names <= {"PATH", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"}


def test_a_program_that_is_not_there_is_no_verdict(tmp_path: Path) -> None:
    with refused(StorageError, "cannot run", "/nonexistent/openssl"):
        verdict(OpensslCheck("/nonexistent/openssl", str(tmp_path)))


def test_a_folder_that_cannot_be_written_is_no_verdict(tmp_path: Path) -> None:
    check = OpensslCheck("/bin/true", str(tmp_path / "none"))
    with refused(StorageError, "cannot run", str(tmp_path / "none")):
        verdict(check)


def test_a_program_that_hangs_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssl_cli, "_TIMEOUT", 0.2)
    check = fake(tmp_path, "exec sleep 60")
    with refused(StorageError, "cannot run"):
        verdict(check)


def test_a_message_it_does_not_read_is_no_error(tmp_path: Path) -> None:
    check = fake(tmp_path, "exit 1")
    assert not check.verify(SIGNER.public, b"signature", bytes(2**20))


def test_it_is_called_by_an_absolute_path() -> None:
    assert openssl_cli.PROGRAM == "/usr/bin/openssl"
