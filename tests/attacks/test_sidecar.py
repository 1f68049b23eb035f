"""The archive's own hash: bits that change no content, sidecars that were exchanged, and ones nobody signed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from loader.bundle.errors import ConfigError, FormatError, TrustError
from loader.media.verifying import verify_beside
from loader.opening import open_source
from loader.sidecar import SidecarCheck
from tests.support.bundles import (
    ARCHIVE,
    full_recipe,
    join_frames,
    lay_frames,
    make_signer,
    make_trust,
    tiny_recipe,
)
from tests.support.discs import bundle_set
from tests.support.refusals import refused
from tests.support.setfolder import write_discs

HONEST = full_recipe().archive()
RAW = tiny_recipe().archive()


def smaller_frame(content: bytes) -> bytes:
    """A frame of the allowed form and the same content, made by another level: other bits, nothing else."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        9, window_log=22, write_checksum=True, write_content_size=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def beside(data: bytes, name: str = ARCHIVE) -> bytes:
    """The sidecar of an archive, as sha256sum writes it."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()


def put(folder: Path, archive: bytes, sidecar: bytes | None = None, signer: str | None = "builder") -> Path:
    """Write an archive, its sidecar and its signature."""
    path = folder / ARCHIVE
    path.write_bytes(archive)
    if sidecar is not None:
        (folder / f"{ARCHIVE}.sha256").write_bytes(sidecar)
        if signer is not None:
            (folder / f"{ARCHIVE}.sha256.{signer}.sig").write_bytes(make_signer(signer).sign(sidecar))
    return path


def check(path: Path, *, required: bool = False) -> SidecarCheck:
    with open_source(path, make_trust()) as opened:
        return verify_beside(opened, lambda _: None, required=required)


def test_the_honest_one_is_compared_and_said(tmp_path: Path) -> None:
    found = check(put(tmp_path, HONEST, beside(HONEST)), required=True)
    ((step, text),) = found.lines()
    assert (step, text[:3]) == ("sidecar", "ok:")
    assert "builder" in text


def test_zstd_frames_of_other_bits_and_the_same_content(tmp_path: Path) -> None:
    other = join_frames(lay_frames(full_recipe().pieces(), compress=smaller_frame))
    assert other != HONEST
    path = put(tmp_path, other, beside(HONEST))
    with refused(TrustError, "is not the file that its sidecar names", hashlib.sha256(other).hexdigest()):
        check(path, required=True)
    # Otherwise it passes as what it is, the same content, and that the rest was not looked at is said.
    ((_, text),) = check(path).lines()
    assert text == "not compared: bits of zstd frames that change no content, which --sidecar would see"


def test_a_sidecar_of_another_archive(tmp_path: Path) -> None:
    path = put(tmp_path, RAW, beside(HONEST))
    assert list(check(path).lines()) == []  # has no zstd frames: every bit of it is proven without
    with refused(TrustError, "is not the file that its sidecar names"):
        check(path, required=True)
    assert check(put(tmp_path, RAW, beside(RAW)), required=True).result


@pytest.mark.parametrize("signer", [None, "stranger"])
def test_a_sidecar_that_nobody_trusted_signed_says_nothing(signer: str | None, tmp_path: Path) -> None:
    path = put(tmp_path, HONEST, beside(b"another"), signer)
    assert not check(path).result
    with refused(TrustError, "cannot be compared", "no trusted key signed"):
        check(path, required=True)


def test_no_sidecar_is_said(tmp_path: Path) -> None:
    path = put(tmp_path, HONEST)
    assert not check(path).result
    with refused(TrustError, "cannot be compared", "No such file"):
        check(path, required=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text + text,
        lambda text: text.replace(b"  ", b" *"),
        lambda text: text.replace(b"demo", b"../demo"),
        lambda _: full_recipe().head.sums,
    ],
    ids=["CRLF", "BOM", "twice", "binary mark", "a path", "the bundle's list"],
)
def test_a_signed_sidecar_that_is(change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = put(tmp_path, HONEST, change(beside(HONEST)))
    for required in (True, False):
        with refused(FormatError, "is not a sidecar"):
            check(path, required=required)


def test_a_pipe_or_a_large_file_in_its_place_is_not_waited_for(tmp_path: Path) -> None:
    path = put(tmp_path, HONEST)
    os.mkfifo(tmp_path / f"{ARCHIVE}.sha256")
    with refused(TrustError, "not a regular file"):
        check(path, required=True)
    (tmp_path / f"{ARCHIVE}.sha256").unlink()
    (tmp_path / f"{ARCHIVE}.sha256").write_bytes(bytes(2**20))
    with refused(TrustError, "too large"):
        check(path, required=True)


def test_discs_have_none(tmp_path: Path) -> None:
    folders = write_discs(tmp_path / "set", bundle_set())
    with open_source(folders, make_trust()) as opened:
        assert list(verify_beside(opened, lambda _: None, required=False).lines()) == []
        with refused(ConfigError, "discs have no sidecar"):
            verify_beside(opened, lambda _: None, required=True)
