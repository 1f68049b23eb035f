from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.clients import Client
from tests.support.images import make_image

ROOT = Path(__file__).resolve().parents[3]


def test_the_registry_runs_alone_and_prints_its_address(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.registry", "--port", "0", "--dir", str(tmp_path / "data")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            host = running.stdout.readline().strip()
            image = make_image(platforms=["linux/amd64"])
            with Client(tmp_path).to(host) as registry:
                assert registry.head_manifest("a", "v1") is None
                assert registry.ping().api_version == "registry/2.0"
                assert not registry.head_blob("a", next(iter(image.blobs)))
        finally:
            running.terminate()
