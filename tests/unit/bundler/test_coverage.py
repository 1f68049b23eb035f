from __future__ import annotations

import dataclasses
import json

import pytest

from bundler.coverage import find_coverage
from loader.bundle.manifest import Mirror
from tests.support.bundles import full_recipe, make_document

PATH = "documents/manifests/01-tools.json"


@pytest.mark.parametrize(
    ("container", "way"),
    [
        ({"image": "{name}"}, "pin: true writes the digest"),
        ({"args": ["{name}"]}, "write the digest there by hand, pin: true leaves it alone"),
    ],
)
def test_a_tag_is_told_with_what_can_be_done_at_its_place(container: dict[str, object], way: str) -> None:
    manifest = full_recipe().manifest
    name = f"{manifest.images[0].source}:{manifest.images[0].tag}"
    mirrors = (Mirror(manifest.images[0].source, f"{manifest.registry}/x", "AllowContactingSource"),)
    manifest = dataclasses.replace(manifest, mirrors=mirrors, documents=(make_document(PATH, phase="after-rook"),))
    pod = {"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", **container}]}}
    text = json.dumps(pod).replace("{name}", name)
    (item,) = find_coverage(manifest, {PATH: text.encode()})
    assert item.covered == "tag"
    assert item.problem.endswith(way)
