from __future__ import annotations

import re
import sys
import time
from typing import Any

import pytest
import yaml

from loader.bundle.errors import FormatError
from loader.bundle.manifest import Mirror
from loader.mirrors import retarget
from loader.nodefiles import NodeFiles, render_node_files
from loader.oci.model import ImageRef
from loader.oci.registriesconf import RegistriesConf, parse_registries_conf
from tests.unit.loader.test_mirrors import ARTICLE, NEVER, R, row

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DIGEST = "sha256:" + "a" * 64


def contents(found: NodeFiles) -> dict[str, str]:
    return {item.name: item.content.decode() for item in found.documents}


def hosts_toml(*rows: Mirror, host: str = "quay.io") -> dict[str, Any]:
    text = contents(render_node_files(rows))[f"containerd/{host}/hosts.toml"]
    return tomllib.loads(text)


def k3s(*rows: Mirror) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(contents(render_node_files(rows))["registries.yaml"])["mirrors"]
    return found


def test_every_file_says_where_it_goes() -> None:
    found = contents(render_node_files(ARTICLE))
    assert sorted(found) == [
        "containerd/docker.io/hosts.toml",
        "containerd/k8s.gcr.io/hosts.toml",
        "containerd/quay.io/hosts.toml",
        "hypershift.yaml",
        "microshift.conf",
        "registries.yaml",
    ]
    for text in found.values():
        assert re.search(r"^# Where it goes: \S", text, re.MULTILINE)
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
    assert render_node_files(ARTICLE).left_out == ()


def test_a_flat_mapping_is_one_host_with_the_source_behind() -> None:
    assert hosts_toml(row("quay.io/cephcsi", "cephcsi")) == {
        "server": "https://quay.io",
        "host": {f"https://{R}": {"capabilities": ["pull", "resolve"]}},
    }
    assert hosts_toml(row("docker.io/ceph", "ceph"), host="docker.io")["server"] == "https://registry-1.docker.io"


def test_a_prefix_is_put_behind_v2() -> None:
    assert hosts_toml(row("quay.io/cephcsi", "quay/cephcsi"))["host"] == {
        f"https://{R}/v2/quay": {"capabilities": ["pull", "resolve"], "override_path": True}
    }


def test_never_contact_source_names_no_other_server() -> None:
    assert hosts_toml(row("quay.io/cephcsi", "m/cephcsi", NEVER)) == {
        "server": f"https://{R}/v2/m",
        "capabilities": ["pull", "resolve"],
        "override_path": True,
    }


def test_two_mirrors_keep_their_order() -> None:
    found = hosts_toml(row("quay.io/a", "x/a"), row("quay.io/a", "y/a"))
    assert list(found["host"]) == [f"https://{R}/v2/x", f"https://{R}/v2/y"]


def test_a_port_is_spelled_with_underscores_in_the_folder() -> None:
    assert "server" in hosts_toml(row("q.io:5000/a", "a"), host="q.io_5000_")


@pytest.mark.parametrize(
    "rows",
    [
        [row("quay.io/a", "other")],
        [row("quay.io/a", "x/a"), row("quay.io/b", "y/b")],
        [row("quay.io/a", "a"), row("quay.io/b", "b", NEVER)],
        [row("quay.io/a", "a"), row("quay.io/b", "b"), row("quay.io/b", "c/b")],
        [row("*.quay.io", "quay")],
    ],
)
def test_what_containerd_cannot_say_is_left_out_and_named(rows: list[Mirror]) -> None:
    found = render_node_files([*rows, row("docker.io/x", "x")])
    names = [name for name in contents(found) if name.startswith("containerd/")]
    assert names == ["containerd/docker.io/hosts.toml"]
    assert any(note.startswith("containerd: ") and "quay.io" in note for note in found.left_out)


def rewritten(entry: dict[str, Any], path: str) -> str:
    """What k3s asks its endpoint for."""
    for pattern, result in entry.get("rewrite", {}).items():
        if re.search(pattern, path):
            return re.sub(pattern, result.replace("$1", r"\1"), path, count=1)
    return path


