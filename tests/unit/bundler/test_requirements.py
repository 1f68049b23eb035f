"""``require:`` in a config: which images it covers, and every way to get it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config import BuildConfig, parse_config
from loader.bundle.errors import ConfigError
from loader.signing import new_key_pair

PRIVATE, PUBLIC = new_key_pair()
HEAD = 'name: a\nversion: "1"\nregistry: r.example\n'
IMAGES = "images:\n- quay.io/ceph/ceph:v19\n- quay.io/other/app:1\n"
FILES = {"a.pub": PUBLIC, "b.pub": PUBLIC, "a.key": PRIVATE, "junk": b"junk"}


def read(path: Path, cap: int) -> bytes:
    if path.name not in FILES:
        raise ConfigError(f"{path.name} cannot be read", why="No such file or directory")
    return FILES[path.name][:cap]


def config(text: str) -> BuildConfig:
    return parse_config(text.encode(), directory=Path("/site"), what="bundle.yaml", read=read)


def keys(made: BuildConfig) -> dict[str, list[list[str]]]:
    return {image.name.name: [[key.place for key in one.keys] for one in image.require] for image in made.images}


CEPH, APP = "quay.io/ceph/ceph", "quay.io/other/app"


@pytest.mark.parametrize(
    ("require", "wanted"),
    [
        ("{signatures: [a.pub]}", {CEPH: [["a.pub"]], APP: [["a.pub"]]}),
        ("{signatures: [a.pub, 'file:b.pub']}", {CEPH: [["a.pub", "b.pub"]], APP: [["a.pub", "b.pub"]]}),
        ("{images: quay.io/ceph/*, signatures: [a.pub]}", {CEPH: [["a.pub"]], APP: []}),
        ("{images: ['*/app'], signatures: [a.pub]}", {CEPH: [], APP: [["a.pub"]]}),
        ("{images: '*:v19', signatures: [a.pub]}", {CEPH: [["a.pub"]], APP: []}),
        (
            "[{signatures: [a.pub]}, {images: quay.io/ceph/ceph:v19, signatures: [b.pub]}]",
            {CEPH: [["a.pub"], ["b.pub"]], APP: [["a.pub"]]},
        ),
    ],
)
def test_which_images_it_covers(require: str, wanted: dict[str, list[list[str]]]) -> None:
    assert keys(config(f"{HEAD}{IMAGES}require: {require}\n")) == wanted


def test_one_image_may_say_it_for_itself() -> None:
    made = config(f"{HEAD}images:\n- {{image: {CEPH}:v19, require: {{signatures: [a.pub]}}}}\n- {APP}:1\n")
    assert keys(made) == {CEPH: [["a.pub"]], APP: []}


@pytest.mark.parametrize(
    ("require", "problem"),
    [
        ("{signatures: []}", "an empty list would let everything pass"),
        ("{signatures: [c.pub]}", "c.pub cannot be read: No such file"),
        ("{signatures: [junk]}", "junk is not a public key in PEM form"),
        ("{signatures: [a.key]}", "that is a private key"),
        ("{images: quay.io/cehp/*, signatures: [a.pub]}", "matches no image"),
        ("{images: [], signatures: [a.pub]}", "lists no pattern"),
        ("{signature: [a.pub]}", "did you mean `signatures`?"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(require: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(f"{HEAD}{IMAGES}require: {require}\n")
    assert any("(line 7)" in place and problem in text for place, text in caught.value.faults), caught.value.faults


def test_a_signature_that_is_required_is_not_left_out() -> None:
    with pytest.raises(ConfigError) as caught:
        config(f"{HEAD}{IMAGES}attachments: false\nrequire: {{signatures: [a.pub]}}\n")
    assert "leaves out the signature" in caught.value.faults[0][1]
