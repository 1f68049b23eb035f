from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.bundle import strictjson
from loader.bundle.errors import FormatError
from tests.support.refusals import refused


@dataclass(frozen=True)
class Inner:
    some_name: str
    ready: bool


@dataclass(frozen=True)
class Outer:
    count: int
    inner: Inner
    many_inner: tuple[Inner, ...]
    names: tuple[str, ...]
    maybe: Optional[str]


TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=12)
INNER = st.builds(Inner, TEXT, st.booleans())
OUTER = st.builds(
    Outer,
    st.integers(0, strictjson.MAX_INTEGER),
    INNER,
    st.lists(INNER, max_size=3).map(tuple),
    st.lists(TEXT, max_size=3).map(tuple),
    st.none() | TEXT,
)
GOOD = Outer(7, Inner("a", True), (Inner("b", False),), ("x", "y"), None)


def test_the_canonical_form_is_written_out_here() -> None:
    assert strictjson.encode(GOOD) == (
        b'{"count":7,"inner":{"ready":true,"someName":"a"},"manyInner":[{"ready":false,"someName":"b"}],'
        b'"maybe":null,"names":["x","y"]}\n'
    )


@given(OUTER)
def test_decoding_gives_back_what_was_encoded(value: Outer) -> None:
    assert strictjson.decode(Outer, strictjson.encode(value), "it") == value


@pytest.mark.parametrize("count", [511, 512, 513, 1024])
def test_a_long_list_is_written_in_one_piece(count: int) -> None:
    value = Outer(1, Inner("a", True), tuple(Inner(str(n), False) for n in range(count)), (), None)
    data = strictjson.encode(value)
    plain = json.loads(data)
    assert len(plain["manyInner"]) == count
    assert data == (json.dumps(plain, sort_keys=True, separators=(",", ":")) + "\n").encode()
    assert strictjson.decode(Outer, data, "it") == value
    with refused(FormatError, "canonical"):
        strictjson.decode(Outer, data.replace(b"},{", b"}, {"), "it")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        (b'"a"', b"1", "it.inner.someName"),
        (b'"b"', b"[]", "it.manyInner[0].someName"),
        (b'"count":7', b'"count":{"ready":true,"someName":"a"}', "it.count"),
        (b'"names":["x"', b'"names":[{"ready":true,"someName":"a"}', "it.names[0]"),
        (b'[{"ready"', b'[{"count":1,"ready"', "it.manyInner[0]"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(old: bytes, new: bytes, where: str) -> None:
    with refused(FormatError, where):
        strictjson.decode(Outer, strictjson.encode(GOOD).replace(old, new), "it")


@dataclass(frozen=True)
class Twin:
    some_name: int
    ready: int


@dataclass(frozen=True)
class Both:
    inner: Inner
    twin: Twin


def test_two_kinds_with_the_same_keys_are_told_apart_by_their_places() -> None:
    value = Both(Inner("a", True), Twin(1, 2))
    assert strictjson.decode(Both, strictjson.encode(value), "it") == value


@given(OUTER, st.data())
def test_a_changed_byte_is_refused_or_means_what_it_says(value: Outer, data: st.DataObject) -> None:
    encoded = bytearray(strictjson.encode(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = strictjson.decode(Outer, bytes(encoded), "it")
    except FormatError:
        return
    assert strictjson.encode(decoded) == bytes(encoded)


@given(st.binary(max_size=60))
def test_noise_is_a_format_error_or_json(data: bytes) -> None:
    try:
        plain = strictjson.loads(data, "noise")
    except FormatError:
        return
    assert plain == json.loads(data.decode())


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def depth(plain: Any) -> int:
    if isinstance(plain, dict):
        return 1 + max(map(depth, plain.values()), default=0)
    return 1 + max(map(depth, plain), default=0) if isinstance(plain, list) else 0


@given(PLAIN, st.integers(0, 5))
def test_depth_is_counted_as_the_parser_nests(plain: Any, limit: int) -> None:
    data = json.dumps(plain).encode()
    if depth(plain) <= limit:
        assert strictjson.loads(data, "it", max_depth=limit) == plain
    else:
        with pytest.raises(FormatError, match="nested too deeply"):
            strictjson.loads(data, "it", max_depth=limit)


def test_brackets_inside_strings_do_not_nest() -> None:
    text = '["' + "[{" * 1000 + '\\"[", "\\\\"]'
    assert strictjson.loads(text.encode(), "it") == json.loads(text)


def test_a_mebibyte_of_quotes_comes_to_an_end() -> None:
    # Looked at once for each of its characters it would take hours.
    for data in (b'"' * 2**20, b"\\" * 2**20, b'"\\' * 2**19, b"[" * 2**20):
        with pytest.raises(FormatError):
            strictjson.loads(data, "it")


WRONG: dict[str, dict[str, Any]] = {
    "it.count is not an integer": {"count": "7"},
    "it.count is out of range": {"count": 2**53},
    "it.inner is not an object": {"inner": []},
    "it.inner.ready is not true or false": {"inner": {"ready": 1, "someName": "a"}},
    "it.inner.someName is not a string": {"inner": {"ready": True, "someName": 1}},
    "it.manyInner is not a list": {"manyInner": {}},
    "it.manyInner[1] is not an object": {"manyInner": [{"ready": True, "someName": "a"}, 1]},
    "it.names[0] has a character that is not printable ASCII": {"names": ["\u00e9"]},
    "it.maybe is not a string": {"maybe": 1},
}


@pytest.mark.parametrize("message", WRONG)
def test_the_place_of_a_fault_is_named(message: str) -> None:
    plain = {**json.loads(strictjson.encode(GOOD)), **WRONG[message]}
    with pytest.raises(FormatError) as caught:
        strictjson.decode(Outer, json.dumps(plain).encode(), "it")
    assert caught.value.message == message


def test_all_unknown_and_missing_fields_are_named() -> None:
    with pytest.raises(FormatError) as caught:
        strictjson.decode(Inner, b'{"ready":true,"a":1,"b":2}\n', "it")
    assert caught.value.why == "unknown field 'a', 'b'; missing field 'someName'"


def test_a_duplicate_key_is_named_at_any_depth() -> None:
    for data in (b'{"a":1,"b":2,"a":3}', b'[[{"x":{"a":1,"a":1}}]]'):
        with pytest.raises(FormatError) as caught:
            strictjson.loads(data, "it")
        assert caught.value.why == "'a' occurs twice in one object"


@dataclass(frozen=True)
class Odd:
    ratio: float


def test_a_type_without_a_rule_is_a_bug_of_ours() -> None:
    with pytest.raises(RuntimeError, match="no rule for type"):
        strictjson.decode(Odd, b'{"ratio":1}\n', "it")


def test_only_finite_numbers_are_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        strictjson.encode(float("nan"))
