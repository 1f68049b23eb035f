"""The benchmark runs from end to end on small images; how long anything takes is not judged here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.run import write_table

ROOT = Path(__file__).parents[2]
ROWS = [
    "build, seconds",
    "build, processor seconds",
    "build, peak memory of the largest process, MB",
    "build, written to disk, MB",
    "build, disk used beside the archive, MB",
    "load, seconds",
    "load, processor seconds",
    "load, peak memory of the largest process, MB",
    "load, written to disk, MB",
    "load, disk used beside the archive, MB",
    "archive, MB",
    "push alone, seconds",
    "the same, curl opens its uploads in the time",
]


def bench(
    *arguments: str, path: str = os.environ["PATH"], module: str = "bench.run"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_quick_run_fills_every_row(tmp_path: Path) -> None:
    done = bench("--quick", "--cache", str(tmp_path / "cache"), "--work", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    table = {row[0]: row[1:] for row in rows}
    for title in ROWS:
        ours, theirs = table[title][:2]
        assert float(ours.split()[0]) >= 0, title
        assert float(theirs.split()[0]) > 0, title
    assert float(table["build, disk used beside the archive, MB"][0].split()[0]) < 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["cache"]


def test_peers_on_path_are_measured_beside_and_one_that_fails_is_left_out(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    # A stand-in for the tool: what it was asked is what counts here.
    hauler = (
        f'echo "$@" >> {tmp_path}/asked; for last; do :; done; [ "$2" != save ] || head -c 9999 /dev/zero > "$last"'
    )
    for name, script in {"hauler": hauler, "zarf": "echo no such flag >&2; exit 1"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    done = bench("--quick", "--cache", str(tmp_path / "cache"), path=f"{tools}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "zarf is left out" in done.stderr
    assert "no such flag" in done.stderr
    assert "| | airgap-bundler | hauler | ratio |" in done.stdout
    assert "zarf" not in done.stdout
    assert re.search(r"archive, MB \| \S+ \| 0\.0 \|", done.stdout)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert [line.split()[1] for line in asked] == ["sync", "save", "load", "copy"]
    assert re.fullmatch(r"store copy --store store --plain-http registry://127\.0\.0\.1:[0-9]+", asked[-1])


def test_many_images_and_large_ones_are_measured_against_a_double(tmp_path: Path) -> None:
    arguments = ("--images", "3", "--gigabytes", "0.001", "--peer-up-to", "3", "--work", str(tmp_path))
    done = bench(*arguments, module="bench.scale")
    assert done.returncode == 0, done.stderr
    assert "| 0.3 GB |" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.startswith("| 3 images"))
    assert row.split(" | ")[1] == "30"
    assert all(float(value) > 0 for value in row.strip("| ").split(" | ")[2:])


def test_verifying_is_measured_beside_what_an_officer_types(tmp_path: Path) -> None:
    done = bench("--quick", "--cache", str(tmp_path / "cache"), module="bench.verify")
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert [row[0].split(",")[0] for row in rows] == [
        "openssl dgst -sha256",
        "airgap-loader verify",
        "airgap-loader verify",
        "zstd",
    ]
    for row in rows:
        assert float(row[1].split()[0]) > 0


def test_discs_and_the_registry_are_measured_beside_others(tmp_path: Path) -> None:
    done = bench("--quick", "--cache", str(tmp_path / "cache"), module="bench.media")
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    times = [row for row in rows if len(row) == 5 and row[1][0].isdigit()]
    assert [row[0] for row in times][:3] == ["cp, sha256sum", "media, parity 1, ISO", "media, parity 1"]
    assert {"serve, two clients", "par2 repair, one disc lost"} <= {row[0] for row in times}
    assert "A disc holds" in done.stdout


def test_a_missing_program_is_named_with_its_package(tmp_path: Path) -> None:
    done = bench("--quick", "--cache", str(tmp_path / "cache"), path=str(tmp_path))
    assert done.returncode == 1
    assert "sudo apt-get install skopeo docker-registry zstd tar curl" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_table_replaces_the_older_one_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("a\n<!-- x1 -->\nold\n<!-- end x1 -->\nb\n<!-- x4 -->\nkept\n<!-- end x4 -->\n")
    write_table(readme, "x1", "| new \\1 |")
    assert readme.read_text() == "a\n<!-- x1 -->\n| new \\1 |\n<!-- end x1 -->\nb\n<!-- x4 -->\nkept\n<!-- end x4 -->\n"
    with pytest.raises(SystemExit, match="no place for x9"):
        write_table(readme, "x9", "")
