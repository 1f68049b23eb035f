"""ISO 9660 images by xorriso: level 2, Rock Ridge and Joliet, the same bytes for the same content."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from loader.bundle.errors import ConfigError, StorageError

_JOLIET_NAMES = 64  # characters; longer ones need the relaxed limit of 103


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


def find_xorriso(path: Optional[str]) -> str:
    """Return xorriso on the search path ``path``, or raise ``ConfigError`` with its install line."""
    program = shutil.which("xorriso", path=path or "")
    if program is None:
        raise ConfigError(
            "xorriso is not installed", why="ISO images are written by it", hint="apt-get install xorriso"
        )
    return program


def write_iso(program: str, content: DiscContent, target: Path) -> None:
    """Write ``target``. Raises ``StorageError`` with xorriso's last lines when it fails."""
    stamp = "".join(char for char in content.created if char.isdigit()) + "00"
    longest = max((len(cut.name) for cut in content.cuts), default=0)
    long_names = longest > _JOLIET_NAMES or any(_has_long_names(folder) for folder in content.folders)
    compliance = "iso_9660_level=2" + (":joliet_long_names" if long_names else "")
    command = [program, "-no_rc", "-abort_on", "FAILURE", "-report_about", "WARNING"]
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
        done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    except OSError as error:
        raise StorageError(f"cannot run {program}", why=str(error)) from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise StorageError(f"cannot write {target}", why="; ".join(lines[-3:]) or f"status {done.returncode}")


def _has_long_names(folder: Path) -> bool:
    return any(len(path.name) > _JOLIET_NAMES for path in folder.rglob("*"))
