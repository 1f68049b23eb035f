from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from loader import mirrors
from loader.bundle.errors import ConfigError, FormatError
from loader.bundle.manifest import Mirror

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ALLOW, NEVER = "AllowContactingSource", "NeverContactSource"
R = "reg.airgap.local:5000"

# openshift/api config/v1 types_image_digest_mirror_set.go; safe here because the strings are short.
UPSTREAM = re.compile(
    r"((?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
    r"(?:(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))+)?(?::[0-9]+)?)"
    r"(?:(?:/[a-z0-9]+(?:(?:(?:[._]|__|[-]*)[a-z0-9]+)+)?)+)?"
)


def row(source: str, path: str = "", policy: str = ALLOW) -> Mirror:
    return Mirror(source, f"{R}/{path}" if path else R, policy)


ARTICLE = (
    row("docker.io/ceph", "ceph"),
    row("docker.io/rook", "rook"),
    row("k8s.gcr.io/sig-storage", "sig-storage"),
    row("quay.io/cephcsi", "cephcsi"),
)

G1 = """\
unqualified-search-registries = ["registry.access.redhat.com", "docker.io"]
short-name-mode = ""

[[registry]]
  prefix = ""
  location = "docker.io/ceph"

  [[registry.mirror]]
    location = "reg.airgap.local:5000/ceph"
    pull-from-mirror = "digest-only"

[[registry]]
  prefix = ""
  location = "docker.io/rook"

  [[registry.mirror]]
    location = "reg.airgap.local:5000/rook"
    pull-from-mirror = "digest-only"

[[registry]]
  prefix = ""
  location = "k8s.gcr.io/sig-storage"

  [[registry.mirror]]
    location = "reg.airgap.local:5000/sig-storage"
    pull-from-mirror = "digest-only"

[[registry]]
  prefix = ""
  location = "quay.io/cephcsi"

  [[registry.mirror]]
    location = "reg.airgap.local:5000/cephcsi"
    pull-from-mirror = "digest-only"
"""


@given(st.text(alphabet="aB1.-_:/*", max_size=12))
def test_location_grammar_is_the_api_servers(text: str) -> None:
    port = re.search(r":([0-9]+)", text)
    assume(port is None or 0 < int(port[1]) <= 65535)
    assert mirrors.is_location(text) == (UPSTREAM.fullmatch(text) is not None)


@pytest.mark.parametrize(
    "text", ["r/" + "a" * 480 + "!", "a-" * 250 + "!", "r/" + "a--" * 160, "r/" + "a_" * 240, "." * 512]
)
def test_hostile_locations_come_to_an_end(text: str) -> None:
    # A pattern that tries every way to cut them would not.
    assert not mirrors.is_location(text)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("quay.io", True),
        ("localhost:5000/a__b", True),
        ("quay.io/a\n", False),
        ("quay.io/A", False),
        ("quay.io/a:tag", False),
        ("quay.io:0/a", False),
        ("quay.io:65536/a", False),
        ("[::1]:5000/a", False),
        ("https://quay.io", False),
        ("quay.io/", False),
        ("*.quay.io", False),
        ("a" * 513, False),
    ],
)
def test_locations(text: str, good: bool) -> None:
    assert mirrors.is_location(text) is good


@pytest.mark.parametrize(
    ("text", "good"), [("*.redhat.io", True), ("*.redhat.io/x", False), ("*", False), ("*.a:1", False)]
)
def test_wildcards_are_sources_alone(text: str, good: bool) -> None:
    assert mirrors.is_source(text) is good


def test_g1_registries_conf_of_4_13() -> None:
    assert mirrors.machine_config(ARTICLE) == G1


def test_g1_registries_conf_of_4_12() -> None:
    text = mirrors.machine_config_by_digest(ARTICLE)
    expected = re.sub(r'\n    pull-from-mirror = "digest-only"', "", G1)
    expected = re.sub(r'(  location = "(?:docker|k8s|quay).*")', r"\1\n  mirror-by-digest-only = true", expected)
    assert text == expected
    assert all(entry["mirror-by-digest-only"] is True for entry in tomllib.loads(text)["registry"])


def test_g2_both_kinds_and_never_contact() -> None:
    text = mirrors.machine_config([row("quay.io/cephcsi", "cephcsi", NEVER)], tags=True)
    (entry,) = tomllib.loads(text)["registry"]
    assert entry == {
        "prefix": "",
        "location": "quay.io/cephcsi",
        "blocked": True,
        "mirror": [
            {"location": f"{R}/cephcsi", "pull-from-mirror": "digest-only"},
            {"location": f"{R}/cephcsi", "pull-from-mirror": "tag-only"},
        ],
    }


