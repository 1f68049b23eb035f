"""A proxy that lets in so many requests a second and no more: asked less often, it lets everything through."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.carried import carry
from tests.support.cli import Cli
from tests.support.images import make_image, make_layer
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


IMAGES = {
    f"team/image-{number}:v1": make_image(name=f"{number}", layers=[make_layer(f"layer-{number}", 1000)])
    for number in range(12)
}


@pytest.mark.parametrize("status", [429, 503])
def test_a_registry_that_takes_twenty_requests_a_second_gets_every_image(cli: Cli, status: int) -> None:
    carried = carry(cli, IMAGES)
    with RegistryServer(rules=Rules(spacing=0.05, crowded=status)) as registry:
        carried.push(registry, "--jobs", "8").expect()
        assert all(carried.arrived(registry, name) for name in carried.images)


def test_a_source_that_takes_twenty_requests_a_second_is_built_from(cli: Cli) -> None:
    with RegistryServer(rules=Rules(spacing=0.05)) as source:
        for name, image in IMAGES.items():
            image.put(source.store, name.partition(":")[0], "v1")
        listed = "".join(f"- {source.host}/{name}\n" for name in IMAGES)
        (cli.folder / "bundle.yaml").write_text(f"name: crowded\nversion: '1'\nregistry: r.example\nimages:\n{listed}")
        cli.bundler("build", "bundle.yaml", "-o", "out", "--plain-http", "--jobs", "8").expect()
