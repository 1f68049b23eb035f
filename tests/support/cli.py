"""Both programs as a user runs them: another process, with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

_START = {
    "airgap-bundler": "from bundler.cli import main; main()",
    "airgap-loader": "from loader.cli import main; main()",
}
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Ran:
    """How a run ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def expect(self, status: int = 0) -> Ran:
        assert self.status == status, f"exit {self.status}, not {status}\n{self.out}\n{self.err}"
        return self

    @property
    def three_lines(self) -> list[str]:
        """The error's lines; fails unless it has the form of one."""
        lines = self.err.splitlines()
        start = next(index for index, line in enumerate(lines) if line.startswith("error: "))
        found = lines[start:]
        assert found[1].startswith("  why:  "), self.err
        assert found[-1].startswith("  next: "), self.err
        assert "Traceback" not in self.err
        return found


@dataclass(frozen=True)
class Cli:
    """Runs programs in ``folder``, with its ``home`` and nothing else of the user's environment.

    ``within``: the argv prefix of a network namespace.
    """

    folder: Path
    environ: Optional[Mapping[str, str]] = None
    path: str = os.defpath
    within: tuple[str, ...] = ()

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def command(self, program: str, *args: object) -> list[str]:
        return [*self.within, sys.executable, "-c", _START[program], *map(str, args)]

    def variables(self) -> dict[str, str]:
        self.home.mkdir(exist_ok=True)
        return {"HOME": str(self.home), "PATH": self.path, "PYTHONPATH": str(ROOT), **(self.environ or {})}

    def run(self, program: str, *args: object, stdin: str = "") -> Ran:
        done = subprocess.run(
            self.command(program, *args),
            cwd=self.folder,
            env=self.variables(),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def bundler(self, *args: object, **options: Any) -> Ran:
        return self.run("airgap-bundler", *args, **options)

    def loader(self, *args: object, **options: Any) -> Ran:
        return self.run("airgap-loader", *args, **options)


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below ``folder`` with its size and time of change, to see that nothing was written."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    }
