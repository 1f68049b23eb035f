from __future__ import annotations

import pytest

from loader.bundle.manifest import File
from loader.bundle.sums import is_sums, render_sums

PLACES = (("b", "2"), ("a", "2"), ("c", "1"))
FILES = tuple(File(f"images/{name}", 1, digit * 64, "raw", None) for name, digit in PLACES)
LIST = render_sums(FILES, "3" * 64)


def test_the_list_is_sorted_bytewise() -> None:
    assert LIST.decode().splitlines() == sorted(LIST.decode().splitlines())
    assert LIST.endswith(f"{'3' * 64}  bundle.json\n".encode())
    assert is_sums(LIST, reversed(FILES), "3" * 64)


@pytest.mark.parametrize("data", [LIST[:-1], LIST + b"\n", LIST[1:], LIST.replace(b"  images/a", b"  images/d"), b""])
def test_another_list_is_another(data: bytes) -> None:
    assert not is_sums(data, FILES, "3" * 64)
