"""A clock that is a day off is told, in both directions, and nothing else is."""

from __future__ import annotations

import email.utils

import pytest

from bundler.clock import clock_warnings

NOW = 1_700_000_000


def http(seconds: float) -> str:
    return email.utils.formatdate(seconds, usegmt=True)


@pytest.mark.parametrize(
    ("date", "said"),
    [
        (http(NOW), []),
        (http(NOW - 86_399), []),
        (http(NOW - 86_400), ["1 day ahead of r.example"]),
        (http(NOW + 10 * 86_400), ["10 days behind r.example"]),
        ("yesterday", []),
        ("", []),
        ("Mon, 99 Foo 99999999999 00:00:00 GMT", []),
    ],
)
def test_clock(date: str, said: list[str]) -> None:
    found = list(clock_warnings({"r.example": date}, NOW))
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found))
