"""Make ``airgap-loader.pyz``: one pure-Python file for every CPython from 3.9 on, the same bytes each time.

``python -m release.pyz -o dist``; run as ``python3 airgap-loader.pyz``, also from a noexec medium.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parent.parent
WHEELS = Path(__file__).with_name("loader-wheels.txt")
# Nothing of these is imported by the loader; they would be a third of the file.
_LEFT_OUT = ("pygments/lexers/", "pygments/styles/", "pygments/formatters/")
_KEPT = ("pygments/lexers/__init__.py", "pygments/styles/__init__.py", "pygments/formatters/__init__.py")
# The first moment that a zip entry can have.
_MOMENT = (1980, 1, 1, 0, 0, 0)


def download(folder: Path) -> list[Path]:
    """Fetch the pinned wheels into ``folder``; pip refuses one whose hash differs."""
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *("--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none"),
            *("--python-version=3.9.18", f"--dest={folder}", f"--requirement={WHEELS}"),
        ],
        check=True,
    )
    return sorted(folder.glob("*.whl"))


def wheel_members(wheel: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a wheel that travel: its modules, and its licence."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith((".so", ".pyd")):
                raise SystemExit(f"{wheel.name} is not pure Python: {name}")
            left_out = name.startswith(_LEFT_OUT) and name not in _KEPT
            metadata = ".dist-info/" in name and "licen" not in name.lower()
            if not (name.endswith("/") or left_out or metadata):
                yield name, archive.read(name)


def loader_members() -> Iterator[tuple[str, bytes]]:
    """Our own modules, and the entry."""
    for path in sorted((ROOT / "loader").rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), path.read_bytes()
    yield "__main__.py", (ROOT / "loader/__main__.py").read_bytes()


def write(target: Path, wheels: Sequence[Path]) -> None:
    """Write the zip: sorted names, one moment, one mode."""
    members = dict(loader_members())
    for wheel in wheels:
        members.update(wheel_members(wheel))
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as stream:
        stream.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(stream, "w") as archive:
            for name in sorted(members):
                entry = zipfile.ZipInfo(name, _MOMENT)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o100644 << 16
                entry.create_system = 3
                archive.writestr(entry, members[name], compresslevel=9)
    Path(stream.name).chmod(0o755)
    Path(stream.name).replace(target)


def make(folder: Path) -> Path:
    """Write ``airgap-loader.pyz`` into ``folder`` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "airgap-loader.pyz"
    with tempfile.TemporaryDirectory() as scratch:
        write(target, download(Path(scratch)))
    return target


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Make the file and print its name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "dist")
    sys.stdout.write(f"{make(parser.parse_args(argv).output)}\n")


if __name__ == "__main__":
    main()
