from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.render.manifests import CAPS, document_path, manifest_list
from loader.bundle import strictjson
from loader.cluster.objects import MAX_ITEMS

CRDS = Path(__file__).resolve().parents[3] / "crds"


def problems(data: bytes) -> list[tuple[int, str]]:
    content, faults = manifest_list(data)
    assert content == b""
    return [(fault.line, fault.problem) for fault in faults]


def test_documents_become_one_list_in_file_order() -> None:
    content, faults = manifest_list(
        b"# head\n---\nkind: Namespace\napiVersion: v1\nmetadata:\n  name: b\n---\n---\n"
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: b}\ndata: {mode: '0644', 'on': 'yes'}\n"
    )
    assert faults == ()
    assert content == (
        b'{"apiVersion":"v1","items":['
        b'{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"b"}},'
        b'{"apiVersion":"v1","data":{"mode":"0644","on":"yes"},"kind":"ConfigMap","metadata":{"name":"a","namespace":"b"}}'
        b'],"kind":"List"}'
    )


def test_a_list_is_unpacked() -> None:
    item = b"{apiVersion: v1, kind: Namespace, metadata: {name: %s}}"
    content, _ = manifest_list(b"apiVersion: v1\nkind: List\nitems:\n- " + item % b"a" + b"\n- " + item % b"b" + b"\n")
    assert [found["metadata"]["name"] for found in json.loads(content)["items"]] == ["a", "b"]


def test_values_are_what_kubectl_reads() -> None:
    content, _ = manifest_list(
        b"apiVersion: v1\nkind: X\nmetadata: {name: a}\n"
        b"spec: {octal: 0644, hex: 0x10, float: 1.5, bool: true, none: null, date: 2020-01-01, text: \xc3\xa9}\n"
    )
    assert json.loads(content)["items"][0]["spec"] == {
        "octal": 420,
        "hex": 16,
        "float": 1.5,
        "bool": True,
        "date": "2020-01-01",
        "text": "é",
    }
    assert content.isascii()


@pytest.mark.parametrize(
    ("data", "line", "problem"),
    [
        (b"", 1, "there is no object in this file"),
        (b"# nothing\n---\n", 1, "there is no object in this file"),
        (b"kind: X\nmetadata: {name: a}\n", 1, "the object has no apiVersion"),
        (b"apiVersion: v1\nmetadata: {name: a}\n", 1, "the object has no kind"),
        (b"apiVersion: v1\nkind: X\nmetadata: {}\n", 1, "the object has no metadata.name"),
        (b"apiVersion: v1\nkind: X\nmetadata: {generateName: a}\n", 1, "the object has no metadata.name"),
        (b"apiVersion: v1\nkind: X\nmetadata: a\n", 1, "the object has no metadata.name"),
        (b"apiVersion: v1\nkind: X\nmetadata: {name: 5}\n", 1, "the object has no metadata.name"),
        (b"\n- a\n", 2, "not an object"),
        (b"apiVersion: v1\nkind: List\nitems:\n- x\n", 4, "not an object"),
        (b"apiVersion: v1\nkind: X\nmetadata: {name: a}\nspec: {at: 1:30}\n", 4, "'1:30' reads differently"),
        (b"apiVersion: v1\nkind: X\nmetadata: {name: y}\n", 3, "'y' reads differently"),
        (b"apiVersion: v1\nkind: X\nkind: Y\nmetadata: {name: a}\n", 3, "key 'kind' occurs twice"),
        (b"apiVersion: v1\nkind: !Ref X\nmetadata: {name: a}\n", 2, "tag '!Ref' is not allowed"),
        (b"apiVersion: v1\nkind: X\nmetadata: {name: a}\non: 1\n", 4, "key 'on' is not a string"),
        (b"{{ template }}\n", 1, ""),
    ],
)
def test_faults(data: bytes, line: int, problem: str) -> None:
    assert any(where == line and problem in why for where, why in problems(data)), problems(data)


def test_too_much_is_refused() -> None:
    assert "larger than" in problems(b"x" * (CAPS.size + 1))[0][1]
    item = b"---\n{apiVersion: v1, kind: X, metadata: {name: a}}\n"
    assert problems(item * (MAX_ITEMS + 1)) == [(1, f"more than {MAX_ITEMS} objects")]
    big = b"apiVersion: v1\nkind: X\nmetadata: {name: a}\ndata: " + b"x" * (5 << 20) + b"\n"
    assert problems(big) == [(1, "more than 4194304 bytes as JSON; split the file")]


@pytest.mark.parametrize("name", ["rook-crds.yaml", "ceph-csi-operator-crds.yaml"])
def test_rooks_own_files_pass_and_fit_what_the_loader_reads(name: str) -> None:
    content, faults = manifest_list((CRDS / name).read_bytes())
    assert faults == ()
    found = strictjson.loads(content, name, max_depth=64)
    assert {item["kind"] for item in found["items"]} == {"CustomResourceDefinition"}


@pytest.mark.parametrize(
    ("index", "path", "expected"),
    [
        (1, "manifests/common.yaml", "documents/manifests/01-common.json"),
        (12, "../Über Tools_v2.yml", "documents/manifests/12-ber-tools-v2.json"),
        (2, "\N{SNOWMAN}.yaml", "documents/manifests/02-manifest.json"),
        (3, "a" * 80 + ".yaml", "documents/manifests/03-" + "a" * 40 + ".json"),
    ],
)
def test_paths_in_the_bundle(index: int, path: str, expected: str) -> None:
    assert document_path(index, path) == expected


def test_a_key_without_a_value_is_left_out() -> None:
    spec = b"spec:\n  csi:\n    cephfs:\n    rbd: {a: null, b: [{c: ~}]}\n"
    text = b"apiVersion: v1\nkind: X\nmetadata: {name: main}\n" + spec
    content, faults = manifest_list(text)
    assert faults == ()
    assert json.loads(content)["items"][0]["spec"] == {"csi": {"rbd": {"b": [{}]}}}
