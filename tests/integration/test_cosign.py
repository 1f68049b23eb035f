"""``--also sigstore``: what real cosign accepts offline, and what it must not."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.support.cli import Cli
from tests.support.gotools import tool
from tests.support.images import make_image
from tests.support.programs import program

NAME = "demo-1.tar.zst"
KINDS = {"p256": ["EC", "ec_paramgen_curve:P-256"], "p384": ["EC", "ec_paramgen_curve:P-384"], "rsa": ["RSA", ""]}


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    cli = Cli(tmp_path_factory.mktemp("cosign"))
    make_image(platforms=["linux/amd64"]).write(cli.folder / "mirror/0")
    (cli.folder / "bundle.yaml").write_text(
        'name: demo\nversion: "1"\nregistry: registry.example:5000\n'
        "images:\n- {image: docker.io/team/app:v1, from: 'dir:mirror/0'}\n"
    )
    cli.bundler("keygen", "builder").expect()
    for name, (algorithm, option) in KINDS.items():
        size = option or "rsa_keygen_bits:3072"
        make = ["genpkey", "-algorithm", algorithm, "-pkeyopt", size, "-out", f"{name}.key"]
        for line in (make, ["pkey", "-in", f"{name}.key", "-pubout", "-out", f"{name}.pub"]):
            subprocess.run([program("openssl"), *line], cwd=cli.folder, check=True, capture_output=True)
    cli.bundler("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--also", "sigstore").expect()
    return cli


def verify(cli: Cli, signer: str, key: str, blob: str = NAME) -> subprocess.CompletedProcess[str]:
    """Run cosign with no network to speak of: a proxy that nobody listens on."""
    environ = {
        **os.environ,
        "HOME": str(cli.home),
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    return subprocess.run(
        [
            tool("cosign"),
            "verify-blob",
            "--insecure-ignore-tlog",
            "--key",
            f"../{key}.pub",
            "--bundle",
            f"{NAME}.{signer}.sigstore.json",
            blob,
        ],
        cwd=cli.folder / "out",
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_cosign_accepts_the_archive(cli: Cli) -> None:
    done = verify(cli, "builder", "builder")
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_cosign_accepts_a_further_signer_with_every_kind_of_key(kind: str, cli: Cli) -> None:
    cli.bundler("sign", f"out/{NAME}", "--key", f"{kind}.key", "--also", "sigstore").expect()
    done = verify(cli, kind, kind)
    assert done.returncode == 0, done.stderr


def test_cosign_refuses_another_key_another_file_and_a_changed_bundle(cli: Cli) -> None:
    assert verify(cli, "builder", "p256").returncode != 0
    assert verify(cli, "builder", "builder", f"{NAME}.sha256").returncode != 0
    path = cli.folder / "out" / f"{NAME}.builder.sigstore.json"
    good = path.read_text()
    document = json.loads(good)
    document["messageSignature"]["signature"] = "MAYCAQECAQE="
    path.write_text(json.dumps(document))
    try:
        assert verify(cli, "builder", "builder").returncode != 0
    finally:
        path.write_text(good)


def test_building_again_leaves_the_same_bundle(cli: Cli) -> None:
    path = cli.folder / "out" / f"{NAME}.builder.sigstore.json"
    before = path.read_bytes()
    cli.bundler("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--also", "sigstore").expect()
    assert path.read_bytes() == before


def test_without_a_key_there_is_nothing_to_write(cli: Cli) -> None:
    ran = cli.bundler("build", "bundle.yaml", "-o", "other", "--also", "sigstore")
    assert ran.status == 2
    assert "--key" in ran.three_lines[0]
