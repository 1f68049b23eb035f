"""Clock trouble in words: a certificate that is valid at another time, and a registry whose clock is off."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support.bundles import ARCHIVE, make_signer, tiny_recipe
from tests.support.certificates import PrivateAuthority
from tests.support.cli import Cli
from tests.support.programs import docker_registry
from tests.support.registry import RegistryServer

STAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / ARCHIVE).write_bytes(tiny_recipe().archive())
    (tmp_path / "builder.pub").write_bytes(make_signer("builder").public.pem)
    return Cli(tmp_path)


@pytest.mark.parametrize(("hours", "word"), [(-100, "expired"), (100, "not valid yet")])
def test_a_certificate_of_another_time(hours: int, word: str, cli: Cli) -> None:
    authority = PrivateAuthority(cli.folder / "ca")
    with docker_registry(cli.folder / "registry", tls=authority.pair(hours=hours)) as registry:
        command = ("push", ARCHIVE, "--trust", "builder.pub", "--registry", registry.host)
        ran = cli.loader(*command, "--ca-file", authority.certificate)
    assert ran.status == 6, ran.err
    lines = ran.three_lines
    assert lines[0] == f"error: the certificate of {registry.host} is {word}"
    assert re.search(rf"host clock reads {STAMP}, registry says {STAMP}", lines[1])
    assert "the clocks agree" in lines[2]


def test_a_registry_whose_clock_is_off(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", lambda *_: "Mon, 05 Jan 2015 10:00:00 GMT")
    with RegistryServer() as registry:
        command = ("push", ARCHIVE, "--trust", "builder.pub", "--registry", registry.host, "--plain-http")
        ran = cli.loader(*command).expect()
    assert re.search(rf"host clock reads {STAMP}, registry says 2015-01-05T10:00:00Z", ran.out)
