"""ISO 9660 images by xorriso: level 2, Rock Ridge and Joliet, the same bytes for the same content."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from bundler.output import sync
from bundler.stripes import sha256_of
from loader.bundle.errors import ConfigError, StorageError

_JOLIET_NAMES = 64  # characters; longer ones need the relaxed limit of 103
_LOOK = 0.5  # seconds between two looks whether a run was interrupted
_AT_ONCE = 3  # images: two of them keep two processors busy while xorriso's clock wakes up for the third


@dataclass(frozen=True)
class Cut:
    """A file of the image that is a range of a file on disk."""

    source: Path
    offset: int
    size: int
    name: str


@dataclass(frozen=True)
class DiscContent:
    """What an image holds: everything below ``folders``, and ``cuts``. ``created`` dates every file and the volume."""

    label: str
    created: str
    folders: Sequence[Path]
    cuts: Sequence[Cut] = ()


@dataclass(frozen=True)
class DiscImage:
    """An ISO image as it is on disk."""

    name: str
    size: int
    sha256: str


def find_xorriso(path: Optional[str]) -> str:
    """Return xorriso on the search path ``path``, or raise ``ConfigError`` with its install line."""
    program = shutil.which("xorriso", path=path or "")
    if program is None:
        raise ConfigError(
            "xorriso is not installed", why="ISO images are written by it", hint="apt-get install xorriso"
        )
    return program


def write_images(program: str, images: Sequence[tuple[DiscContent, Path]]) -> list[DiscImage]:
    """Write every image durably, some at a time: while one is written another is synced and hashed.

    Raises ``StorageError`` with xorriso's last lines when it fails.
    """
    stop = threading.Event()

    def finished(content: DiscContent, target: Path) -> DiscImage:
        _write(program, content, target, stop)
        synced = syncing.submit(sync, target)
        sha256 = sha256_of(target, stop)
        synced.result()
        return DiscImage(target.name, target.stat().st_size, sha256)

    with ThreadPoolExecutor(_AT_ONCE) as writing, ThreadPoolExecutor(_AT_ONCE) as syncing:
        work = [writing.submit(finished, content, target) for content, target in images]
        try:
            return [done.result() for done in work]
        finally:
            stop.set()
            for waiting in work:
                waiting.cancel()


def _write(program: str, content: DiscContent, target: Path, stop: threading.Event) -> None:
    stamp = "".join(char for char in content.created if char.isdigit()) + "00"
    longest = max((len(cut.name) for cut in content.cuts), default=0)
    long_names = longest > _JOLIET_NAMES or any(_has_long_names(folder) for folder in content.folders)
    compliance = "iso_9660_level=2" + (":joliet_long_names" if long_names else "")
    command = [program, "-no_rc", "-abort_on", "FAILURE", "-report_about", "WARNING"]
    # By itself it waits for the disk every 16 MiB, and looks but once a second whether it has finished.
    command += ["-stdio_sync", "off", "-pacifier", "interval=0.1"]
    command += ["-outdev", f"stdio:{target}", "-compliance", compliance, "-rockridge", "on", "-joliet", "on"]
    command += ["-volid", content.label, "-volume_date", "uuid", stamp, "-volume_date", "all_file_dates", stamp]
    command += ["-disk_pattern", "off"]
    for folder in content.folders:
        command += ["-map", str(folder), "/"]
    for cut in content.cuts:
        command += ["-cut_out", str(cut.source), str(cut.offset), str(cut.size), f"/{cut.name}"]
    # Owners and modes of whoever built it are nobody's business inside the airgap, and must not change the bytes.
    command += ["-uid", "0", "-gid", "0"]
    command += ["-find", "/", "-type", "f", "-exec", "chmod", "0444", "--"]
    command += ["-find", "/", "-type", "d", "-exec", "chmod", "0555", "--", "-commit", "-end"]
    try:
        status, told = _run(command, stop)
    except OSError as error:
        raise StorageError(f"cannot run {program}", why=str(error)) from error
    if status != 0:
        lines = [line for line in told.splitlines() if line.strip()]
        raise StorageError(f"cannot write {target}", why="; ".join(lines[-3:]) or f"status {status}")


def _run(command: Sequence[str], stop: threading.Event) -> tuple[int, str]:
    """Exit status and messages of ``command``, which is ended when ``stop`` is set."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        told: Optional[str] = None
        while told is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                _, told = process.communicate(timeout=_LOOK)
            if stop.is_set():
                process.kill()
        return process.returncode, told


def _has_long_names(folder: Path) -> bool:
    return any(len(path.name) > _JOLIET_NAMES for path in folder.rglob("*"))
