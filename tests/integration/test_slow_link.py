"""50 Mbit/s, 100 ms each way and 1 % of all packets lost: the line is full both ways, over a few connections."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tests.support.carried import carry
from tests.support.certificates import PrivateAuthority
from tests.support.cli import Cli
from tests.support.images import make_image, make_layer
from tests.support.programs import docker_registry
from tests.support.slowlink import FAR, filled, namespaces, relay

DELAY = 0.1
"""Seconds that everything takes either way: an answer comes after 200 ms."""
WANTED = 0.85
IMAGES = {
    "team/large:v1": make_image(name="large", layers=[make_layer("big", 16_000_000)], platforms=("linux/amd64",)),
    "team/middle:v1": make_image(
        name="middle", layers=[make_layer(f"m{number}", 2_000_000) for number in range(6)], platforms=("linux/amd64",)
    ),
    "team/small:v1": make_image(name="small", layer_size=30_000),
}


def test_the_line_is_full_both_ways(tmp_path: Path) -> None:
    carried = carry(Cli(tmp_path), IMAGES)
    authority = PrivateAuthority(tmp_path / "ca")
    with (
        namespaces() as ends,
        docker_registry(tmp_path / "far", tls=authority.pair(), address=FAR, within=ends.far) as registry,
    ):
        near = dataclasses.replace(carried.cli, within=ends.near)
        access = ("--ca-file", authority.certificate)
        with relay(ends.near, registry.host, DELAY) as (host, pushed):
            trust = ("--trust", "builder.pub", "--registry", host)
            near.loader("push", carried.archive, *trust, *access).expect()
            count = len(registry.requests(r'"(GET|HEAD|POST|PUT|PATCH) '))
        with relay(ends.near, registry.host, DELAY) as (host, pulled):
            lines = "".join(f"- {host}/{name}\n" for name in IMAGES)
            config = tmp_path / "again.yaml"
            config.write_text(f'name: again\nversion: "1"\nregistry: r.example:5000\nimages:\n{lines}')
            near.bundler("build", config, "-o", "again", "--key", "builder.key", *access).expect()
    assert filled(pushed[0].up) >= WANTED
    assert filled(pulled[0].down) >= WANTED
    # One handshake a connection: requests by the dozen share a few of them.
    assert count > 40
    assert pushed[0].connections <= 6
    assert pulled[0].connections <= 6
