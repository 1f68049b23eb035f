"""``login`` at Debian's registry, over TLS of a private CA; what it keeps is skopeo's and the site's."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bundles import ARCHIVE, make_signer, tiny_recipe
from tests.support.certificates import PrivateAuthority
from tests.support.cli import Cli
from tests.support.programs import PASSWORD, USER, DebianRegistry, docker_registry, skopeo


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> PrivateAuthority:
    return PrivateAuthority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, authority: PrivateAuthority) -> Iterator[DebianRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry"), tls=authority.pair(), login=True) as found:
        yield found


def test_a_login_is_tried_kept_and_used(registry: DebianRegistry, authority: PrivateAuthority, tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (tmp_path / ARCHIVE).write_bytes(tiny_recipe().archive())
    (tmp_path / "builder.pub").write_bytes(make_signer("builder").public.pem)
    (tmp_path / "site.toml").write_text(
        f'registry = "{registry.host}"\nauthfile = "auth.json"\ntrust = "builder.pub"\nreports = "reports"\n'
    )
    ca = ("--ca-file", authority.certificate)
    command = ("login", registry.host, "-u", USER, "--password-stdin", "--site", "site.toml", *ca)
    wrong = cli.loader(*command, stdin="wrong\n")
    assert wrong.status == 6, wrong.err
    assert "wrong" not in wrong.three_lines[0]
    assert not (tmp_path / "auth.json").exists()
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"other.example": {"auth": "eDp5"}}, "credHelpers": {}}))
    ran = cli.loader(*command, stdin=f"{PASSWORD}\n").expect()
    assert PASSWORD not in ran.out + ran.err
    assert stat.S_IMODE((tmp_path / "auth.json").stat().st_mode) == 0o600
    kept = json.loads((tmp_path / "auth.json").read_text())
    assert kept["auths"].keys() == {"other.example", registry.host}
    cli.loader("push", ARCHIVE, "--site", "site.toml", *ca).expect()
    assert (tmp_path / "reports/demo-1.load.json").is_file()
    certificates = tmp_path / "certs"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes(authority.certificate.read_bytes())
    access = ("--authfile", str(tmp_path / "auth.json"), "--cert-dir", str(certificates))
    assert skopeo(tmp_path / "home2", "inspect", "--raw", *access, f"docker://{registry.host}/apps/app0:v1")


def test_without_an_authfile_the_login_is_kept_where_skopeo_looks(
    registry: DebianRegistry, authority: PrivateAuthority, tmp_path: Path
) -> None:
    places = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    command = ("login", registry.host, "-u", USER, "--password-stdin", "--ca-file", authority.certificate)
    Cli(tmp_path, environ=places).loader(*command, stdin=PASSWORD).expect()
    Cli(tmp_path).loader(*command, stdin=PASSWORD).expect()
    for path in (tmp_path / "run/containers/auth.json", tmp_path / "home/.config/containers/auth.json"):
        entry = json.loads(path.read_text())["auths"][registry.host]["auth"]
        assert base64.b64decode(entry).decode() == f"{USER}:{PASSWORD}"


@pytest.mark.parametrize(
    ("arguments", "stdin", "word"),
    [
        (("-u", "a:b", "--password-stdin"), "x", "no login"),
        (("-u", "a", "--password-stdin"), "", "no login"),
        (("-u", "a", "--password-stdin"), "x" * 70_000, "no password"),
        (("-u", "a"), "x", "nobody can be asked"),
    ],
)
def test_what_is_no_login(arguments: tuple[str, ...], stdin: str, word: str, tmp_path: Path) -> None:
    ran = Cli(tmp_path).loader("login", "127.0.0.1:9", *arguments, stdin=stdin)
    assert ran.status == 2, ran.err
    assert word in ran.three_lines[0]
