from __future__ import annotations

from typing import Optional

import pytest

from loader.distribution.ranges import Unsatisfiable, wanted_range


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=2-5", (2, 6)),
        ("bytes=2-", (2, 10)),
        ("bytes=2-99", (2, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("BYTES= 9-9 ", (9, 10)),
        # RFC 9110 section 14.2: what is no range, or more than one, is the whole.
        ("", None),
        ("bytes=-", None),
        ("bytes=5-2", None),
        ("bytes=0-1,4-5", None),
        ("bytes=x-1", None),
        ("lines=0-1", None),
        ("bytes=0-1\n", None),
        (f"bytes=0-{'9' * 19}", None),
    ],
)
def test_a_range_of_ten_bytes(header: str, part: Optional[tuple[int, int]]) -> None:
    assert wanted_range(header, 10) == part


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-11", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_a_range_behind_the_end(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        wanted_range(header, size)
