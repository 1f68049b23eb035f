"""A site file that somebody else wrote, or that leads elsewhere: refused before anything is read, sent or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import ARCHIVE, make_signer, tiny_recipe
from tests.support.cli import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / ARCHIVE).write_bytes(tiny_recipe().archive())
    for name in ("builder", "stranger"):
        (tmp_path / f"{name}.pub").write_bytes(make_signer(name).public.pem)
    (tmp_path / "site.toml").write_text('trust = "builder.pub"\nregistry = "127.0.0.1:9"\n')
    return Cli(tmp_path)


def link(path: Path) -> None:
    path.rename(path.with_name("other.toml"))
    path.symlink_to("other.toml")


HOSTILE: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "others can write": (lambda path: path.chmod(0o666), 3, "writable by others"),
    "the group can write": (lambda path: path.chmod(0o664), 3, "writable by its group"),
    "is a link": (link, 3, "symbolic link"),
    "lies where everybody can write": (lambda path: path.parent.chmod(0o777), 3, "everybody can write"),
    "is no TOML": (lambda path: path.write_text("trust ="), 2, "no site file"),
    "is larger than any": (lambda path: path.write_text("#" * 100_000), 2, "no site file"),
    "is not text": (lambda path: path.write_bytes(b"\xff\xfe\0"), 2, "no site file"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_site_file_that(name: str, cli: Cli) -> None:
    change, status, word = HOSTILE[name]
    change(cli.folder / "site.toml")
    ran = cli.loader("push", ARCHIVE, "--site", "site.toml", "--plain-http")
    assert ran.status == status, ran.err
    assert word in "".join(ran.three_lines[:2])
    assert not (cli.home / ".local").exists()


def test_a_site_file_found_by_itself_is_guarded_too(cli: Cli) -> None:
    place = cli.home / ".config/airgap-loader"
    place.mkdir(parents=True)
    (place / "site.toml").write_text(f'trust = "{cli.folder}/stranger.pub"\n')
    (place / "site.toml").chmod(0o666)
    ran = cli.loader("verify", ARCHIVE, "--trust", "builder.pub")
    assert ran.status == 3, ran.err


def test_a_site_file_does_not_replace_what_was_typed(cli: Cli) -> None:
    (cli.folder / "site.toml").write_text('trust = "stranger.pub"\n')
    cli.loader("verify", ARCHIVE, "--site", "site.toml", "--trust", "builder.pub").expect()
    assert cli.loader("verify", ARCHIVE, "--site", "site.toml").status == 3


def test_a_site_file_that_sends_a_misspelt_key(cli: Cli) -> None:
    (cli.folder / "site.toml").write_text('registri = "evil.example"\ntrust = "builder.pub"\n')
    ran = cli.loader("push", ARCHIVE, "--site", "site.toml", "--plain-http")
    assert ran.status == 2, ran.err
    assert "did you mean registry?" in ran.err
