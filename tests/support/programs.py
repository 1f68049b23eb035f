"""Real programs for the integration tests: registries on loopback (Debian's, built ones), and skopeo."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.certificates import Pair
from tests.support.tokenserver import ISSUER, SERVICE, TokenServer

PACKAGES = {"docker-registry": "docker-registry", "skopeo": "skopeo", "sh": "dash"}
PACKAGES.update(ip="iproute2", tc="iproute2", nft="nftables", unshare="util-linux", nsenter="util-linux")
PACKAGES.update({"softhsm2-util": "softhsm2", "pkcs11-tool": "opensc"})
PACKAGES.update({"dpkg-deb": "dpkg", "apt-get": "apt", "ctr": "containerd", "containerd": "containerd"})
PACKAGES.update((name, name) for name in ("busybox", "debootstrap", "mandoc", "openssl", "rpm", "xorriso", "zstd"))
USER, PASSWORD = "integration", "integration-Password"
# bcrypt of PASSWORD, cost 5: the registry takes no other kind, and no stock tool of a slim machine makes one.
HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuuQqFiUbpQifY9dolhPdhKiz4SId6mWN2\n"
_LISTENING = re.compile(r"listening on ([0-9.]+:[0-9]+)")
_SERVING = re.compile(r"serving on port ([0-9]+)")
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
def docker_registry(
    folder: Path,
    *,
    tls: Pair | None = None,
    login: bool = False,
    tokens: TokenServer | None = None,
    executable: Path | None = None,
    address: str = "127.0.0.1",
    within: Sequence[str] = (),
) -> Iterator[DebianRegistry]:
    """Run a registry with its data under ``folder``, on a free port of loopback, until the block ends.

    ``executable``: another distribution/distribution than Debian's; they read one config. ``within``: the argv prefix
    of a network namespace that has ``address``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "config.yml"
    config.write_text(_config(folder, address, tls=tls, login=login, tokens=tokens))
    argv = [*within, str(executable or program("docker-registry")), "serve", str(config)]
    with _running(argv, folder, _LISTENING) as (address, log):
        yield DebianRegistry(address, folder / "data", log)


@contextlib.contextmanager
def crane_registry(folder: Path, executable: Path) -> Iterator[str]:
    """Run the registry of go-containerregistry, which knows neither TLS nor logins; the value is its host."""
    (folder / "data").mkdir(parents=True)
    argv = [str(executable), "registry", "serve", "--address", "127.0.0.1:0", "--disk", str(folder / "data")]
    with _running(argv, folder, _SERVING) as (port, _):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def referrers_registry(folder: Path, executable: Path) -> Iterator[str]:
    """Run the registry of go-containerregistry with the referrers API, in memory; the value is its host."""
    folder.mkdir(parents=True)
    with _running([str(executable)], folder, _SERVING) as (port, _):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _running(argv: list[str], folder: Path, ready: re.Pattern[str]) -> Iterator[tuple[str, Path]]:
    log = folder / "registry.log"
    with log.open("wb") as out:
        # Version 3 of distribution would look for a collector of traces.
        environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "OTEL_TRACES_EXPORTER": "none"}
        running = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=environ)
    try:
        yield _wait(running, log, ready), log
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


def _config(folder: Path, address: str, *, tls: Pair | None, login: bool, tokens: TokenServer | None) -> str:
    lines = [
        "version: 0.1",
        "log: {level: info, accesslog: {disabled: false}}",
        "storage:",
        f"  filesystem: {{rootdirectory: {folder / 'data'}}}",
        "  delete: {enabled: true}",
        "http:",
        f"  addr: {address}:0",
    ]
    if tls is not None:
        lines.append(f"  tls: {{certificate: {tls.certificate}, key: {tls.key}}}")
    if login:
        (folder / "htpasswd").write_text(HTPASSWD)
        lines.append(f"auth: {{htpasswd: {{realm: integration, path: {folder / 'htpasswd'}}}}}")
    if tokens is not None:
        issuer = f"issuer: {ISSUER}, rootcertbundle: {tokens.bundle}"
        lines.append(f"auth: {{token: {{realm: '{tokens.realm}', service: {SERVICE}, {issuer}}}}}")
    return "\n".join(lines) + "\n"


def _wait(running: subprocess.Popen[bytes], log: Path, ready: re.Pattern[str]) -> str:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until and running.poll() is None:
        found = ready.search(log.read_text(errors="replace"))
        if found:
            return found[1]
        time.sleep(0.05)
    pytest.fail(f"the registry did not start: {log.read_text(errors='replace')[-2000:]}")
