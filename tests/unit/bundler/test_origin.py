"""Where an image's bytes are: the forms of ``from``, folders, and the names.txt beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.origin import SkopeoOrigin, list_folders, parse_origin, read_names
from loader.bundle.errors import ConfigError
from loader.oci.model import ImageRef


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("dir:a b/c", Path("/site/a b/c")),
        ("dir:/a", Path("/a")),
        ("docker://quay.io/a/b:1", ImageRef("quay.io", "a/b", "1", None)),
        ("oci:a/b:tag", SkopeoOrigin("oci", "/site/a/b:tag")),
        ("oci-archive:/x.tar", SkopeoOrigin("oci-archive", "/x.tar")),
        ("docker-archive:x.tar", SkopeoOrigin("docker-archive", "/site/x.tar")),
        ("containers-storage:localhost/a:1", SkopeoOrigin("containers-storage", "localhost/a:1")),
        ("docker-daemon:a:1", SkopeoOrigin("docker-daemon", "a:1")),
    ],
)
def test_forms(text: str, origin: object) -> None:
    assert parse_origin(text, Path("/site")) == origin


@pytest.mark.parametrize("text", ["", "a/b", "dir:", "dir:\0", "oci:", "oci:a\nb", "sif:x", "docker://A", "-x:y", ":x"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_origin(text, Path("/site"))


def test_folders(tmp_path: Path) -> None:
    for name in ("b", "a", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "names.txt").write_text("")
    assert list_folders(tmp_path / "*") == ["a", "b", "other"]
    assert list_folders(tmp_path / "o*") == ["other"]
    with pytest.raises(ConfigError, match="cannot be listed"):
        list_folders(tmp_path / "none/*")


FOLDERS = ["a", "csi-attacher", "csi-resizer-v1.0.0"]


def test_names() -> None:
    data = b"a quay.io/x/y:1\r\na quay.io/x/y:2  # twice\n\nsig/csi-attacher:v3\nsig/csi-resizer:v1.0.0\n"
    found = read_names(data, FOLDERS)
    assert found.problems == ()
    assert [(folder, str(image)) for folder, image in found.images] == [
        ("a", "quay.io/x/y:1"),
        ("a", "quay.io/x/y:2"),
        ("csi-attacher", "docker.io/sig/csi-attacher:v3"),
        ("csi-resizer-v1.0.0", "docker.io/sig/csi-resizer:v1.0.0"),
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nowhere quay.io/x/y:1", "no folder for nowhere"),
        ("quay.io/x/nowhere:1", "no folder for quay.io/x/nowhere:1"),
        ("a quay.io/x/y:1 more", "is not an image reference|is not FOLDER IMAGE"),
        ("a more quay.io/x/y:1", "is not FOLDER IMAGE"),
        ("a A:1", "is not an image reference"),
        ("../a quay.io/x/y:1", "no folder for ../a"),
    ],
)
def test_wrong_names(line: str, problem: str) -> None:
    data = f"a x/a:1\nsig/csi-attacher:v3\nsig/csi-resizer:v1.0.0\n{line}\n".encode()
    (found,) = read_names(data, FOLDERS).problems or ("",)
    assert found.startswith("names.txt line 4")
    assert any(word in found for word in problem.split("|"))


def test_folders_without_a_name_are_told() -> None:
    assert read_names(b"", FOLDERS).problems == tuple(f"names.txt has no name for {folder}" for folder in FOLDERS)
    assert "larger" in read_names(b"#" * (1 << 20) + b"#", FOLDERS).problems[0]