def test_g5_icsp_of_the_article() -> None:
    item = mirrors.icsp(tuple(reversed(ARTICLE)), name="rook-ceph-images")
    assert item["apiVersion"] == "operator.openshift.io/v1alpha1"
    assert item["kind"] == "ImageContentSourcePolicy"
    assert item["spec"] == {
        "repositoryDigestMirrors": [
            {"mirrors": [f"{R}/ceph"], "source": "docker.io/ceph"},
            {"mirrors": [f"{R}/rook"], "source": "docker.io/rook"},
            {"mirrors": [f"{R}/sig-storage"], "source": "k8s.gcr.io/sig-storage"},
            {"mirrors": [f"{R}/cephcsi"], "source": "quay.io/cephcsi"},
        ]
    }


def test_g8_wildcard_source_is_a_prefix_without_location() -> None:
    table = [row("*.redhat.io", "redhat")]
    (entry,) = tomllib.loads(mirrors.machine_config(table))["registry"]
    assert (entry["prefix"], "location" in entry) == ("*.redhat.io", False)
    (entry,) = tomllib.loads(mirrors.drop_in(table))["registry"]
    assert entry == {"prefix": "*.redhat.io", "mirror": [{"location": f"{R}/redhat"}]}


def test_drop_in_serves_tags_and_leaves_the_search_list_alone() -> None:
    parsed = tomllib.loads(mirrors.drop_in([row("quay.io/cephcsi", "cephcsi", NEVER)]))
    assert parsed == {
        "registry": [{"location": "quay.io/cephcsi", "blocked": True, "mirror": [{"location": f"{R}/cephcsi"}]}]
    }


def test_several_mirrors_of_one_source_stay_one_entry_in_their_order() -> None:
    table = [row("q.io/z", "z2"), row("q.io/a", "a"), row("q.io/z", "z1")]
    spec: Any = mirrors.idms(table, name="x")["spec"]
    assert spec == {
        "imageDigestMirrors": [
            {"mirrors": [f"{R}/a"], "source": "q.io/a"},
            {"mirrors": [f"{R}/z2", f"{R}/z1"], "source": "q.io/z"},
        ]
    }


def test_policy_is_written_where_it_says_something() -> None:
    table = [row("q.io/a", "a", NEVER)]
    for item in (mirrors.idms(table, name="x"), mirrors.itms(table, name="x")):
        (entry,) = next(iter(item["spec"].values()))  # type: ignore[attr-defined]  # a JSON object of a known shape
        assert entry["mirrorSourcePolicy"] == NEVER
    assert "mirrorSourcePolicy" not in repr(mirrors.idms([row("q.io/a", "a")], name="x"))
    assert "mirrorSourcePolicy" not in repr(mirrors.icsp(table, name="x"))


def test_digest_and_tag_set_have_the_same_sources() -> None:
    documents = {item.name: item.object for item in mirrors.render_mirrors(ARTICLE, name="x")}
    digests: Any = documents["idms"]
    tags: Any = documents["itms"]
    assert digests["spec"]["imageDigestMirrors"] == tags["spec"]["imageTagMirrors"]


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[a-z0-9]{1,4}(\.[a-z]{1,3})?(:[1-9][0-9]{0,3})?", fullmatch=True),
            st.from_regex(r"[a-z0-9]{1,5}([._-][a-z0-9]{1,3})?", fullmatch=True),
        ),
        min_size=1,
        max_size=5,
        unique=True,
    ),
    st.from_regex(r"[a-z0-9]{1,8}(\.[a-z0-9]{1,3})?", fullmatch=True),
)
def test_yaml_text_means_the_object(pairs: list[tuple[str, str]], name: str) -> None:
    table = [row(f"{host}/{path}", path) for host, path in pairs]
    for item in mirrors.render_mirrors(table, name=name):
        if item.object is not None:
            assert yaml.safe_load(item.content) == item.object


@pytest.mark.parametrize("name", ["true", "null", "1.5", "12345", "1e3", "y", "no"])
def test_names_that_yaml_would_misread_are_quoted(name: str) -> None:
    content = mirrors.render_mirrors([row("q.io/a", "a")], name=name)[0].content
    assert yaml.safe_load(content)["metadata"]["name"] == name
    assert f'name: "{name}"'.encode() in content


def test_documents_say_what_they_are_and_where_they_go() -> None:
    documents = mirrors.render_mirrors(ARTICLE, name="rook-ceph-images")
    assert [item.path for item in documents] == [
        "documents/mirrors/idms.yaml",
        "documents/mirrors/icsp.yaml",
        "documents/mirrors/itms.yaml",
        "documents/nodes/registries.conf",
    ]
    for item in documents:
        assert item.content.startswith(b"# ")
        assert b"# Where it goes: " in item.content
        assert item.content.isascii()
        assert item.content.endswith(b"\n")


