"""``python -m release -o dist``: everything that is given away, and the list of it."""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from release import packages, pyz
from release.manual import manual
from release.programs import NAMES
from release.sdist import settle

# The first moment that a zip entry can have.
MOMENT = 315532800


def python_packages(folder: Path, moment: int) -> list[Path]:
    """Build the sdist, and the wheel out of it."""
    before = set(folder.glob("airgap_bundler-*"))
    for path in before:
        path.unlink()
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(moment)}
    argv = [sys.executable, "-m", "build", "--outdir", str(folder), str(pyz.ROOT)]
    done = subprocess.run(argv, check=False, env=environ, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"python -m build failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    for sdist in folder.glob("airgap_bundler-*.tar.gz"):
        settle(sdist, moment)
    return sorted(folder.glob("airgap_bundler-*"))


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Make it all and print the list."""
    parser = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=pyz.ROOT / "dist")
    folder: Path = parser.parse_args(argv).output
    moment = int(os.environ.get("SOURCE_DATE_EPOCH") or MOMENT)
    one_file = pyz.make(folder)
    made = [one_file, packages.deb(one_file, folder, moment), packages.rpm(one_file, folder, moment)]
    for name in NAMES:
        made.append(folder / f"{name}.1")
        made[-1].write_text(manual(name), encoding="ascii")
    made += python_packages(folder, moment)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(made)]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="ascii")
    sys.stdout.write("".join(sums))


if __name__ == "__main__":
    main()
