"""Images added to a config that a person wrote."""

from __future__ import annotations

import pytest

from bundler.configmerge import Merged, with_images
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
    merged = with_images(CONFIG, [("quay.io/new/one:1", "Pod x, container c"), ("quay.io/a/b:1", "again")], "c")
    assert merged.added == ("quay.io/new/one:1",)
    lines = merged.data.decode().splitlines()
    assert lines[8].startswith("  - quay.io/new/one:1 ")
    assert lines[8].endswith(" # Pod x, container c")
    del lines[8]
    assert lines == CONFIG.decode().splitlines()


def test_names_are_compared_as_they_are_meant() -> None:
    assert with_images(CONFIG, [("docker.io/library/busybox:latest", "")], "c") == Merged(CONFIG)


def test_a_file_without_a_last_line_feed() -> None:
    data = with_images(b"images:\n- a/b:1", [("a/c:1", "x\ny")], "c").data
    assert data.splitlines()[1:] == [b"- a/b:1", b"- a/c:1".ljust(62) + b" # x y"]


@pytest.mark.parametrize("before", ["images:", "images: []", "images: [ ]  # mine", "images: null\r"])
def test_an_empty_list_gets_its_first_image(before: str) -> None:
    merged = with_images(f"name: x\n{before}\npaths: drop-host\n".encode(), [("quay.io/a/c:1", "y")], "c")
    name, images, item, paths = merged.data.decode().splitlines()
    assert (name, paths) == ("name: x", "paths: drop-host")
    assert images == ("images: # mine" if "mine" in before else "images:")
    assert item.split() == ["-", "quay.io/a/c:1", "#", "y"]


def test_lines_end_as_the_others_do() -> None:
    assert with_images(b"images:\r\n- a/b:1\r\n", [("a/c:1", "x")], "c").data.endswith(b"# x\r\n")


def test_an_image_that_is_listed_with_its_tag_stays_as_it_is_listed() -> None:
    one, two = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
    config = f"images:\n- quay.io/a/b:1\n- quay.io/a/c:1@{one}\n".encode()
    found = [f"quay.io/a/b:1@{one}", "quay.io/a/c:1", f"quay.io/a/c:1@{one}", f"quay.io/a/c:1@{two}"]
    merged = with_images(config, [(image, "") for image in found], "c")
    assert merged == Merged(
        config,
        (),
        (
            (f"quay.io/a/b:1@{one}", "quay.io/a/b:1 is listed, without its digest"),
            (f"quay.io/a/c:1@{two}", f"quay.io/a/c:1@{one} is listed, with another digest"),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "images: [a/b:1]\n",
        "name: x\n",
        "images: {}\n",
        "images: [\n  ]\n",
        "images: [\n",
        "a: 1\n---\nimages:\n- a\n",
        "",
    ],
)
def test_what_cannot_be_added_to(text: str) -> None:
    with pytest.raises(ConfigError):
        with_images(text.encode(), [("a/c:1", "")], "c")
