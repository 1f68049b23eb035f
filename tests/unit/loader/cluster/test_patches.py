from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.bundle.errors import FormatError
from loader.cluster.patches import merge_patch, overlaid, strategic_patch

# RFC 7386, appendix A.
RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7386)
def test_merge_patch_of_the_rfc(target: Any, patch: Any, result: Any) -> None:
    before = copy.deepcopy((target, patch))
    assert merge_patch(target, patch) == result
    assert (target, patch) == before


VALUES = st.recursive(
    st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_a_merge_patch_applied_twice_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(VALUES, VALUES)
def test_an_overlay_laid_twice_changes_nothing_more(target: Any, desired: Any) -> None:
    once = overlaid(target, desired)
    assert overlaid(once, desired) == once


POD = {
    "containers": [
        {"name": "operator", "image": "old", "args": ["a", "b"], "env": [{"name": "A", "value": "1"}]},
        {"name": "sidecar", "image": "keep"},
    ],
    "initContainers": [{"name": "init", "image": "old"}],
}


def test_strategic_patch_merges_containers_and_env_by_name() -> None:
    env = [{"name": "B", "value": "2"}, {"name": "A", "value": "3"}]
    patch = {"containers": [{"name": "operator", "image": "new", "args": ["c"], "env": env}]}
    result = strategic_patch(POD, patch)
    assert result["containers"] == [
        {
            "name": "operator",
            "image": "new",
            "args": ["c"],
            "env": [{"name": "A", "value": "3"}, {"name": "B", "value": "2"}],
        },
        {"name": "sidecar", "image": "keep"},
    ]
    assert result["initContainers"] == POD["initContainers"]
    assert strategic_patch(result, patch) == result


def test_strategic_patch_adds_a_container() -> None:
    result = strategic_patch(POD, {"initContainers": [{"name": "second", "image": "x"}]})
    assert [container["name"] for container in result["initContainers"]] == ["init", "second"]


def test_strategic_patch_removes_with_null() -> None:
    result = strategic_patch(POD, {"containers": [{"name": "operator", "env": None}], "initContainers": None})
    assert "env" not in result["containers"][0]
    assert "initContainers" not in result


def test_strategic_list_item_without_its_key_replaces_the_list() -> None:
    assert strategic_patch(POD, {"containers": [{"image": "x"}]})["containers"] == [{"image": "x"}]


@pytest.mark.parametrize(
    "patch", [{"$patch": "replace"}, {"containers": [{"name": "operator", "$patch": "delete"}]}, {"$retainKeys": ["a"]}]
)
def test_strategic_directives_are_refused(patch: Any) -> None:
    with pytest.raises(FormatError, match="directive"):
        strategic_patch(POD, patch)


def test_overlay_ignores_what_the_server_filled_in() -> None:
    current = {"containers": [{"name": "a", "image": "x", "imagePullPolicy": "Always"}], "replicas": 1}
    assert overlaid(current, {"containers": [{"name": "a", "image": "x"}], "status": None}) == current


def test_overlay_sees_a_shorter_list() -> None:
    assert overlaid({"rules": [1, 2]}, {"rules": [1]}) == {"rules": [1]}