def test_icsp_says_that_it_cannot_keep_nodes_from_the_source() -> None:
    by_name = {item.name: item.content for item in mirrors.render_mirrors([row("q.io/a", "a", NEVER)], name="x")}
    assert b"cannot say NeverContactSource" in by_name["icsp"]
    plain = {item.name: item.content for item in mirrors.render_mirrors([row("q.io/a", "a")], name="x")}
    assert b"NeverContactSource" not in plain["icsp"]


def test_empty_table_gives_no_document() -> None:
    assert mirrors.render_mirrors((), name="x") == ()


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ([row("q.io/A", "a")], "is not a source"),
        ([row("q.io/a", "a:tag")], "which is not host[:port][/path]"),
        ([row("q.io/a", "a", "Sometimes")], "unknown policy"),
        ([row(f"{R}/a", "a")], "is its own mirror"),
        ([row("q.io/a", "a"), row("q.io/a", "a")], "twice"),
        ([row("q.io/a", "a"), row("q.io/a", "b", NEVER)], "two policies"),
        ([row(R, "mirror", NEVER)], "lies inside it"),
        ([Mirror("*.airgap.local", f"{R}/x", NEVER)], "lies inside it"),
        ([row("reg.airgap.local", "x")], "would also match"),
        ([row("q.io", "x"), row("q.io:443/a", "a")], "would also match q.io:443/a"),
    ],
)
def test_tables_that_a_node_would_misread_are_refused(table: list[Mirror], problem: str) -> None:
    assert any(problem in fault for _, fault in mirrors.table_faults(table))
    with pytest.raises(FormatError, match=re.escape(problem)):
        mirrors.render_mirrors(table, name="x")


def test_a_mirror_below_its_source_is_fine_while_the_source_may_be_asked() -> None:
    assert mirrors.table_faults([row(R, "mirror")]) == []


@pytest.mark.parametrize("name", ["", "A", "a_b", "a\n", "-a", "a" * 254, "x y"])
def test_object_names_are_checked(name: str) -> None:
    with pytest.raises(FormatError, match="cannot name a"):
        mirrors.render_mirrors([row("q.io/a", "a")], name=name)


@pytest.mark.parametrize("new", ["other:5000", "other.site/deep/prefix", "127.0.0.1:5001"])
def test_retarget_changes_the_registry_alone(new: str) -> None:
    moved = mirrors.retarget(ARTICLE, R, new)
    assert [item.mirror for item in moved] == [f"{new}/{path}" for path in ("ceph", "rook", "sig-storage", "cephcsi")]
    assert [(item.source, item.policy) for item in moved] == [(item.source, item.policy) for item in ARTICLE]
    assert mirrors.retarget(moved, new, R) == ARTICLE


def test_retarget_of_a_whole_registry_mirror() -> None:
    assert mirrors.retarget([row("q.io")], R, "new:1") == (Mirror("q.io", "new:1", ALLOW),)


def test_retarget_replaces_the_registry_and_not_a_longer_name() -> None:
    with pytest.raises(FormatError, match=r"not under the bundle's registry"):
        mirrors.retarget([Mirror("q.io/a", "reg.local:5000/a", ALLOW)], "reg.local:50", "new:1")


@pytest.mark.parametrize("new", ["https://new", "new/", "New/UP", "", "new:5000/a:b", "[::1]:5000", "site", "site/a"])
def test_retarget_refuses_what_is_no_registry(new: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a mirror"):
        mirrors.retarget(ARTICLE, R, new)


def test_a_registry_that_no_name_can_begin_with_is_told_why() -> None:
    with pytest.raises(ConfigError) as caught:
        mirrors.retarget(ARTICLE, R, "site")
    assert (caught.value.why, caught.value.hint) == (mirrors.NO_DOMAIN, mirrors.NO_DOMAIN_HINT)
    rows = [
        Mirror("docker.io/ceph", mirror, ALLOW) for mirror in ("site/ceph", "localhost/ceph", "a.b/ceph", "c:1/ceph")
    ]
    assert [source for source, problem in mirrors.table_faults(rows) if "site/ceph" in problem] == ["docker.io/ceph"]


def test_retarget_refuses_a_registry_that_is_the_source() -> None:
    with pytest.raises(ConfigError) as caught:
        mirrors.retarget(ARTICLE, R, "docker.io")
    assert ("docker.io/ceph", "is its own mirror") in caught.value.faults


def test_scopes_that_cover_a_location() -> None:
    assert list(mirrors.scopes_of("a.b.io:5000/x/y")) == [
        "a.b.io:5000/x/y",
        "a.b.io:5000/x",
        "a.b.io:5000",
        "*.b.io",
        "*.io",
    ]


def test_a_long_table_comes_to_an_end() -> None:
    # Each row compared with each other would be more than two billion.
    table = [row(f"q.io/n/{number}", f"n/{number}", NEVER) for number in range(50_000)]
    assert mirrors.table_faults(table) == []
