"""Trust that somebody else could have written: refused as sshd refuses such files, before anything is read for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bundles import ARCHIVE, make_signer, tiny_recipe
from tests.support.cli import Cli

BUILDER, STRANGER = make_signer("builder"), make_signer("stranger")


@pytest.fixture
def site(tmp_path: Path) -> Cli:
    """A bundle, and a trust folder that is in order."""
    folder = tmp_path / "trust"
    folder.mkdir(mode=0o755)
    (folder / "builder.pub").write_bytes(BUILDER.public.pem)
    (folder / "policy.toml").write_text("threshold = 1\n")
    (tmp_path / ARCHIVE).write_bytes(tiny_recipe().archive())
    return Cli(tmp_path)


def exchange(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("elsewhere")


def link_the_key(folder: Path) -> None:
    (folder / "builder.pub").rename(folder.parent / "key")
    (folder / "builder.pub").symlink_to(folder.parent / "key")


def link_the_policy(folder: Path) -> None:
    (folder / "policy.toml").rename(folder.parent / "other.toml")
    (folder / "policy.toml").symlink_to("../other.toml")


HOSTILE: dict[str, tuple[Callable[[Path], object], str]] = {
    "is a symbolic link": (exchange, "symbolic link"),
    "is writable by others": (lambda folder: folder.chmod(0o777), "writable by others"),
    "is writable by its group": (lambda folder: folder.chmod(0o775), "writable by its group"),
    "stands in a folder that everybody can write": (lambda folder: folder.parent.chmod(0o777), "everybody can write"),
    "has a key that others can write": (lambda folder: (folder / "builder.pub").chmod(0o666), "writable by others"),
    "has a policy that others can write": (lambda folder: (folder / "policy.toml").chmod(0o646), "writable by others"),
    "has a key that is a link": (link_the_key, "symbolic link"),
    "has a policy that is a link": (link_the_policy, "symbolic link"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_trust_folder_that(name: str, site: Cli) -> None:
    change, word = HOSTILE[name]
    change(site.folder / "trust")
    # Nothing listens there: an exit code of 6 would mean that a registry was asked.
    ran = site.loader("push", ARCHIVE, "--trust", "trust", "--registry", "127.0.0.1:9", "--plain-http")
    assert ran.status == 3, ran.err
    assert word in "".join(ran.three_lines[:2])
    assert not list(site.folder.glob("*.load.json"))


@pytest.mark.parametrize("verb", ["revoke", "add"])
def test_no_verb_changes_a_folder_that_others_can_write(verb: str, site: Cli) -> None:
    folder = site.folder / "trust"
    (site.folder / "stranger.pub").write_bytes(STRANGER.public.pem)
    folder.chmod(0o777)
    before = sorted((path.name, path.read_bytes()) for path in folder.iterdir())
    more = {"revoke": ["builder"], "add": ["stranger.pub", "--fingerprint", STRANGER.public.fingerprint]}
    ran = site.loader("trust", verb, *more[verb], "--trust", "trust")
    assert ran.status == 3, ran.err
    assert sorted((path.name, path.read_bytes()) for path in folder.iterdir()) == before


@pytest.mark.parametrize(("name", "right"), [("Policy.toml", "policy.toml"), ("approver.PUB", "approver.pub")])
def test_a_file_that_counts_for_nothing_by_its_capitals(name: str, right: str, site: Cli) -> None:
    (site.folder / "trust" / name).write_text("threshold = 2\n")
    for typed in (["verify", ARCHIVE, "--trust", "trust"], ["trust", "list", "--trust", "trust"]):
        lines = site.loader(*typed).expect(2).three_lines
        assert name in lines[0]
        assert f"rename it to {right}" in lines[2]


def test_a_policy_that_says_nothing(site: Cli) -> None:
    (site.folder / "trust" / "policy.toml").write_text("# threshold = 2\n")
    ran = site.loader("verify", ARCHIVE, "--trust", "trust")
    assert ran.status == 2, ran.err
    assert "empty" in ran.three_lines[0]


def test_a_key_beside_the_bundle_is_shown_and_never_trusted(site: Cli) -> None:
    (site.folder / "stranger.pub").write_bytes(STRANGER.public.pem)
    ran = site.loader("trust", "add", "stranger.pub", "--trust", "trust")
    assert ran.status == 2, ran.err
    assert STRANGER.public.fingerprint not in ran.out + ran.err
    listed = site.loader("trust", "list", "--trust", "trust", "--json").expect().json
    assert [key["name"] for key in listed["keys"]] == ["builder"]


def test_a_key_of_another_fingerprint_than_the_slip_s(site: Cli) -> None:
    (site.folder / "new.pub").write_bytes(STRANGER.public.pem)
    ran = site.loader("trust", "add", "new.pub", "--fingerprint", BUILDER.public.fingerprint, "--trust", "trust")
    assert ran.status == 3, ran.err
    assert not (site.folder / "trust" / "new.pub").exists()


def test_a_new_key_that_vouches_for_itself(site: Cli) -> None:
    new = site.folder / "new.pub"
    new.write_bytes(STRANGER.public.pem)
    (site.folder / "new.sig").write_bytes(STRANGER.sign(new.read_bytes()))
    ran = site.loader("trust", "add", "new.pub", "--endorsed-by", "new.sig", "--trust", "trust")
    assert ran.status == 3, ran.err
    assert not (site.folder / "trust" / "new.pub").exists()
