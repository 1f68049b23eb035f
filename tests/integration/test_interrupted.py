"""Ctrl-C and SIGTERM while a registry hangs, is slow or asks for patience: it ends at once, with its report."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from tests.support.cli import Cli
from tests.support.images import make_image, make_layer
from tests.support.registry import RegistryServer

LAYERS = [make_layer(f"layer{number}", 3_000_000) for number in range(3)]
BUILD = ("build", "bundle.yaml", "-o", ".", "--key", "builder.key", "--plain-http")
SOON = 10
"""Seconds in which it has to end; each of the waits it is in lasts a minute and more."""
LATER = {"Retry-After": "100"}


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        make_image(layers=LAYERS, platforms=["linux/amd64"]).put(server.store, "app", "1")
        yield server


@pytest.fixture
def target() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


@pytest.fixture
def cli(tmp_path: Path, source: RegistryServer) -> Cli:
    cli = Cli(tmp_path)
    cli.bundler("keygen", "builder").expect()
    text = f'name: app\nversion: "1"\nregistry: r.example:5000\nimages:\n- {source.host}/app:1\n'
    (tmp_path / "bundle.yaml").write_text(text)
    return cli


def end(cli: Cli, command: list[str], ready: Callable[[], bool], *signals: int) -> str:
    """Send ``signals`` once ``ready``; return what it said on stderr, having ended soon and with 130."""
    running = subprocess.Popen(
        command, cwd=cli.folder, env=cli.variables(), text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 30
    while not ready():
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    for number in signals:
        running.send_signal(number)
    _, err = running.communicate(timeout=SOON)
    assert running.returncode == 130, err
    assert "Traceback" not in err
    assert "error: interrupted" in err
    return err


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("hang", {"method": "HEAD"}),
        ("hang", {"method": "PUT", "path": "/uploads/"}),
        ("hang", {"method": "PUT", "path": "/manifests/"}),
        ("status", {"method": "HEAD", "status": 429, "headers": LATER}),
        ("status", {"method": "PUT", "status": 503, "headers": LATER}),
    ],
    ids=["hangs when asked", "takes no blob", "takes no manifest", "too many requests", "not now"],
)
@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGINT,)], ids=["SIGTERM", "Ctrl-C"])
def test_a_push_ends_at_once(
    cli: Cli, target: RegistryServer, kind: str, details: dict[str, object], signals: tuple[int, ...]
) -> None:
    cli.bundler(*BUILD).expect()
    stuck = target.fail(kind, times=99, seconds=60, **details)
    options = ("--trust", "builder.pub", "--registry", target.host, "--plain-http")
    command = cli.command("airgap-loader", "push", "app-1.tar.zst", *options)
    end(cli, command, lambda: stuck.times < 99, *signals)
    target.faults.clear()
    report = cli.folder / "app-1.load.json"
    assert not report.exists() or json.loads(report.read_text())["state"] == "interrupted"
    cli.loader("push", "app-1.tar.zst", *options).expect()


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize(
    "signals", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT,) * 4], ids=["SIGTERM", "Ctrl-C", "several"]
)
def test_a_build_ends_at_once(cli: Cli, source: RegistryServer, path: str, signals: tuple[int, ...]) -> None:
    stuck = source.fail("hang", path=path, times=99, seconds=60)
    command = cli.command("airgap-bundler", *BUILD)
    end(cli, command, lambda: stuck.times < 99, *signals)
    source.faults.clear()
    cli.bundler(*BUILD).expect()


def test_a_build_at_a_limited_rate_ends_at_once(cli: Cli, source: RegistryServer) -> None:
    command = cli.command("airgap-bundler", *BUILD, "--limit-rate", "50k")
    end(cli, command, lambda: bool(source.seen("GET", "/blobs/")), signal.SIGTERM)


def test_an_error_is_told_though_another_transfer_hangs(cli: Cli, source: RegistryServer) -> None:
    digests = [digest_of(layer) for layer in LAYERS]
    source.fail("status", path=digests[0], status=403, times=9)
    source.fail("hang", path=digests[1], times=9, seconds=60)
    started = time.monotonic()
    cli.bundler(*BUILD).expect(6)
    assert time.monotonic() - started < SOON * 2
