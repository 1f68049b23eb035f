"""A containerd of its own for a test: its folders, its socket, no root and no kubelet's part."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.programs import program

_START_SECONDS = 20


@dataclass(frozen=True)
class Containerd:
    """A running containerd, asked through ``ctr``."""

    socket: Path

    def ctr(self, *arguments: object) -> str:
        """Run ctr in the kubelet's namespace; fails the test where it fails."""
        command = [program("ctr"), "--address", self.socket, "--namespace", "k8s.io", *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        if done.returncode:
            pytest.fail(f"ctr {' '.join(map(str, arguments))} failed: {done.stderr}{done.stdout}")
        return done.stdout

    def images(self) -> dict[str, str]:
        """The digest of every image by name."""
        rows = [line.split() for line in self.ctr("images", "ls").splitlines()[1:]]
        return {row[0]: row[2] for row in rows}


@contextlib.contextmanager
def containerd() -> Iterator[Containerd]:
    """Run containerd until the block ends."""
    # A socket's path has at most 107 bytes: pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="containerd-") as name:
        folder = Path(name)
        owner = f"uid = {os.getuid()}\ngid = {os.getgid()}\n"
        config = folder / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\naddress = "{folder}/sock"\n{owner}[ttrpc]\naddress = "{folder}/ttrpc"\n{owner}'
        )
        log = folder / "log"
        with log.open("wb") as out:
            command = [program("containerd"), "--config", str(config)]
            running = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            _wait(running, log)
            yield Containerd(folder / "sock")
        finally:
            running.terminate()
            running.wait(timeout=10)


def _wait(running: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and running.poll() is None:
        if "successfully booted" in log.read_text(errors="replace"):
            return
        time.sleep(0.05)
    pytest.fail(f"containerd did not start: {log.read_text(errors='replace')[-2000:]}")
