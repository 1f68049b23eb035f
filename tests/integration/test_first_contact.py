"""``docs/first-contact.md`` typed line by line on a bare host, with an honest disc and with others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from release import pyz
from tests.support.bastion import Bastion, bastion_root
from tests.support.bundles import full_recipe, make_signer, private_pem
from tests.support.cli import ROOT, Cli

PAGE = ROOT / "docs/first-contact.md"
BUILDER = make_signer("builder")


def lines() -> str:
    """What the page has the operator type, in one script that stops at the first line that fails."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 8
    return "".join(blocks).replace("sha256:__FINGERPRINT__", BUILDER.public.fingerprint)


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    pyz.make(folder)
    (folder / "demo-1.tar.zst").write_bytes(full_recipe().archive())
    (folder / "builder.key").write_bytes(private_pem(BUILDER._private))
    options = ("--volume-size", "40MiB", "--key", "builder.key", "--loader", "airgap-loader.pyz")
    Cli(folder).bundler("media", "demo-1.tar.zst", "-o", "set", *options).expect()
    return folder / "set/v01"


def on_bastion(disc: Path, tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    own = tmp_path / "own"
    own.mkdir()
    os.chown(own, 65534, 65534)
    medium = tmp_path / "medium"
    shutil.copytree(disc, medium)
    return Bastion(bastion_root(), medium, own).run("sh", "-c", f"set -e\numask 022\ncd /mnt\n{script}")


def test_every_line_of_the_page_works_as_written(disc: Path, tmp_path: Path) -> None:
    done = on_bastion(disc, tmp_path, lines())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "this is the key on the paper" in done.stdout
    assert "Verified OK" in done.stdout
    assert "airgap-loader.pyz: OK" in done.stdout
    assert (tmp_path / "own/trust/builder.pub").read_bytes() == BUILDER.public.pem


def test_a_disc_with_another_key_ends_at_the_paper(disc: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(disc, other)
    (other / "keys/builder.pub").write_bytes(make_signer("stranger").public.pem)
    done = on_bastion(other, tmp_path, lines())
    assert done.returncode != 0
    assert "NOT THE KEY ON THE PAPER" in done.stdout
    assert not list((tmp_path / "own").iterdir())


def test_a_changed_loader_never_runs(disc: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(disc, other)
    (other / "airgap-loader.pyz").write_text("print('I RAN')\n")
    done = on_bastion(other, tmp_path, lines())
    assert done.returncode != 0
    assert "airgap-loader.pyz: FAILED" in done.stdout
    assert "I RAN" not in done.stdout
