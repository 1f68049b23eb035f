"""The programs measured beside ours, and a registry to run: Debian's docker-registry on loopback."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PACKAGES = {"skopeo": "skopeo", "docker-registry": "docker-registry", "zstd": "zstd", "tar": "tar", "curl": "curl"}
_LISTENING = re.compile(r"listening on (127\.0\.0\.1:[0-9]+)")
_START_SECONDS = 20


class MissingProgram(Exception):
    """A program to compare with is not installed; the message has the line that installs it."""


def require_programs() -> None:
    """Raise ``MissingProgram`` unless all are there."""
    missing = [package for name, package in PACKAGES.items() if shutil.which(name) is None]
    if missing:
        raise MissingProgram(f"missing: {' '.join(missing)}\n  sudo apt-get install {' '.join(missing)}")


def clean_environment(folder: Path) -> dict[str, str]:
    """An environment with nothing of this account's: home, run-time folder and temporary files are in ``folder``."""
    places = {"HOME": folder / "home", "XDG_RUNTIME_DIR": folder / "run", "TMPDIR": folder / "tmp"}
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **{name: str(place) for name, place in places.items()}}


@contextlib.contextmanager
def registry(data: Path, scratch: Path) -> Iterator[str]:
    """Run a registry with its blobs in ``data`` until the block ends; yields its ``host:port``."""
    scratch.mkdir(parents=True, exist_ok=True)
    config, log = scratch / "registry.yml", scratch / "registry.log"
    # As Debian configures it, without logins; its access log off.
    config.write_text(
        "version: 0.1\n"
        "log: {level: info, accesslog: {disabled: true}}\n"
        "storage:\n"
        "  cache: {blobdescriptor: inmemory}\n"
        f"  filesystem: {{rootdirectory: {data}}}\n"
        "http: {addr: '127.0.0.1:0'}\n"
    )
    with log.open("wb") as out:
        running = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=out, stderr=out, env=clean_environment(scratch)
        )
    try:
        yield _wait(running, log)
    finally:
        running.terminate()
        running.wait()


def _wait(running: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and running.poll() is None:
        found = _LISTENING.search(log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.02)
    raise RuntimeError(f"docker-registry did not start: {log.read_text(errors='replace')[-2000:]}")
