"""The lines of docs/checking.md, typed as they stand there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import ROOT, Cli
from tests.support.gotools import tool
from tests.support.images import make_image

LINES = re.findall(r"^\$ (.*)$", (ROOT / "docs/checking.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def stick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle as X on a stick, unpacked beside itself, with the key."""
    cli = Cli(tmp_path_factory.mktemp("stick"))
    make_image(platforms=["linux/amd64"]).write(cli.folder / "mirror/0")
    (cli.folder / "bundle.yaml").write_text(
        'name: demo\nversion: "1"\nregistry: registry.example:5000\n'
        "images:\n- {image: docker.io/team/app:v1, from: 'dir:mirror/0'}\n"
    )
    cli.bundler("keygen", "builder").expect()
    cli.bundler("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--also", "sigstore").expect()
    folder = cli.folder / "out"
    (folder / "builder.pub").write_bytes((cli.folder / "builder.pub").read_bytes())
    subprocess.run("zstd -dcq demo-1.tar.zst | tar -x", shell=True, cwd=folder, check=True)
    return folder


def typed(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    cosign = tool("cosign") if line.startswith("cosign") else Path("/usr/bin/none")
    path = f"{cosign.parent}:/usr/bin:/bin"
    environ = {"PATH": path, "HOME": str(folder)}
    command = line.replace("X.", "demo-1.")
    return subprocess.run(command, shell=True, cwd=folder, env=environ, capture_output=True, text=True)


def test_there_are_lines_for_each_tool() -> None:
    assert {line.split()[0] for line in LINES} == {"openssl", "sha256sum", "cosign"}


@pytest.mark.parametrize("line", LINES)
def test_the_line_says_yes_and_of_a_changed_file_no(line: str, stick: Path) -> None:
    done = typed(line, stick)
    assert done.returncode == 0, done.stderr
    changed = stick / ("demo-1.tar.zst" if "X." in line else "SHA256SUMS")
    if line.endswith(".sha256") and line.startswith("openssl"):
        changed = stick / "demo-1.tar.zst.sha256"
    if line.startswith("sha256sum") and "SHA256SUMS" in line:
        changed = stick / "bundle.json"
    before = changed.read_bytes()
    changed.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    try:
        assert typed(line, stick).returncode != 0
    finally:
        changed.write_bytes(before)
