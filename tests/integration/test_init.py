"""``airgap-bundler init`` from outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config import load_config
from tests.support.cli import Cli


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_a_config_for_a_release(cli: Cli) -> None:
    ran = cli.bundler("init", "--rook", "v1.14.9", "--registry", "reg.example:5000/x", "--json").expect()
    config = load_config(cli.folder / "bundle.yaml")
    assert ran.json["rook"] == "v1.14.9"
    assert ran.json["images"] == [str(image.name) for image in config.images]
    assert config.registry == "reg.example:5000/x"
    before = (cli.folder / "bundle.yaml").read_bytes()
    assert "overwritten" in " ".join(cli.bundler("init").expect(2).three_lines)
    assert (cli.folder / "bundle.yaml").read_bytes() == before
    cli.bundler("init", "-o", "other.yaml").expect()
    assert "registry.example.com" in (cli.folder / "other.yaml").read_text()


def test_releases_that_are_not_known(cli: Cli) -> None:
    assert "v1.20.6" in cli.bundler("init", "--rook", "v1.20.70").expect().err
    (cli.folder / "bundle.yaml").unlink()
    assert "v1.20.6" in " ".join(cli.bundler("init", "--rook", "v1.30.0").expect(2).three_lines)
    cli.bundler("init", "--rook", "v1.20.6", "--registry", "https://reg").expect(2)
    assert not (cli.folder / "bundle.yaml").exists()


def test_the_list(cli: Cli) -> None:
    assert len(cli.bundler("init", "--list").expect().out.splitlines()) == 194
    releases = cli.bundler("init", "--list", "--json").expect().json["releases"]
    assert releases[-1]["images"]["operator"] == "docker.io/rook/ceph:v1.20.6"
