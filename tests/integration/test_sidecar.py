"""The archive's own hash, from outside: compared by verify where that is asked for, and by push before it sends."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from loader.signing import load_signer
from tests.support.carried import Carried, carry
from tests.support.cli import Cli
from tests.support.images import make_image
from tests.support.registry import RegistryServer


@pytest.fixture
def carried(tmp_path: Path) -> Carried:
    image = make_image(platforms=["linux/amd64"], layer_size=3_000_000, compressed=False, oci_types=True)
    return carry(Cli(tmp_path), {"team/app:v1": image})


def sidecar_of(carried: Carried) -> Path:
    return carried.archive.with_name(f"{carried.archive.name}.sha256")


def exchange(carried: Carried) -> None:
    """Put the sidecar of another file beside the archive, signed by the same builder."""
    sidecar = sidecar_of(carried)
    sidecar.write_text(f"{hashlib.sha256(b'another').hexdigest()}  {carried.archive.name}\n")
    key = (carried.cli.folder / "builder.key").read_bytes()
    signature = load_signer(key, label="builder", where="builder").sign(sidecar.read_bytes())
    sidecar.with_name(f"{sidecar.name}.builder.sig").write_bytes(signature)


def test_verify_says_it_as_one_step_and_in_the_report(carried: Carried) -> None:
    ours = ("verify", carried.archive, "--trust", "builder.pub", "--json")
    found = carried.cli.loader(*ours, "--sidecar", "--report", "evidence").expect().json
    assert found["checks"][-1]["check"] == "sidecar"
    assert "signed by builder" in found["checks"][-1]["result"]
    assert not any("sidecar" in line for line in found["notChecked"])
    found = carried.cli.loader(*ours).expect().json
    assert found["checks"][-1]["check"] == "end"
    assert any("which --sidecar would see" in line for line in found["notChecked"])
    sidecar_of(carried).unlink()
    carried.cli.loader(*ours, "--sidecar").expect(3)


def test_an_exchanged_sidecar_is_refused_before_anything_is_sent(carried: Carried) -> None:
    exchange(carried)
    ran = carried.cli.loader("verify", carried.archive, "--trust", "builder.pub", "--sidecar").expect(3)
    assert "is not the file that its sidecar names" in ran.three_lines[0]
    with RegistryServer() as registry:
        ran = carried.push(registry).expect(3)
        assert "is not the file that its sidecar names" in ran.three_lines[0]
        assert not registry.store.tags
        assert not any(line.startswith("push") for line in ran.out.splitlines())
    assert not list(carried.cli.folder.glob("*.load.json"))
