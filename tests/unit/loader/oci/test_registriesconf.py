from __future__ import annotations

from pathlib import Path

import pytest

from loader.bundle.errors import ConfigError
from loader.oci.environment import Environment
from loader.oci.model import ImageRef
from loader.oci.registriesconf import AUTH_FILES, MAX_FILE, RegistriesConf, load_registries_conf, parse_registries_conf

DIGEST = "@sha256:" + "a" * 64


def conf(text: str) -> RegistriesConf:
    return RegistriesConf(parse_registries_conf(text.encode(), "the file"))


def places(text: str, ref: str) -> list[str]:
    endpoints = conf(text).pull_endpoints(ImageRef.parse(ref))
    return [f"{one.host}/{one.repository}{'!' if one.insecure else ''}" for one in endpoints]


MIRRORED = """
[[registry]]
location = "docker.io/ceph"
{extra}
[[registry.mirror]]
location = "m1:5000/ceph"
insecure = true
[[registry.mirror]]
location = "m2.io/x"
"""


@pytest.mark.parametrize(
    ("extra", "ref", "expected"),
    [
        ("", "ceph/ceph:v1", ["m1:5000/ceph/ceph!", "m2.io/x/ceph", "docker.io/ceph/ceph"]),
        ("insecure = true", "ceph/ceph:v1", ["m1:5000/ceph/ceph!", "m2.io/x/ceph", "docker.io/ceph/ceph!"]),
        ("blocked = true", "ceph/ceph:v1", ["m1:5000/ceph/ceph!", "m2.io/x/ceph"]),
        ("mirror-by-digest-only = true", "ceph/ceph:v1", ["docker.io/ceph/ceph"]),
        (
            "mirror-by-digest-only = true",
            "ceph/ceph" + DIGEST,
            ["m1:5000/ceph/ceph!", "m2.io/x/ceph", "docker.io/ceph/ceph"],
        ),
        ("", "rook/ceph:v1", ["docker.io/rook/ceph"]),
        ("", "quay.io/ceph/ceph:v1", ["quay.io/ceph/ceph"]),
    ],
)
def test_mirrors_come_first_and_the_source_last(extra: str, ref: str, expected: list[str]) -> None:
    assert places(MIRRORED.format(extra=extra), ref) == expected


@pytest.mark.parametrize(
    ("pull_from", "tagged", "by_digest"), [("all", True, True), ("digest-only", False, True), ("tag-only", True, False)]
)
def test_a_mirror_may_be_for_one_kind_of_reference(pull_from: str, tagged: bool, by_digest: bool) -> None:
    text = f'[[registry]]\nlocation="q.io"\n[[registry.mirror]]\nlocation="m.io"\npull-from-mirror="{pull_from}"'
    assert ("m.io/a" in places(text, "q.io/a:v1")) is tagged
    assert ("m.io/a" in places(text, "q.io/a" + DIGEST)) is by_digest


@pytest.mark.parametrize(
    ("prefix", "ref", "matches"),
    [
        ("q.io", "q.io/a", True),
        ("q.io/a", "q.io/a/b", True),
        ("q.io/a", "q.io/ab", False),
        ("q.i", "q.io/a", False),
        ("*.q.io", "x.q.io/a", True),
        ("*.q.io", "x.y.q.io/a", True),
        ("*.q.io", "q.io/a", False),
        ("*.q.io", "evil.com/x.q.io/a", False),
        ("*.q.io", "x.q.iox/a", False),
    ],
)
def test_prefixes(prefix: str, ref: str, matches: bool) -> None:
    text = f'[[registry]]\nprefix="{prefix}"\nlocation="other.io/x"'
    assert places(text, ref)[0].startswith("other.io/x") is matches


def test_the_longest_prefix_wins_and_a_location_rewrites() -> None:
    text = '[[registry]]\nprefix="q.io"\nlocation="one.io"\n[[registry]]\nprefix="q.io/a"\nlocation="two.io/z"'
    assert places(text, "q.io/a/b") == ["two.io/z/b"]
    assert places(text, "q.io/b") == ["one.io/b"]


def test_a_wildcard_without_location_keeps_the_name() -> None:
    assert places('[[registry]]\nprefix="*.q.io"\ninsecure=true', "x.q.io/a") == ["x.q.io/a!"]


def test_everything_blocked_is_an_error_that_names_the_image() -> None:
    with pytest.raises(ConfigError, match=r"q\.io/a"):
        places('[[registry]]\nlocation="q.io"\nblocked=true', "q.io/a")


def test_a_push_goes_to_no_mirror_but_minds_the_flags() -> None:
    text = '[[registry]]\nlocation="lax"\ninsecure=true\n[[registry]]\nlocation="shut"\nblocked=true'
    assert conf(text).push_is_insecure("lax", "a/b")
    assert conf(text).push_is_insecure("lax", "")
    assert not conf(text).push_is_insecure("other", "a/b")
    with pytest.raises(ConfigError, match="blocked"):
        conf(text).push_is_insecure("shut", "a/b")


