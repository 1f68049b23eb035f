"""A bastion: a root folder with a bare Debian, its own Python, openssl and libzstd, and nothing else of ours.

``debootstrap`` makes it once, into the cache of the built tools. Commands run in it by ``chroot`` in a mount namespace:
the root is read-only, ``/media`` is the medium (noexec), ``/home`` and ``/tmp`` are neither writable nor executable.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import pytest

from tests.support.gotools import cache_root
from tests.support.programs import program

PACKAGES = "python3,openssl"
NOBODY = "65534:65534"
_ENTER = """
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -o remount,bind,ro "$ROOT"
mount -t tmpfs -o ro,noexec,nosuid,nodev tmpfs "$ROOT/home"
mount -t tmpfs -o ro,noexec,nosuid,nodev tmpfs "$ROOT/tmp"
mount --bind "$MEDIUM" "$ROOT/media"
mount -o remount,bind,ro,noexec,nosuid,nodev "$ROOT/media"
mount --bind "${WRITABLE:-$ROOT/mnt}" "$ROOT/mnt"
mount -o remount,bind,noexec,nosuid,nodev "$ROOT/mnt"
mount --bind /proc "$ROOT/proc"
cd /
exec chroot --userspec="$USERSPEC" "$ROOT" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/home/operator TMPDIR=/tmp "$@"
"""


@dataclass(frozen=True)
class Bastion:
    """The root folder of one; ``medium`` is seen as ``/media``, ``writable`` (if any) as ``/mnt``."""

    root: Path
    medium: Path
    writable: Optional[Path] = None

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program of the bastion as nobody."""
        variables = {
            "PATH": os.environ["PATH"],
            "ROOT": str(self.root),
            "MEDIUM": str(self.medium),
            "WRITABLE": str(self.writable or ""),
            "USERSPEC": NOBODY,
        }
        line = [program("unshare"), "--mount", "sh", "-c", _ENTER, "sh", *argv]
        return subprocess.run(line, env=variables, capture_output=True, text=True, timeout=300)


def bastion_root() -> Path:
    """The root folder, made where it is not there yet."""
    if os.geteuid() != 0:
        pytest.fail("a chroot needs root: run these tests as root, or with sudo")
    suite, mirror = _release()
    home = cache_root(os.environ) / f"bastion-{suite}"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            fresh = home.with_name(f"{home.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            argv = [program("debootstrap"), "--variant=minbase", f"--include={PACKAGES}", suite]
            done = subprocess.run([*argv, str(fresh), mirror], capture_output=True, text=True, timeout=900)
            if done.returncode:
                pytest.fail(f"debootstrap failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")
            shutil.rmtree(fresh / "var/cache/apt", ignore_errors=True)
            fresh.rename(home)
    return home


def _release() -> tuple[str, str]:
    """The suite and the mirror this machine itself is installed from."""
    argv = [program("apt-get"), "indextargets", "--format", "$(CODENAME) $(SITE)", "Created-By: Packages"]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [(suite, site) for suite, _, site in (line.partition(" ") for line in lines) if "-" not in suite]
    if not pairs:
        pytest.fail("no Debian mirror is known to apt: write one into /etc/apt/sources.list, then apt-get update")
    return pairs[0]
