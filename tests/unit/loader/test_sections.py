from __future__ import annotations

import re
from typing import Any

import pytest

from loader.sections import contents, discs, effect, identity_rows
from loader.verdict import described
from tests.support.bundles import full_recipe, make_recipe
from tests.support.images import make_image


def found() -> dict[str, Any]:
    recipe = full_recipe()
    return described(recipe.manifest, recipe.head)


def widths(body: str) -> list[float]:
    return [float(width) for width in re.findall(r'style="width:([0-9.]+)%"', body)]


def test_every_part_of_a_bundle_has_its_section() -> None:
    sections = dict(contents(found()))
    assert list(sections) == [
        "Images",
        "Where layers are shared",
        "Attachments",
        "Mirrors",
        "Documents and their effect",
    ]
    for image in found()["images"]:
        assert image["digest"] in sections["Images"]
    shared = sections["Where layers are shared"]
    # The largest image's bar is full, and no bar is more than that.
    assert shared.count('class="strip"') == len(found()["images"])
    assert max(widths(shared)) <= 100
    for blob in found()["shared"]:
        assert blob["digest"] in shared


def test_images_that_share_nothing_say_so() -> None:
    recipe = make_recipe([make_image()])
    assert (
        "No blob is in more than one image"
        in dict(contents(described(recipe.manifest, recipe.head)))["Where layers are shared"]
    )


def document(**changes: Any) -> dict[str, Any]:
    target = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "rook-ceph", "name": "config"}
    return {
        "action": "merge-patch",
        "target": target,
        "wait": None,
        "when": {"api": None, "rook": None},
        "otherwise": "skip",
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "patches ConfigMap/config in rook-ceph"),
        ({"wait": "rollout"}, "patches ConfigMap/config in rook-ceph; waits for: rollout"),
        ({"action": "file"}, "a file for people and other nodes: nothing is applied"),
        (
            {"action": "apply", "when": {"api": "v1/ConfigMap", "rook": ">=v1.5.0"}, "otherwise": "refuse"},
            (
                "creates or updates ConfigMap/config in rook-ceph, if the API serves v1/ConfigMap and Rook is >=v1.5.0 "
                "(else: refuse)"
            ),
        ),
    ],
)
def test_the_effect_of_a_document_in_words(changes: dict[str, Any], words: str) -> None:
    assert effect(document(**changes)) == words


def disc(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "chunks": 4, "badChunks": [], "fromParity": 0, "here": True, **changes}


def test_the_map_of_discs_shows_each_chunk_that_is_bad() -> None:
    body = discs(
        {
            "discs": [
                disc("v01"),
                disc("v02", badChunks=[1, 3], fromParity=2),
                disc("v03", here=False, fromParity=4),
                disc("v04", here=False),
                disc("p01", chunks=5000, badChunks=[4999]),
            ],
            "notes": ["a note"],
        }
    )
    rows = re.findall(r'<div>([^<]*)</div><div class="strip">(.*?)</div>', body)
    colours = [re.findall(r'<i class="(\w+)"', row) for _, row in rows]
    assert [text.split(":")[0] for text, _ in rows] == ["v01", "v02", "v03", "v04", "p01"]
    assert colours[0] == ["ok"] * 4
    assert colours[1] == ["ok", "bad", "ok", "bad"]
    assert colours[2] == ["healed"] * 4
    assert colours[3] == ["gone"] * 4
    # One bad chunk of thousands is still seen.
    assert colours[4] == ["ok"] * (len(colours[4]) - 1) + ["bad"]
    assert "2 of 4 chunks unreadable or wrong, 2 made again from parity" in rows[1][0]
    assert "<li>a note</li>" in body


def test_a_delta_names_its_base() -> None:
    delta = {**found(), "complete": False, "base": "ab" * 32, "requires": [{}, {}]}
    assert ("delta of", f"{'ab' * 32}: needs 2 blobs of it") in identity_rows(delta)
