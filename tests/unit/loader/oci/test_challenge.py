from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.oci.challenge import Challenge, parse_challenges


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (["Basic"], [("basic", {})]),
        (
            ['Bearer realm="https://auth/token",service="s",scope="repository:a/b:pull,push"'],
            [("bearer", {"realm": "https://auth/token", "service": "s", "scope": "repository:a/b:pull,push"})],
        ),
        (['Bearer realm="a", Basic realm="b"'], [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
        (["Negotiate", "BASIC Realm=plain"], [("negotiate", {}), ("basic", {"realm": "plain"})]),
        (['Bearer realm = "a\\"b" , service=s'], [("bearer", {"realm": 'a"b', "service": "s"})]),
        (['Bearer realm="first",realm="second"'], [("bearer", {"realm": "first"})]),
        (['Bearer realm="open'], [("bearer", {}), ("realm", {})]),
        (['Negotiate dGVzdA==, Basic realm="x"'], [("negotiate", {}), ("dgvzda", {}), ("basic", {"realm": "x"})]),
        (['realm="x"'], [("realm", {})]),
    ],
)
def test_headers_are_read_as_rfc_9110_writes_them(
    values: list[str], expected: list[tuple[str, dict[str, str]]]
) -> None:
    assert parse_challenges(values) == tuple(Challenge(scheme, parameters) for scheme, parameters in expected)


@given(st.lists(st.text(max_size=50), max_size=3))
def test_any_header_is_read_without_error(values: list[str]) -> None:
    for challenge in parse_challenges(values):
        assert challenge.scheme == challenge.scheme.lower()


@pytest.mark.parametrize("text", ['a="' * 20_000, "a" * 50_000, 'Bearer x="' + "\\" * 50_000, "a=b," * 20_000])
def test_long_headers_take_no_time(text: str) -> None:
    started = time.process_time()
    parse_challenges([text])
    assert time.process_time() - started < 2
