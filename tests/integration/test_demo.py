"""``make demo`` as it runs: every step ends well, nothing stays behind, and it says what it misses."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import ROOT

COMMAND = [sys.executable, "-m", "demo.run"]


def environment(scratch: Path, **more: str) -> dict[str, str]:
    scratch.mkdir()
    return {"PATH": os.environ["PATH"], "TMPDIR": str(scratch), **more}


def run(*args: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], cwd=ROOT, env=env, capture_output=True, text=True, timeout=200)


def test_the_demo_tells_the_whole_story_and_cleans_up(tmp_path: Path) -> None:
    done = run(env=environment(tmp_path / "scratch"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert done.stderr == ""
    assert done.stdout.count("Verified OK") == 2
    assert "none missing, none more" in done.stdout
    assert "does not match its SHA-256" in done.stdout
    assert "0 blobs sent" in done.stdout
    table = re.findall(r"^ *[0-9.]+  (\d+)\. ", done.stdout, re.MULTILINE)
    assert table == [str(number) for number in range(1, len(table) + 1)]
    assert len(table) >= 9
    assert list((tmp_path / "scratch").iterdir()) == []


def test_keep_leaves_the_folder_and_says_where(tmp_path: Path) -> None:
    done = run("--keep", env=environment(tmp_path / "scratch"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    (kept,) = (tmp_path / "scratch").iterdir()
    assert f"kept: {kept}" in done.stdout
    assert (kept / "out/rook-ceph-2020.10.tar.zst").is_file()


def test_without_openssl_it_says_what_to_install(tmp_path: Path) -> None:
    done = run(env=environment(tmp_path / "scratch", PATH=str(tmp_path)))
    assert done.returncode == 1
    assert "apt-get install -y coreutils openssl tar" in done.stdout


def test_without_zstd_the_officer_checks_the_head(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in reversed(os.environ["PATH"].split(":")):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            link = programs / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    (programs / "zstd").unlink()
    done = run(env=environment(tmp_path / "scratch", PATH=str(programs)))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "bundle.json: OK" in done.stdout


def test_a_step_that_fails_ends_it_and_is_named(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "openssl").write_text("#!/bin/sh\necho Verification failure\nexit 1\n")
    (programs / "openssl").chmod(0o755)
    done = run(env=environment(tmp_path / "scratch", PATH=f"{programs}:{os.environ['PATH']}"))
    assert done.returncode == 1
    assert re.search(r"^FAILED: step 3, .*: exit 1, not 0: openssl dgst", done.stdout, re.MULTILINE)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_demo_leaves_nothing(number: signal.Signals, status: int, tmp_path: Path) -> None:
    env = environment(tmp_path / "scratch")
    with subprocess.Popen(COMMAND, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while "keygen" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        process.stdout.read()
    assert process.returncode == status
    assert list((tmp_path / "scratch").iterdir()) == []
