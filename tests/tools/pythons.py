"""Run the unit and attack tests on every Python of this machine, each in a virtual environment of its own.

usage: pythons.py [--extremes]    only the oldest and the newest found, unless that is the one running this
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST = (3, 9)
TESTS = ["tests/unit", "tests/attacks"]
# Typer and Rich wrap help texts differently for old releases of theirs, which only old Pythons still get.
NEWEST_ONLY = ["tests/test_contracts.py"]
Version = tuple[int, ...]


def candidates() -> Iterator[Path]:
    """Yield every program named like a Python 3 on PATH and in pyenv's folder."""
    folders = [Path(part) for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if part]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for folder in [*folders, *sorted(pyenv.glob("*/bin"))]:
        yield from sorted(path for path in folder.glob("python3*") if re.fullmatch(r"python3(\.\d+)?", path.name))


def found() -> dict[Version, Path]:
    """Return one working program for each minor version from the oldest supported on, oldest first."""
    by_version: dict[Version, Path] = {}
    for path in candidates():
        # pyenv's shims are there for versions that are not switched on, and then fail.
        probe = [str(path), "-c", "import sys; print(*sys.version_info[:2])"]
        said = subprocess.run(probe, capture_output=True, text=True)
        version = tuple(int(part) for part in said.stdout.split()) if said.returncode == 0 else (0,)
        if version >= OLDEST:
            by_version.setdefault(version, path)
    return dict(sorted(by_version.items()))


def test_on(version: Version, program: Path, *, newest: bool) -> bool:
    """Set up the environment for ``program`` and run the tests in it; tell whether they passed."""
    name = ".".join(str(part) for part in version)
    print(f"== Python {name} ({program})", flush=True)
    venv = Path(".venvs") / name
    made = subprocess.run(["bash", "tests/tools/venv.sh", program, venv, "dev"])
    if made.returncode:
        return False
    tests = [path for path in TESTS + (NEWEST_ONLY if newest else []) if Path(path).exists()]
    return subprocess.run([venv / "bin" / "python", "-m", "pytest", *tests]).returncode == 0


def main(arguments: list[str]) -> int:
    """Run the tests on the chosen Pythons and return 1 when any of them failed."""
    if arguments not in ([], ["--extremes"]):
        print(__doc__, file=sys.stderr)
        return 2
    pythons = found()
    newest = max(pythons)
    chosen = list(pythons)
    if arguments:
        chosen = sorted({min(pythons), newest} - {sys.version_info[:2]})
    if OLDEST not in pythons:
        print(f"no Python {OLDEST[0]}.{OLDEST[1]} here: the oldest supported one is not tested", flush=True)
    if not chosen:
        print("no other Python here than the one that ran the tests already", flush=True)
    results = {version: test_on(version, pythons[version], newest=version == newest) for version in chosen}
    for version, passed in results.items():
        print(f"Python {'.'.join(map(str, version))}: {'passed' if passed else 'FAILED'}")
    return 0 if all(results.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
