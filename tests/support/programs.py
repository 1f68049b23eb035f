"""Real programs for the integration tests: Debian's docker-registry on loopback, and skopeo."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.certificates import Pair

PACKAGES = {"docker-registry": "docker-registry", "skopeo": "skopeo"}
USER, PASSWORD = "integration", "integration-Password"
# bcrypt of PASSWORD, cost 5: the registry takes no other kind, and no stock tool of a slim machine makes one.
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuQqFiUbpQifY9dolhPdhKiz4SId6mWN2\n"
_LISTENING = re.compile(r"listening on ([0-9.]+:[0-9]+)")
_START_SECONDS = 20


def program(name: str) -> str:
    """Path of a program; a missing one fails the test with the line that installs it."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is missing: apt-get install {PACKAGES[name]}")
    return path


@dataclass(frozen=True)
class DebianRegistry:
    """A running docker-registry; ``log`` has its requests."""

    host: str
    root: Path
    log: Path

    def requests(self, pattern: str) -> list[str]:
        """Lines of the access log that have ``pattern``."""
        return [line for line in self.log.read_text().splitlines() if re.search(pattern, line)]


@contextlib.contextmanager
def docker_registry(folder: Path, *, tls: Pair | None = None, login: bool = False) -> Iterator[DebianRegistry]:
    """Run a registry with its data under ``folder``, on a free port of loopback, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "config.yml", folder / "registry.log"
    config.write_text(_config(folder, tls=tls, login=login))
    with log.open("wb") as out:
        running = subprocess.Popen(
            [program("docker-registry"), "serve", str(config)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        )
    try:
        yield DebianRegistry(_wait(running, log), folder / "data", log)
    finally:
        running.terminate()
        running.wait(timeout=10)


def skopeo(home: Path, *arguments: str, check: bool = True) -> str:
    """Run skopeo with an empty home and no policy; return its stdout."""
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program("skopeo"), "--insecure-policy", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home / "run")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if check and done.returncode:
        pytest.fail(f"skopeo {' '.join(arguments)} failed: {done.stderr}")
    return done.stdout


def _config(folder: Path, *, tls: Pair | None, login: bool) -> str:
    lines = [
        "version: 0.1",
        "log: {level: info, accesslog: {disabled: false}}",
        "storage:",
        f"  filesystem: {{rootdirectory: {folder / 'data'}}}",
        "  delete: {enabled: true}",
        "http:",
        "  addr: 127.0.0.1:0",
    ]
    if tls is not None:
        lines.append(f"  tls: {{certificate: {tls.certificate}, key: {tls.key}}}")
    if login:
        (folder / "htpasswd").write_text(HTPASSWD)
        lines.append(f"auth: {{htpasswd: {{realm: integration, path: {folder / 'htpasswd'}}}}}")
    return "\n".join(lines) + "\n"


def _wait(running: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and running.poll() is None:
        found = _LISTENING.search(log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.05)
    pytest.fail(f"docker-registry did not start: {log.read_text(errors='replace')[-2000:]}")
