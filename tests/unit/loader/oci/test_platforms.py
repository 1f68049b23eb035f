from __future__ import annotations

import pytest

from loader.oci.platforms import is_platform, matches


@pytest.mark.parametrize(
    ("platform", "wanted", "expected"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm/v7", "linux/arm", True),
        ("linux/arm/v7", "linux/arm/v6", False),
        ("linux/arm", "linux/arm/v7", False),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/v9", "linux/arm64/v8", True),
        ("linux/amd64/v3", "linux/amd64", True),
    ],
)
def test_matching(platform: str, wanted: str, expected: bool) -> None:
    assert matches(platform, ["linux/s390x", wanted]) is expected


@pytest.mark.parametrize("text", ["linux", "linux/", "/amd64", "Linux/amd64", "linux/amd64/v1/x", "linux/amd64\n", ""])
def test_what_is_no_platform(text: str) -> None:
    assert not is_platform(text)
