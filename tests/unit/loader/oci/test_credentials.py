from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import ConfigError
from loader.oci.credentials import MAX_AUTHFILE, Credential, Credentials, run_helper
from loader.oci.environment import Environment
from loader.oci.registriesconf import AUTH_FILES
from tests.support.clients import no_helper


def packed(user: str, password: str = "pw") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def write(path: Path, plain: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plain if isinstance(plain, str) else json.dumps(plain))
    return path


def environment(root: Path, **more: Any) -> Environment:
    return Environment(home=root / "home", uid=1000, etc=root / "etc", run=root / "run", **more)


def user_of(credentials: Credentials, host: str, repository: str) -> str | None:
    found = credentials.find(host, repository)
    return found.username if found else None


def in_file(tmp_path: Path, plain: Any, host: str, repository: str) -> Credential | None:
    return Credentials(environment(tmp_path), no_helper, authfile=write(tmp_path / "a.json", plain)).find(
        host, repository
    )


@pytest.mark.parametrize(
    ("repository", "user"),
    [("ns/repo", "repo"), ("ns/other", "ns"), ("ns/repo/deep", "repo"), ("x", "host"), ("", "host")],
)
def test_the_most_specific_key_wins(tmp_path: Path, repository: str, user: str) -> None:
    auths = {"q.io": packed("host"), "q.io/ns": packed("ns"), "q.io/ns/repo": packed("repo"), "q.io/n": packed("no")}
    found = in_file(tmp_path, {"auths": auths}, "q.io", repository)
    assert found is not None
    assert found.username == user


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
        ("https://reg:5000", "reg:5000"),
        ("https://reg:5000/v2/", "reg:5000"),
        ("https://reg:5000/v2", "reg:5000"),
    ],
)
def test_keys_as_docker_writes_them(tmp_path: Path, key: str, host: str) -> None:
    assert in_file(tmp_path, {"auths": {key: packed("u")}}, host, "a/b") == Credential("u", "pw")


@pytest.mark.parametrize("key", ["reg", "reg:50", "other:5000", "reg:5000x"])
def test_another_host_gets_nothing(tmp_path: Path, key: str) -> None:
    assert in_file(tmp_path, {"auths": {key: packed("u")}}, "reg:5000", "a/b") is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (packed("u", "p:with:colons"), Credential("u", "p:with:colons")),
        ({"username": "u", "password": "p"}, Credential("u", "p")),
        ({"identitytoken": "t", **packed("u")}, Credential("u", "pw", "t")),
        (packed("u", ""), Credential("u", "")),
        ({"auth": "dTpw\r\nOnE=\n"}, Credential("u", "p:q")),
        ({"username": "u"}, None),
        ({}, None),
        ({"auth": ""}, None),
        ("text", None),
        ({"username": 5, "password": 6}, None),
    ],
)
def test_forms_of_an_entry(tmp_path: Path, entry: Any, expected: Credential | None) -> None:
    assert in_file(tmp_path, {"auths": {"r": entry}}, "r", "a") == expected


def test_default_files_in_skopeos_order(tmp_path: Path) -> None:
    places = [
        tmp_path / "run/containers/1000/auth.json",
        tmp_path / "home/.config/containers/auth.json",
        tmp_path / "home/.docker/config.json",
        tmp_path / "home/.dockercfg",
    ]
    for number, path in reversed(list(enumerate(places))):
        entries = {"r": packed(f"user{number}")}
        write(path, entries if path.name == ".dockercfg" else {"auths": entries})
        assert user_of(Credentials(environment(tmp_path), no_helper), "r", "a") == f"user{number}"


def test_variables_move_the_default_files(tmp_path: Path) -> None:
    write(tmp_path / "x/containers/auth.json", {"auths": {"one": packed("runtime")}})
    write(tmp_path / "d/config.json", {"auths": {"two": packed("docker")}})
    moved = environment(tmp_path, xdg_runtime_dir=tmp_path / "x", docker_config=tmp_path / "d")
    credentials = Credentials(moved, no_helper)
    assert (user_of(credentials, "one", "a"), user_of(credentials, "two", "a")) == ("runtime", "docker")


def test_an_explicit_file_is_the_only_one(tmp_path: Path) -> None:
    write(tmp_path / "home/.docker/config.json", {"auths": {"r": packed("default")}})
    empty = write(tmp_path / "empty.json", {})
    assert Credentials(environment(tmp_path), no_helper, authfile=empty).find("r", "a") is None
    assert Credentials(environment(tmp_path, registry_auth_file=empty), no_helper).find("r", "a") is None


def test_an_explicit_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.json"):
        Credentials(environment(tmp_path), no_helper, authfile=tmp_path / "missing.json")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"auths":' + "[" * 100_000,
        " " * (MAX_AUTHFILE + 1),
        '{"auths":{"r":{"auth":"c2VjcmV0LXdvcmQ="}}}',
        '{"auths":{"r":{"auth":"secret-word"}}}',
    ],
)
def test_a_broken_file_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        in_file(tmp_path, text, "r", "a")
    assert "a.json" in str(caught.value)
    assert "secret" not in str(caught.value)


