"""What stands around the loader on a host, and the loader itself, changed by somebody."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import ARCHIVE, full_recipe, make_signer
from tests.support.cli import ROOT

# A bastion without compiled packages and libzstd: only programs are left to decode and to judge signatures.
BARE = """
import ctypes, sys
for name in ("cryptography", "zstandard", "compression", "compression.zstd"):
    sys.modules[name] = None
def refuse(name, *rest, **more):
    raise OSError(name)
ctypes.CDLL = refuse
from loader.cli import main
main()
"""


def verify(folder: Path, *options: str, path: str) -> subprocess.CompletedProcess[str]:
    (folder / "home").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", BARE, "verify", ARCHIVE, "--trust", "builder.pub", *options],
        cwd=folder,
        env={"HOME": str(folder / "home"), "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with compressed frames, and programs that would say yes to everything and leave a mark."""
    (tmp_path / ARCHIVE).write_bytes(full_recipe().archive())
    (tmp_path / "builder.pub").write_bytes(make_signer("builder").public.pem)
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    for name in ("openssl", "zstd", "sha256sum", "gpg", "sh"):
        fake = fakes / name
        fake.write_text(f"#!/bin/sh\n/usr/bin/touch {tmp_path}/ran-{name}\necho Verified OK\nexit 0\n")
        fake.chmod(0o755)
    return tmp_path


def test_a_hostile_path_with_a_fake_openssl_and_zstd(folder: Path) -> None:
    hostile = f"{folder}/fakes:{os.defpath}"
    good = verify(folder, path=hostile)
    assert good.returncode == 0, good.stderr
    (folder / "builder.pub").write_bytes(make_signer("stranger").public.pem)
    bad = verify(folder, path=hostile)
    assert bad.returncode == 3, bad.stderr
    assert list(folder.glob("ran-*")) == []


def test_a_path_of_nothing_but_fakes_in_the_working_folder(folder: Path) -> None:
    for fake in (folder / "fakes").iterdir():
        shutil.copy(fake, folder / fake.name)
    assert verify(folder, path=f"{folder}/fakes:.:").returncode == 0
    assert list(folder.glob("ran-*")) == []


def printed_hash(root: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", "from loader.cli import main; main()", "--version"],
        env={"PATH": os.defpath, "PYTHONPATH": str(root), "HOME": str(root)},
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rpartition("sha256 ")[2].strip(")\n")


def test_a_modified_loader_prints_another_hash(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "loader", tmp_path / "loader", ignore=ignored)
    before = printed_hash(tmp_path)
    # The hash is what sha256sum says of the lines of sha256sum, so that no program of ours is needed to compare it.
    listed = "find loader -name '*.py' | LC_ALL=C sort | xargs sha256sum"
    lines = subprocess.run(["/bin/sh", "-c", listed], cwd=tmp_path, capture_output=True, check=True).stdout
    assert before == hashlib.sha256(lines).hexdigest()
    changed = tmp_path / "loader/bundle/policy.py"
    changed.write_text(changed.read_text().replace("< rule.threshold", "< 0"))
    assert printed_hash(tmp_path) != before