@pytest.mark.parametrize(
    ("source", "target", "path", "expected"),
    [
        ("quay.io/ceph", "ceph", "ceph/ceph", "ceph/ceph"),
        ("quay.io/ceph", "m/ceph", "ceph/ceph", "m/ceph/ceph"),
        ("quay.io/ceph", "m/ceph", "cephalopod/x", "cephalopod/x"),
        ("quay.io/ceph", "m/ceph", "x/ceph/y", "x/ceph/y"),
        ("quay.io/a.b/c", "m", "a.b/c", "m"),
        ("quay.io/a.b/c", "m", "axb/c", "axb/c"),
        ("quay.io", "quay", "a/b", "quay/a/b"),
        ("quay.io/ceph", "", "ceph/x", "x"),
    ],
)
def test_k3s_rewrites_paths(source: str, target: str, path: str, expected: str) -> None:
    entry = k3s(row(source, target))["quay.io"]
    assert entry["endpoint"] == [f"https://{R}"]
    assert rewritten(entry, path) == expected


@pytest.mark.parametrize(
    "rows",
    [
        [row("quay.io/a", "a"), row("quay.io/a", "b")],
        [row("quay.io/a", "a"), Mirror("quay.io/b", "other.io/b", "AllowContactingSource")],
        [row("quay.io", "q"), row("quay.io/a", "a")],
        [row("*.quay.io", "quay")],
    ],
)
def test_what_k3s_cannot_say_is_left_out_and_named(rows: list[Mirror]) -> None:
    found = render_node_files(rows)
    assert "registries.yaml" not in contents(found)
    assert any(note.startswith("k3s and RKE2: ") for note in found.left_out)


def test_hypershift_holds_pairs_and_says_what_it_cannot() -> None:
    found = render_node_files([row("quay.io/a", "a", NEVER), row("*.x.io", "x"), row("quay.io/" + "b" * 250, "b")])
    text = contents(found)["hypershift.yaml"]
    assert yaml.safe_load(text) == {"spec": {"imageContentSources": [{"source": "quay.io/a", "mirrors": [f"{R}/a"]}]}}
    assert "cannot say NeverContactSource" in text
    assert len([note for note in found.left_out if note.startswith("HyperShift: ")]) == 2
    many = render_node_files([row(f"quay.io/a{n}", "a") for n in range(256)])
    assert "hypershift.yaml" not in contents(many)
    assert "255 sources at most" in many.left_out[-1]


def test_microshift_pulls_digests_from_the_mirror() -> None:
    text = contents(render_node_files([row("quay.io/a", "a"), row("quay.io/b", "b", NEVER)]))["microshift.conf"]
    conf = RegistriesConf(parse_registries_conf(text.encode(), "microshift.conf"))

    def places(reference: str) -> list[str]:
        return [f"{p.host}/{p.repository}" for p in conf.pull_endpoints(ImageRef.parse(reference))]

    assert places(f"quay.io/a/x@{DIGEST}") == [f"{R}/a/x", "quay.io/a/x"]
    assert places("quay.io/a/x:1") == ["quay.io/a/x"]
    assert places(f"quay.io/b/x@{DIGEST}") == [f"{R}/b/x"]


def test_another_registry_changes_the_registry_alone() -> None:
    moved = render_node_files(retarget(ARTICLE, R, "site7.local:8443"))
    assert {name: text.replace("site7.local:8443", R) for name, text in contents(moved).items()} == contents(
        render_node_files(ARTICLE)
    )


def test_an_empty_table_gives_nothing_and_a_bad_one_an_error() -> None:
    assert render_node_files(()) == NodeFiles((), ())
    with pytest.raises(FormatError, match="mirror table is not usable"):
        render_node_files([row("quay.io/A", "a")])


def test_ten_thousand_sources_of_one_host_take_linear_time() -> None:
    table = [row(f"quay.io/org{n}", f"org{n}") for n in range(10000)]
    start = time.perf_counter()
    render_node_files(table)
    assert time.perf_counter() - start < 5