class Helper:
    """A credential helper that answers from a table and counts."""

    def __init__(self, answer: bytes = b"", status: int = 0) -> None:
        self.calls: list[tuple[tuple[str, ...], bytes]] = []
        self._answer = (status, answer)

    def __call__(self, argv: Sequence[str], stdin: bytes) -> tuple[int, bytes]:
        self.calls.append((tuple(argv), stdin))
        return self._answer


ANSWER = json.dumps({"ServerURL": "r", "Username": "u", "Secret": "helper-secret"}).encode()


@pytest.mark.parametrize(
    ("plain", "host", "asked"),
    [
        ({"credHelpers": {"r": "store"}}, "r", b"r"),
        ({"credsStore": "store", "auths": {"r": {}}}, "r", b"r"),
        ({"credsStore": "store"}, "docker.io", b"https://index.docker.io/v1/"),
    ],
)
def test_helpers_are_asked_once_per_repository(tmp_path: Path, plain: Any, host: str, asked: bytes) -> None:
    helper = Helper(ANSWER)
    credentials = Credentials(environment(tmp_path), helper, authfile=write(tmp_path / "a.json", plain))
    assert credentials.find(host, "a") == credentials.find(host, "a") == Credential("u", "helper-secret")
    assert helper.calls == [(("docker-credential-store", "get"), asked)]


def test_a_helper_may_hand_out_an_identity_token(tmp_path: Path) -> None:
    helper = Helper(json.dumps({"Username": "<token>", "Secret": "t"}).encode())
    file = write(tmp_path / "a.json", {"credHelpers": {"r": "x"}})
    assert Credentials(environment(tmp_path), helper, authfile=file).find("r", "a") == Credential("", "", "t")


def test_a_helper_without_a_login_is_no_error(tmp_path: Path) -> None:
    helper = Helper(b"credentials not found in native keychain\n", status=1)
    file = write(tmp_path / "a.json", {"credsStore": "x"})
    assert Credentials(environment(tmp_path), helper, authfile=file).find("r", "a") is None


@pytest.mark.parametrize(
    ("helper", "name"),
    [
        (Helper(b"locked helper-secret", status=2), "x"),
        (Helper(b"helper-secret"), "x"),
        (Helper(b'{"Username": 5, "Secret": "helper-secret"}'), "x"),
        (Helper(b'["helper-secret"]'), "x"),
        (no_helper, "x"),
        (Helper(ANSWER), "../evil"),
        (Helper(ANSWER), "a b"),
    ],
)
def test_a_failing_helper_is_named_and_not_quoted(tmp_path: Path, helper: Any, name: str) -> None:
    file = write(tmp_path / "a.json", {"credHelpers": {"r": name}})
    with pytest.raises(ConfigError) as caught:
        Credentials(environment(tmp_path), helper, authfile=file).find("r", "a")
    assert "helper-secret" not in str(caught.value)


def test_a_real_helper_gets_the_server_on_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker-credential-fake"
    program.write_text('#!/bin/sh\nread server\nprintf \'{"Username":"%s","Secret":"%s"}\' "$1" "$server"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    file = write(tmp_path / "a.json", {"credHelpers": {"reg:5000": "fake"}})
    found = Credentials(environment(tmp_path), run_helper, authfile=file).find("reg:5000", "a")
    assert found == Credential("get", "reg:5000")


def test_a_credential_is_never_shown() -> None:
    assert "pw" not in repr(Credential("user", "pw", "token"))
    assert "token" not in repr(Credential("user", "pw", "token"))


def answering(**users: str) -> Any:
    """Helpers by name that know every host (``-`` for none), or fail."""

    def run(argv: Sequence[str], stdin: bytes) -> tuple[int, bytes]:
        user = users[argv[0].removeprefix("docker-credential-")]
        if user == "broken":
            return 1, b"no keyring"
        known = json.dumps({"Username": user, "Secret": "pw"}).encode()
        return (1, b"credentials not found in native keychain") if user == "-" else (0, known)

    return run


@pytest.mark.parametrize(
    ("helpers", "user"),
    [
        (("one", AUTH_FILES), "first"),
        ((AUTH_FILES, "one"), "file"),
        (("none", "one"), "first"),
        (("none",), None),
        (("broken", AUTH_FILES), "file"),
        ((), None),
    ],
)
def test_helpers_of_registries_conf_in_their_order(tmp_path: Path, helpers: Sequence[str], user: str | None) -> None:
    file = write(tmp_path / "a.json", {"auths": {"r": packed("file")}})
    run = answering(one="first", none="-", broken="broken")
    credentials = Credentials(environment(tmp_path), run, authfile=file, helpers=lambda: helpers)
    assert user_of(credentials, "r", "a") == user


def test_a_broken_helper_is_told_where_nobody_else_knows_the_host(tmp_path: Path) -> None:
    run = answering(broken="broken", none="-")
    credentials = Credentials(environment(tmp_path), run, helpers=lambda: ("broken", "none", AUTH_FILES))
    with pytest.raises(ConfigError, match="docker-credential-broken gave no login for r"):
        credentials.find("r", "a")
    with pytest.raises(ConfigError, match=r"registries\.conf names an impossible"):
        Credentials(environment(tmp_path), run, helpers=lambda: ("../x",)).find("r", "a")
