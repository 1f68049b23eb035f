"""The entry on old interpreters: it parses on Python 3.6, finds a newer one by itself, or says what to install."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ENTRY = Path(__file__).resolve().parents[3] / "loader/__main__.py"
# The entry as an older interpreter sees it: only the version it reads differs.
OLD = (
    "import runpy, sys; sys.version_info = (3, 6, 8, 'final', 0); sys.argv = sys.argv[1:]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


def start(path: Path, *args: str, isolated: bool = False) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, *(["-I"] if isolated else []), "-c", OLD, str(ENTRY), *args]
    return subprocess.run(argv, env={"PATH": str(path)}, capture_output=True, text=True, timeout=60)


def test_it_parses_on_python_3_6() -> None:
    ast.parse(ENTRY.read_text(encoding="utf-8"), feature_version=(3, 6))


def test_without_a_newer_python_three_lines_say_what_to_install(tmp_path: Path) -> None:
    done = start(tmp_path)
    assert done.returncode == 1
    first, why, hint = done.stderr.splitlines()
    assert first == "error: airgap-loader needs Python 3.9 or newer"
    assert "this is Python 3.6" in why
    assert "dnf install python3.11" in hint


@pytest.mark.parametrize("name", ["python3.9", "python3.11", "python3.14"])
def test_a_newer_python_on_path_gets_the_same_command(name: str, tmp_path: Path) -> None:
    newer = tmp_path / name
    newer.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "newer: $*"\n', encoding="ascii")
    newer.chmod(0o755)
    done = start(tmp_path, "verify", "x y.tar.zst", "--trust", "t")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "newer: -m loader verify x y.tar.zst --trust t\n"


def test_what_keeps_variables_out_goes_along(tmp_path: Path) -> None:
    newer = tmp_path / "python3.13"
    newer.write_text('#!/bin/sh\n[ "$2" = -c ] || echo "newer: $*"\n', encoding="ascii")
    newer.chmod(0o755)
    assert start(tmp_path, "verify", isolated=True).stdout == "newer: -I -m loader verify\n"


def test_one_that_does_not_start_is_passed_over(tmp_path: Path) -> None:
    for name, body in (("python3.13", "exit 1"), ("python3.10", '[ "$1" = -c ] || echo chosen')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="ascii")
        (tmp_path / name).chmod(0o755)
    assert start(tmp_path, "verify").stdout == "chosen\n"
