from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster import process
from loader.cluster.process import ProcessRunner
from tests.support.fakebin import Reply, fake_bin

RUN = ProcessRunner({"PATH": os.defpath, "MARK": "of the caller"})


def test_returns_status_and_both_outputs(tmp_path: Path) -> None:
    fake = fake_bin(tmp_path, "oc", [Reply(stdout="out", stderr="err", status=3)])
    finished = RUN([str(fake.path), "get", "x"], stdin=b"body", timeout=20)
    assert (finished.status, finished.stdout, finished.stderr) == (3, b"out", b"err")
    assert [(call.argv, call.stdin) for call in fake.calls()] == [(("get", "x"), "body")]


def test_large_input_and_output_cross_without_deadlock() -> None:
    body = b"0123456789abcdef" * 200_000
    finished = RUN(["/bin/cat"], stdin=body, timeout=20)
    assert finished.stdout == body


def test_program_that_ignores_its_input() -> None:
    finished = RUN(["/bin/sh", "-c", "exec 0<&-; echo done"], stdin=b"x" * 1_000_000, timeout=20)
    assert (finished.status, finished.stdout) == (0, b"done\n")


def test_only_the_given_environment_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAK", "from the process")
    finished = RUN(["/usr/bin/env"], stdin=b"", timeout=20)
    assert b"MARK=of the caller" in finished.stdout
    assert b"LEAK" not in finished.stdout


def test_timeout_ends_the_program_and_its_children(tmp_path: Path) -> None:
    note = tmp_path / "child"
    started = time.monotonic()
    with pytest.raises(ClusterError, match="did not finish in time") as caught:
        RUN(["/bin/sh", "-c", f"sleep 60 & echo $! > {note}; wait"], stdin=b"", timeout=0.5)
    assert caught.value.retryable
    child = Path("/proc") / note.read_text().strip() / "stat"
    # Ended, or dead and waiting for its parent to look.
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() - started < 10
        time.sleep(0.05)


def test_timeout_with_closed_outputs() -> None:
    with pytest.raises(ClusterError, match="did not finish in time"):
        RUN(["/bin/sh", "-c", "exec >&- 2>&-; exec sleep 60"], stdin=b"", timeout=0.3)


def test_too_much_output_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MAX_STDOUT", 1000)
    with pytest.raises(ClusterError, match="printed too much"):
        RUN([sys.executable, "-c", "print('x' * 100000)"], stdin=b"", timeout=20)


def test_endless_output_is_refused() -> None:
    with pytest.raises(ClusterError, match="printed too much"):
        RUN(["/bin/sh", "-c", "yes >&2"], stdin=b"", timeout=20)


def test_signal_is_a_negative_status() -> None:
    assert RUN(["/bin/sh", "-c", "kill -9 $$"], stdin=b"", timeout=20).status == -9


@pytest.mark.parametrize("name", ["missing", "not-executable"])
def test_program_that_cannot_start(tmp_path: Path, name: str) -> None:
    (tmp_path / "not-executable").write_text("#!/bin/sh\n")
    with pytest.raises(ClusterError, match="cannot be started") as caught:
        RUN([str(tmp_path / name)], stdin=b"", timeout=20)
    assert caught.value.why in {"No such file or directory", "Permission denied"}
