from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.cluster.patches import merge_patch
from loader.cluster.revert import changed_paths, merge_body, missing_from, taken_back

A, B, C = {"name": "a", "image": "1"}, {"name": "a", "image": "2"}, {"name": "a", "image": "3"}
SIDE = {"name": "side", "image": "s"}


@pytest.mark.parametrize(
    ("present", "before", "after", "wanted", "conflicts"),
    [
        ({"x": 2}, {"x": 1}, {"x": 2}, {"x": 1}, []),
        ({"x": 2, "theirs": 9}, {"x": 1}, {"x": 2}, {"x": 1, "theirs": 9}, []),
        ({"x": 1}, {"x": 1}, {"x": 2}, {"x": 1}, []),
        ({"x": 3}, {"x": 1}, {"x": 2}, {"x": 1}, ["x"]),
        ({"x": 2, "y": 2}, {"x": 2}, {"x": 2, "y": 2}, {"x": 2}, []),
        ({"x": 2, "y": 5}, {"x": 2}, {"x": 2, "y": 2}, {"x": 2}, ["y"]),
        ({}, {"x": 1}, {}, {"x": 1}, []),
        ({"l": [B, SIDE]}, {"l": [A, SIDE]}, {"l": [B, SIDE]}, {"l": [A, SIDE]}, []),
        (
            {"l": [B, {**SIDE, "image": "t"}]},
            {"l": [A, SIDE]},
            {"l": [B, SIDE]},
            {"l": [A, {**SIDE, "image": "t"}]},
            [],
        ),
        ({"l": [C, SIDE]}, {"l": [A, SIDE]}, {"l": [B, SIDE]}, {"l": [A, SIDE]}, ["l[a].image"]),
        ({"l": [B]}, {"l": [A, SIDE]}, {"l": [B, SIDE]}, {"l": [A, SIDE]}, ["l"]),
    ],
)
def test_ours_goes_back_and_theirs_stays(
    present: Any, before: Any, after: Any, wanted: Any, conflicts: list[str]
) -> None:
    merged = taken_back(present, before, after)
    assert merged.item == wanted
    assert list(merged.conflicts) == conflicts


VALUES = st.recursive(
    st.integers(0, 3) | st.booleans() | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)


@given(OBJECTS, OBJECTS)
def test_an_object_nobody_else_changed_is_as_before(before: dict[str, Any], after: dict[str, Any]) -> None:
    merged = taken_back(after, before, after)
    assert merged.item == before
    assert merged.conflicts == ()


@given(OBJECTS, OBJECTS)
def test_the_patch_leads_where_it_should(present: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert merge_patch(present, merge_body(present, wanted)) == wanted


@given(OBJECTS, OBJECTS)
def test_paths_are_named_where_something_differs(before: dict[str, Any], after: dict[str, Any]) -> None:
    paths = list(changed_paths(before, after))
    # An empty mapping that comes or goes has no value that differs.
    assert not paths or before != after
    assert list(changed_paths(before, before)) == []


def test_more_than_what_was_made_is_no_fault() -> None:
    made = {"spec": {"a": 1, "l": [{"x": 1}]}}
    assert missing_from({"spec": {"a": 1, "b": 2, "l": [{"x": 1, "y": 2}]}, "more": 1}, made) == []
    assert missing_from({"spec": {"a": 2, "l": [{"x": 3}]}}, made) == ["spec.a", "spec.l[0].x"]
    assert missing_from({"spec": {"a": 1, "l": []}}, made) == ["spec.l"]
