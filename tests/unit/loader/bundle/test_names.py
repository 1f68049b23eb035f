from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.bundle import names

HOSTS = ["docker.io", "localhost", "a", "A-b.C", "10.0.0.1:5000", "[::1]", "[fe80::1]:443", "r.example:65535", "a" * 63]
NO_HOSTS = [
    "",
    ":5000",
    "a:",
    "a:0",
    "a:65536",
    "a:123456",
    "a:x",
    "a..b",
    "-a",
    "a-",
    "a_b",
    "[::1",
    "::1",
    "a b",
    "a\n",
]


@pytest.mark.parametrize("text", HOSTS)
def test_a_host(text: str) -> None:
    assert names.is_host(text)
    assert names.is_registry(text)
    assert names.is_registry(f"{text}/mirror/ceph")


@pytest.mark.parametrize("text", [*NO_HOSTS, "a." * 130 + "a"])
def test_what_is_no_host(text: str) -> None:
    assert not names.is_host(text)
    assert not names.is_registry(f"{text}/x")


@pytest.mark.parametrize("text", ["ceph", "ceph/ceph", "a/b/c/d", "a__b", "a--b", "a.b_c-d", "0", "a" * 255])
def test_a_repository(text: str) -> None:
    assert names.is_repository(text)


@pytest.mark.parametrize(
    "text", ["", "/a", "a/", "a//b", "A", "a/../b", ".a", "a.", "a..b", "a___b", "-a", "a$b", "a\n", "a" * 256]
)
def test_what_is_no_repository(text: str) -> None:
    assert not names.is_repository(text)


def test_tags() -> None:
    assert all(map(names.is_tag, ["v1", "_", "1.2-rc.3", "A_b", "a" * 128]))
    assert not any(map(names.is_tag, ["", "-a", ".a", "a/b", "a:b", "a b", "a\n", "a" * 129]))


def test_a_registry_has_a_bound() -> None:
    assert names.is_registry("a/" + "b" * 255)
    assert not names.is_registry("a/")
    assert not names.is_registry("a." * 100 + "a/" + "b" * 310)


@given(st.text("aZ0._-/:[]@ \n", max_size=30))
def test_what_is_accepted_holds_nothing_that_means_something_elsewhere(text: str) -> None:
    if names.is_registry(text) or names.is_repository(text) or names.is_tag(text):
        assert not set(text) & set("@ \n")
        assert ".." not in text.split("/")
        assert not text.startswith("-")


def test_any_text_comes_to_an_end() -> None:
    # A pattern that goes back over what it took would be at it for hours.
    for text in ("a-" * 100_000, "a." * 100_000, "a_" * 100_000, "a/" * 100_000, "0" * 200_000, "a:" * 100_000):
        assert not names.is_registry(text)
        assert not names.is_repository(text)
        assert not names.is_tag(text)
