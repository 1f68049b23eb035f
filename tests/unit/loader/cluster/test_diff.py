from __future__ import annotations

from typing import Any

import pytest

from loader.cluster.diff import MAX_CHARACTERS, MAX_LINES, object_diff
from loader.cluster.objects import key_of
from tests.unit.loader.cluster import makers


def diff(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    return object_diff(key_of(after, "an object"), before, after)


def test_only_what_changes_is_shown() -> None:
    text = diff(makers.deployment(), makers.deployment(image="new@sha256:1"))
    changed = [line for line in text.splitlines() if line[0] in "+-" and line[:3] not in {"+++", "---"}]
    assert [line.replace(" ", "") for line in changed] == ['-"image":"rook/ceph:v1.5.0",', '+"image":"new@sha256:1",']
    assert "cluster deployment.apps/rook-ceph-operator" in text


def test_bookkeeping_and_status_are_no_difference() -> None:
    item = makers.stored(makers.config_map())
    item["status"] = {"phase": "Ready"}
    item["metadata"] |= {
        "managedFields": [1],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"},
    }
    assert diff(item, makers.config_map()) == ""


def secret(field: str, value: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, field: {"k": value}}


@pytest.mark.parametrize("field", ["data", "stringData"])
@pytest.mark.parametrize("old", [None, "b2xk"])
def test_secrets_are_never_shown_but_their_change_is(field: str, old: str | None) -> None:
    text = diff(secret(field, old) if old else None, secret(field, "aHVudGVyMg=="))
    assert "hidden, changed" in text
    assert "aHVudGVyMg" not in text
    assert "b2xk" not in text


def test_secret_looking_values_beside_a_change_are_hidden() -> None:
    before, after = makers.deployment(), makers.deployment(image="new")
    for item in (before, after):
        container = item["spec"]["template"]["spec"]["containers"][0]
        container["env"] = [{"name": "DB_PASSWORD", "value": "hunter2"}]
    text = diff(before, after)
    assert "hunter2" not in text
    assert "(hidden)" in text


def test_secret_looking_key_of_a_config_map_is_hidden() -> None:
    assert "hunter2" not in diff(makers.config_map(), makers.config_map(api_token="hunter2"))


def test_diff_is_capped_in_lines_and_characters() -> None:
    many = diff(None, makers.config_map(**{f"key{n}": "v" for n in range(1000)}))
    assert len(many.splitlines()) == MAX_LINES + 1
    assert many.splitlines()[-1].endswith("more lines")
    assert len(diff(None, makers.config_map(long="v" * 100_000))) < MAX_CHARACTERS


def test_diff_is_printable() -> None:
    text = diff(None, makers.config_map(a="\x1b[31m\u202e"))
    assert all(32 <= ord(char) < 127 or char == "\n" for char in text)
