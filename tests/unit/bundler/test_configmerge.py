"""Images added to a config that a person wrote."""

from __future__ import annotations

import pytest

from bundler.configmerge import with_images
from loader.bundle.errors import ConfigError

CONFIG = b"""\
# mine
name: a   # a name
images:
  # the first
  - quay.io/a/b:1   # mine too
  - image: busybox
    # nested
    from: dir:x
  # after

mirrors: {name: m}
"""


def test_nothing_of_a_persons_own_changes() -> None:
    data, added = with_images(CONFIG, [("quay.io/new/one:1", "Pod x, container c"), ("quay.io/a/b:1", "again")], "c")
    assert added == ("quay.io/new/one:1",)
    lines = data.decode().splitlines()
    assert lines[8].startswith("  - quay.io/new/one:1 ")
    assert lines[8].endswith(" # Pod x, container c")
    del lines[8]
    assert lines == CONFIG.decode().splitlines()


def test_names_are_compared_as_they_are_meant() -> None:
    assert with_images(CONFIG, [("docker.io/library/busybox:latest", "")], "c") == (CONFIG, ())


def test_a_file_without_a_last_line_feed() -> None:
    data, _ = with_images(b"images:\n- a/b:1", [("a/c:1", "x\ny")], "c")
    assert data.splitlines()[1:] == [b"- a/b:1", b"- a/c:1".ljust(62) + b" # x y"]


@pytest.mark.parametrize(
    "text",
    ["images: [a/b:1]\n", "name: x\n", "images: []\n", "images: {}\n", "images: [\n", "a: 1\n---\nimages:\n- a\n", ""],
)
def test_what_cannot_be_added_to(text: str) -> None:
    with pytest.raises(ConfigError):
        with_images(text.encode(), [("a/c:1", "")], "c")