@pytest.mark.parametrize(
    "text",
    [
        "[[registry",
        "\xff",
        'registry = "x"',
        "registry = [1]",
        "[[registry]]",
        '[[registry]]\nprefix="q.io"',
        '[[registry]]\nlocation="https://q.io"',
        "[[registry]]\nlocation=5",
        '[[registry]]\nlocation="q.io"\ninsecure="yes"',
        '[[registry]]\nlocation="q.io"\n[[registry.mirror]]\ninsecure=true',
        '[[registry]]\nlocation="q.io"\n[[registry.mirror]]\nlocation="m"\npull-from-mirror="never"',
        '[[registry]]\nlocation="q.io"\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation="m"\npull-from-mirror="all"',
        '[registries.search]\nregistries=["docker.io"]',
    ],
)
def test_a_wrong_file_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="the file"):
        parse_registries_conf(text.encode("latin-1"), "the file")


def test_a_location_that_is_no_name_is_refused_when_used() -> None:
    with pytest.raises(ConfigError, match="turns"):
        places('[[registry]]\nprefix="q.io"\nlocation="UP PER"', "q.io/a")


def write(path: Path, location: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'[[registry]]\nprefix="q.io"\nlocation="{location}"')


def test_the_users_file_replaces_the_systems_and_drop_ins_win(tmp_path: Path) -> None:
    environment = Environment(home=tmp_path / "home", uid=0, etc=tmp_path / "etc")
    system, user = tmp_path / "etc/containers", tmp_path / "home/.config/containers"

    def used() -> str:
        return load_registries_conf(environment).pull_endpoints(ImageRef.parse("q.io/a"))[0].host

    assert used() == "q.io"
    write(system / "registries.conf", "system.io")
    assert used() == "system.io"
    write(system / "registries.conf.d/10-b.conf", "second.io")
    write(system / "registries.conf.d/05-a.conf", "first.io")
    assert used() == "second.io"
    write(user / "registries.conf", "user.io")
    assert used() == "user.io"
    write(user / "registries.conf.d/a.conf", "user.drop.in")
    assert used() == "user.drop.in"


def test_of_one_prefix_the_first_entry_of_a_file_counts(tmp_path: Path) -> None:
    entry = '[[registry]]\nprefix = "q.io"\nlocation = "{}"\n'
    environment = Environment(home=tmp_path, uid=0, etc=tmp_path / "etc", registries_conf=tmp_path / "own.conf")
    (tmp_path / "own.conf").write_text(entry.format("first.io") + entry.format("second.io"))
    assert load_registries_conf(environment).pull_endpoints(ImageRef.parse("q.io/a"))[0].host == "first.io"


def test_a_file_under_the_home_is_found_whatever_the_config_home_is(tmp_path: Path) -> None:
    environment = Environment(home=tmp_path, uid=0, etc=tmp_path / "etc", xdg_config_home=tmp_path / "xdg")
    for folder in (tmp_path / ".config", tmp_path / "xdg"):
        write(folder / "containers/registries.conf", f"in{folder.name}.io")
        endpoints = load_registries_conf(environment).pull_endpoints(ImageRef.parse("q.io/a"))
        assert endpoints[0].host == f"in{folder.name}.io"


def test_no_file_at_all_may_be_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "etc/containers/registries.conf", "system")
    environment = Environment(home=tmp_path, uid=0, etc=tmp_path / "etc", registries_conf=Path("/dev/null"))
    assert load_registries_conf(environment).entries == ()


def test_the_variable_names_the_main_file(tmp_path: Path) -> None:
    write(tmp_path / "own.conf", "own.io")
    environment = Environment(home=tmp_path, uid=0, etc=tmp_path / "etc", registries_conf=tmp_path / "own.conf")
    assert load_registries_conf(environment).pull_endpoints(ImageRef.parse("q.io/a"))[0].host == "own.io"
    (tmp_path / "own.conf").unlink()
    with pytest.raises(ConfigError, match=r"own\.conf"):
        load_registries_conf(environment)


def test_a_huge_file_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "own.conf"
    path.write_bytes(b"#" * (MAX_FILE + 1))
    with pytest.raises(ConfigError, match="too large"):
        load_registries_conf(Environment(home=tmp_path, uid=0, etc=tmp_path, registries_conf=path))


def test_credential_helpers_of_the_last_file_that_names_some(tmp_path: Path) -> None:
    environment = Environment(home=tmp_path / "home", uid=1000, etc=tmp_path / "etc", run=tmp_path / "run")
    assert load_registries_conf(environment).credential_helpers == (AUTH_FILES,)
    folder = tmp_path / "etc/containers/registries.conf.d"
    folder.mkdir(parents=True)
    (tmp_path / "etc/containers/registries.conf").write_text(f'credential-helpers = ["pass", "{AUTH_FILES}"]\n')
    (folder / "50-none.conf").write_text("")
    assert load_registries_conf(environment).credential_helpers == ("pass", AUTH_FILES)
    (folder / "60-other.conf").write_text('credential-helpers = ["secretservice"]\n')
    assert load_registries_conf(environment).credential_helpers == ("secretservice",)
    for wrong in ('"pass"', "[1]", '[""]'):
        (folder / "70-wrong.conf").write_text(f"credential-helpers = {wrong}\n")
        with pytest.raises(ConfigError, match=r"70-wrong\.conf: credential-helpers"):
            load_registries_conf(environment)
