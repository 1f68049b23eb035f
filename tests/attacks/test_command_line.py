"""Hostile bundles from outside: exit code, the three lines of an error, and nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.bundles import ARCHIVE, Recipe, make_recipe, make_signer, tiny_recipe
from tests.support.cli import Cli
from tests.support.images import make_image


def archive(recipe: Recipe) -> Callable[[Path], None]:
    return lambda path: void(path.write_bytes(recipe.archive()))


def void(_: object) -> None:
    return


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: void(path.write_bytes(change(tiny_recipe().archive())))


STRANGER = make_recipe([make_image()], signers=[make_signer("stranger")])
DUPLICATE = replace(tiny_recipe(), json=tiny_recipe().head.manifest.replace(b'"name":', b'"name":"x","name":', 1))
UPWARD = tiny_recipe().put("documents/../../evil", b"x")
TERMINAL = tiny_recipe().change(registry="\x1b]0;owned\x07.example")

# What stands at the archive's place, the exit code, and what the first two lines must name.
HOSTILE: dict[str, tuple[Callable[[Path], None], int, list[str]]] = {
    "signed by a stranger": (archive(STRANGER), 3, ["no trusted key signed", "builder"]),
    "unsigned": (archive(replace(tiny_recipe(), signatures=())), 3, ["no trusted key signed", "none"]),
    "changed in a layer": (changed(lambda data: data[:-1100] + bytes([data[-1100] ^ 1]) + data[-1099:]), 4, [ARCHIVE]),
    "truncated": (changed(lambda data: data[:-1]), 4, [ARCHIVE]),
    "extended": (changed(lambda data: data + b"\0"), 4, [ARCHIVE]),
    "empty": (changed(lambda _: b""), 4, [ARCHIVE]),
    "something else": (changed(lambda _: b"PK\x03\x04" + bytes(1000)), 4, [ARCHIVE]),
    "with a duplicate key": (archive(DUPLICATE), 4, ["bundle.json", "name"]),
    "with a name that leads upwards": (archive(UPWARD), 4, ["documents/../../evil"]),
    "with an escape sequence": (archive(TERMINAL), 4, ["registry"]),
    "a FIFO": (os.mkfifo, 4, [ARCHIVE, "not a regular file"]),
    "a device": (lambda path: path.symlink_to("/dev/zero"), 4, [ARCHIVE, "not a regular file"]),
    "not there": (lambda path: None, 1, [ARCHIVE]),
}


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below ``folder`` with size and time; only the run's own log is left out."""
    found = {path.relative_to(folder).as_posix(): path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {name: (info.st_size, info.st_mtime_ns) for name, info in found.items() if not name.endswith(".log")}


@pytest.mark.parametrize("name", HOSTILE)
def test_verify_refuses_a_bundle_that_is(name: str, tmp_path: Path) -> None:
    make, status, words = HOSTILE[name]
    make(tmp_path / ARCHIVE)
    (tmp_path / "builder.pub").write_bytes(make_signer("builder").public.pem)
    before = tree(tmp_path)
    ran = Cli(tmp_path).loader("verify", ARCHIVE, "--trust", "builder.pub")
    assert ran.status == status, ran.err
    lines = ran.three_lines
    assert len(lines) == 3 or lines[2].startswith("  log:"), ran.err
    assert [word for word in words if word not in "".join(lines[:2])] == []
    assert "\x1b" not in ran.out + ran.err
    assert "Verified" not in ran.out
    assert tree(tmp_path) == before


@pytest.mark.parametrize("verb", ["push", "apply", "extract", "load"])
def test_no_verb_goes_on_with_a_bundle_nobody_trusted_signed(verb: str, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(STRANGER.archive())
    (tmp_path / "builder.pub").write_bytes(make_signer("builder").public.pem)
    before = tree(tmp_path)
    more = {
        "push": ["--registry", "127.0.0.1:9", "--plain-http"],
        "load": ["--registry", "127.0.0.1:9", "--plain-http", "--no-apply", "--yes"],
        "apply": ["--registry", "127.0.0.1:9", "--plain-http", "--yes"],
        "extract": ["-o", "out"],
    }
    ran = Cli(tmp_path).loader(verb, ARCHIVE, "--trust", "builder.pub", *more[verb])
    assert ran.status == 3, ran.err
    assert "no trusted key signed" in ran.three_lines[0]
    assert tree(tmp_path) == before
