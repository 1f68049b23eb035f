"""The whole document set of the article, as files; the byte-exact ones were taken from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config import parse_config
from bundler.render.documents import render_documents
from loader.bundle.digest import sha256_hex
from tests.golden.article import CONFIG, HERE, IMAGES, TOOLBOX

CONFIG_READ = parse_config(CONFIG, directory=Path("/site"), what="bundle.yaml", read=lambda _path, _cap: TOOLBOX)
RENDERED = {item.document.path: item.content for item in render_documents(CONFIG_READ, IMAGES)}
FILES = sorted(path.relative_to(HERE).as_posix() for path in (HERE / "documents").rglob("*") if path.is_file())


def test_the_files_are_all_that_is_rendered() -> None:
    assert sorted(RENDERED) == FILES


@pytest.mark.parametrize("path", FILES)
def test_rendered_as_kept(path: str) -> None:
    assert RENDERED[path].decode() == (HERE / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "sha256"),
    [
        ("documents/rook/operator.json", "51f54ad866be3574c344000a81d55b71fd34dff73413b90ca39d491638c66103"),
        ("documents/rook/csi.json", "f1bb39ed780f17162567d005905d08aaff64a8b175f4fb586054d174fa751a33"),
        ("documents/rook/cluster.json", "6d46a1a6df80880f7ea7aa88d6f1b7cb21d8a0d71a8c03a58cffec25896ec975"),
    ],
)
def test_patch_bodies_are_the_articles(path: str, sha256: str) -> None:
    assert sha256_hex((HERE / path).read_bytes()) == sha256
