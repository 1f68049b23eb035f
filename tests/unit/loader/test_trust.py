from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loader.bundle.errors import AirgapError, ConfigError, StorageError, TrustError
from loader.bundle.policy import Rule
from loader.trust import find_trust, load_trust, parse_toml
from tests.support.bundles import make_signer
from tests.support.refusals import refused

A, B = make_signer("a").public, make_signer("b").public


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.pub").write_bytes(A.pem)
    (tmp_path / "b.pub").write_bytes(B.pem)
    return tmp_path


def test_what_is_given_comes_first_whether_it_is_there_or_not(folder: Path) -> None:
    assert find_trust("given", [folder]) == Path("given")


def test_the_first_place_that_exists_is_taken(folder: Path) -> None:
    assert find_trust("", [folder / "none", folder, folder / "a.pub"]) == folder


def test_no_place_is_no_trust(tmp_path: Path) -> None:
    with refused(TrustError, "no trusted key", str(tmp_path / "one"), str(tmp_path / "two")):
        find_trust("", [tmp_path / "one", tmp_path / "two"])


def test_a_place_that_leads_nowhere_does_not_hand_over_to_the_next(folder: Path) -> None:
    link = folder / "link"
    link.symlink_to(folder / "gone")
    assert find_trust("", [link, folder]) == link


def test_a_place_that_cannot_be_looked_for_does_not_hand_over_to_the_next(folder: Path) -> None:
    with refused(StorageError, "cannot look for"):
        find_trust("", [folder / ("a" * 300), folder])


def test_one_key_file(folder: Path) -> None:
    policy = load_trust(folder / "a.pub")
    assert [(key.name, key.fingerprint) for key in policy.usable] == [("a", A.fingerprint)]
    assert policy.rule == Rule(1, ())


def test_a_folder_of_keys_and_nothing_but_keys(folder: Path) -> None:
    (folder / "README").write_text("not a key")
    (folder / "a.pub.bak").write_text("not a key")
    assert [key.name for key in load_trust(folder).usable] == ["a", "b"]


def test_a_policy_beside_the_keys(folder: Path) -> None:
    (folder / "policy.toml").write_text('threshold = 2\n[names.demo]\nthreshold = 1\nrequired = ["b"]\n')
    policy = load_trust(folder)
    assert (policy.rule, policy.names) == (Rule(2, ()), {"demo": Rule(1, ("b",))})


@pytest.mark.parametrize("text", [b"threshold = ", b"\xff", b"a = 1\na = 2\n", b"x = " + b"[" * 100_000])
def test_a_policy_that_is_no_toml(text: bytes, folder: Path) -> None:
    (folder / "policy.toml").write_bytes(text)
    with refused(ConfigError, "policy.toml", "not TOML"):
        load_trust(folder)


@pytest.mark.parametrize("text", ["", "treshold = 1\n", "threshold = 3\n"])
def test_a_policy_that_is_refused_is_named(text: str, folder: Path) -> None:
    (folder / "policy.toml").write_text(text)
    with refused(ConfigError, str(folder / "policy.toml")):
        load_trust(folder)


def test_a_policy_that_leads_nowhere_is_not_no_policy(folder: Path) -> None:
    # Without it one signature would be enough.
    (folder / "policy.toml").symlink_to(folder / "gone.toml")
    with refused(TrustError, "policy.toml", "symbolic link"):
        load_trust(folder)


def test_a_policy_larger_than_any(folder: Path) -> None:
    (folder / "policy.toml").write_bytes(b"#" * (256 * 1024 + 1))
    with refused(AirgapError, "policy.toml", "too large"):
        load_trust(folder)


@pytest.mark.parametrize("name", ["schlüssel", "two words", "\x1b[31m", "x" * 65, "-o"])
def test_a_key_whose_name_no_report_can_hold(name: str, folder: Path) -> None:
    path = folder / f"{name}.pub"
    path.write_bytes(A.pem)
    for place in (folder, path):
        with refused(ConfigError, "can't name a key"):
            load_trust(place)


def test_too_many_keys(tmp_path: Path) -> None:
    for number in range(257):
        (tmp_path / f"{number}.pub").write_bytes(A.pem)
    with refused(ConfigError, str(tmp_path), "257"):
        load_trust(tmp_path)


def test_a_key_that_cannot_be_read(folder: Path) -> None:
    (folder / "c.pub").mkdir()
    with refused(StorageError, "c.pub"):
        load_trust(folder)
    with refused(StorageError, "none"):
        load_trust(folder / "none")


def test_toml_is_read_by_tomli_where_the_standard_library_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tomli:
        @staticmethod
        def loads(text: str) -> dict[str, object]:
            return {"read": text}

    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", Tomli)
    assert parse_toml(b"a = 1", "x") == {"read": "a = 1"}
