"""The script that makes the presets of Rook's releases, on a repository of git."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from release.rookpresets import main


def test_a_checkout_is_read_at_its_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    examples = tmp_path / "deploy" / "examples"
    examples.mkdir(parents=True)
    (examples / "cluster.yaml").write_text("    image: quay.io/ceph/ceph:v99\n")
    user = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    for argv in (["init", "-q"], ["add", "."], [*user, "commit", "-qm", "x"], ["tag", "v1.20.6"]):
        subprocess.run(["git", "-C", str(tmp_path), *argv], check=True)
    assert main([str(tmp_path), "-o", str(tmp_path / "made.json")]) == 0
    made = json.loads((tmp_path / "made.json").read_text())
    assert made["releases"] == {"v1.20.6": {"ceph": "quay.io/ceph/ceph:v99"}}
    assert main([str(tmp_path), "--check"]) == 1
    assert "v1.20.6 ceph: quay.io/ceph/ceph:v20.2.4 -> quay.io/ceph/ceph:v99" in capsys.readouterr().out
