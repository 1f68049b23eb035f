from __future__ import annotations

from dataclasses import replace

from loader.bundle.manifest import Mirror
from loader.difference import difference, difference_lines
from tests.support.bundles import full_recipe
from tests.support.images import make_image

OLD = full_recipe().manifest
ONE, TWO = OLD.images
OTHER = make_image(name="other").digest


def test_a_bundle_and_itself() -> None:
    found = difference(OLD, OLD, (("a",), ("a",)))
    assert found["images"] == {"added": [], "changed": [], "moved": [], "removed": [], "unchanged": 2}
    assert list(difference_lines(found)) == [
        ("compared", "with demo 1, sequence 7"),
        ("same", "2 images with the digest as before"),
    ]


def test_everything_that_can_change() -> None:
    document = OLD.documents[0].path
    new = replace(
        OLD,
        images=(replace(ONE, digest=OTHER, repository="moved/app0"), replace(TWO, tag="v2")),
        mirrors=(Mirror("docker.io/apps", "registry.example:5000/apps", "AllowContactingSource"),),
        files=tuple(replace(file, sha256="0" * 64) if file.path == document else file for file in OLD.files),
        registry="other.example",
    )
    found = difference(OLD, new, (("builder", "approver"), ("builder", "officer")))
    assert found["images"] == {
        "added": [{"digest": TWO.digest, "image": "docker.io/apps/app1:v2"}],
        "changed": [{"from": ONE.digest, "image": "docker.io/apps/app0:v1", "to": OTHER}],
        "moved": [{"from": "apps/app0", "image": "docker.io/apps/app0:v1", "to": "moved/app0"}],
        "removed": [{"digest": TWO.digest, "image": "docker.io/apps/app1:v1"}],
        "unchanged": 0,
    }
    assert found["documents"] == {"added": [], "changed": [document], "removed": []}
    assert found["mirrors"]["added"] == ["docker.io/apps -> registry.example:5000/apps"]
    assert found["signers"] == {"added": ["officer"], "removed": ["approver"]}
    assert found["registry"] == {"from": OLD.registry, "to": "other.example"}
    # The tag of app0 is still there, its old digest is not; of app1 it is the tag that is gone.
    assert found["noLongerShipped"] == [f"docker.io/apps/app0@{ONE.digest}", "docker.io/apps/app1:v1"]
    lines = list(difference_lines(found))
    for line in (
        ("image +", f"docker.io/apps/app1:v2 {TWO.digest}"),
        ("image ~", f"docker.io/apps/app0:v1 {ONE.digest} -> {OTHER}"),
        ("image ~", "docker.io/apps/app0:v1 goes to moved/app0, not apps/app0"),
        ("image -", f"docker.io/apps/app1:v1 {TWO.digest}"),
        ("document ~", document),
        ("mirror +", "docker.io/apps -> registry.example:5000/apps"),
        ("signer +", "officer"),
        ("signer -", "approver"),
        ("registry ~", f"{OLD.registry} -> other.example"),
        ("gone", "docker.io/apps/app1:v1 is no longer shipped"),
    ):
        assert line in lines
