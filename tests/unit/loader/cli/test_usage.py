"""What is typed wrong is told in three lines, as every other error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loader.cli import main
from loader.cli.early import told_when_stopped
from tests.support.cli import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.mark.parametrize(
    ("typed", "what"),
    [
        (["load", "--bogus"], "airgap-loader load: no such option: --bogus"),
        (["verify"], "airgap-loader verify: missing argument 'SOURCE"),
        (["push", "x", "--jobs", "99"], "airgap-loader push: invalid value for '--jobs'"),
        (["extract", "x"], "airgap-loader extract: missing option '-o'"),
        (["nonsense"], "airgap-loader: no such command 'nonsense'"),
        (["trust", "nonsense"], "airgap-loader trust: no such command 'nonsense'"),
    ],
)
def test_it_names_the_command_and_where_its_help_is(cli: Cli, typed: list[str], what: str) -> None:
    first, why, hint = cli.loader(*typed).expect(2).three_lines
    command = what.partition(":")[0]
    assert what in first
    assert f"usage: {command} " in why
    assert f"{command} --help" in hint


def test_as_json_it_is_one_document(cli: Cli) -> None:
    error = cli.bundler("build", "--json").expect(2).json["error"]
    assert error["code"] == 2
    assert "missing argument 'CONFIG'" in error["message"]


@pytest.mark.parametrize("typed", [[], ["trust"]])
def test_nothing_typed_shows_the_help(cli: Cli, typed: list[str]) -> None:
    ran = cli.loader(*typed)
    assert "Commands:" in ran.out + ran.err
    assert "error: " not in ran.err


def test_a_file_that_may_not_be_read_was_not_typed_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").touch()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may read everything
    monkeypatch.setattr(sys, "argv", ["airgap-loader", "verify", str(tmp_path / "x")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "may not read" in capsys.readouterr().err


def test_who_interrupts_before_anything_began_sees_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, told_when_stopped():
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize("typed", ["--help", "--version", "verify --help", "completion bash"])
def test_a_full_disk_under_what_is_printed(cli: Cli, typed: str) -> None:
    with Path("/dev/full").open("w") as full:
        command = cli.command("airgap-loader", *typed.split())
        done = subprocess.run(command, env=cli.variables(), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: not all could be printed"
    assert len(done.stderr.splitlines()) == 3


def test_a_key_that_is_empty_is_not_no_key(cli: Cli) -> None:
    assert "--key is empty" in cli.bundler("sign", "x.tar.zst", "--key", "").expect(2).three_lines[0]


@pytest.mark.parametrize("option", ["--ca-file", "--cert-dir", "--authfile", "--kubeconfig"])
def test_a_file_that_is_not_there_is_told_before_the_bundle_is_read(cli: Cli, option: str) -> None:
    (cli.folder / "x.tar.zst").write_bytes(b"no bundle")
    lines = cli.loader("load", "x.tar.zst", "--yes", option, "nowhere").expect(2).three_lines
    assert "nowhere" in lines[0]
