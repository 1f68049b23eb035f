"""Two teams, one media set: from the build to a push out of discs, under a policy that wants both."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.images import make_image
from tests.support.programs import program
from tests.support.registry import RegistryServer

NAME = "demo-1.tar.zst"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A signed bundle, its three discs and parity, and a far side that trusts both teams."""
    cli = Cli(tmp_path_factory.mktemp("teams"))
    make_image(platforms=["linux/amd64"], layer_size=9_000_000).write(cli.folder / "mirror/0")
    (cli.folder / "bundle.yaml").write_text(
        'name: demo\nversion: "1"\nregistry: registry.example:5000\n'
        "images:\n- {image: docker.io/team/app:v1, from: 'dir:mirror/0'}\n"
    )
    cli.bundler("keygen", "builder").expect()
    make = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "officer.key"]
    openssl(cli, *make)
    openssl(cli, "pkey", "-in", "officer.key", "-pubout", "-out", "officer.pub")
    for name in ("builder", "officer"):
        digits = subprocess.check_output(
            f"openssl pkey -pubin -in {name}.pub -outform DER | openssl dgst -sha256 -r | cut -c1-64",
            shell=True,
            cwd=cli.folder,
            text=True,
        ).strip()
        cli.loader("trust", "add", f"{name}.pub", "--fingerprint", f"sha256:{digits}", "--trust", "trust").expect()
    (cli.folder / "trust/policy.toml").write_text('threshold = 2\nrequired = ["officer"]\n')
    cli.bundler("build", "bundle.yaml", "-o", "out", "--key", "builder.key").expect()
    return cli


def openssl(cli: Cli, *argv: str) -> None:
    subprocess.run([program("openssl"), *argv], cwd=cli.folder, check=True, capture_output=True)


def discs(cli: Cli, folder: str) -> list[Path]:
    command = ("media", f"out/{NAME}", "-o", folder, "--volume-size", "6MB", "--parity", "1", "--key", "builder.key")
    cli.bundler(*command).expect()
    found = sorted(path for path in (cli.folder / folder).iterdir() if path.is_dir())
    assert [path.name for path in found] == ["p01", "v01", "v02", "v03"]
    return found


def test_the_second_signature_made_on_the_far_side(cli: Cli) -> None:
    found = discs(cli, "far")
    refused = cli.loader("verify", *found, "--trust", "trust")
    assert refused.status == 3, refused.err
    assert "officer" in refused.three_lines[1]
    # The officer has the discs, openssl and a key; nothing of ours.
    openssl(cli, "dgst", "-sha384", "-sign", "officer.key", "-out", "s", "far/v01/bundle/SHA256SUMS")
    attach = ("attach-signature", *found, "s", "--signer", "officer", "--public-key", "officer.pub")
    cli.loader(*attach, "-o", "papers").expect()
    given = ("--signature", f"papers/{NAME}.officer.sig")
    verified = cli.loader("verify", *found, "--trust", "trust", *given, "--json").expect().json
    assert sorted(signer["name"] for signer in verified["signers"]) == ["builder", "officer"]
    with RegistryServer() as registry:
        where = ("--registry", registry.host, "--plain-http", "--report", "reports", "--state", "state-far")
        assert cli.loader("push", *found, "--trust", "trust", *where).status == 3
        assert not registry.store.tags
        shutil.rmtree(cli.folder / "far/v02")  # a disc lost: parity stands in
        cli.loader("push", *found[:2], found[3], "--trust", "trust", *where, *given).expect()
        assert ("team/app", "v1") in registry.store.tags


def test_the_second_signature_beside_the_discs(cli: Cli) -> None:
    found = discs(cli, "beside")
    openssl(cli, "dgst", "-sha384", "-sign", "officer.key", "-out", "s", "beside/v02/bundle/SHA256SUMS")
    cli.loader("attach-signature", "beside", "s", "--signer", "officer", "--public-key", "officer.pub").expect()
    assert (cli.folder / f"beside/{NAME}.officer.sig").is_file()
    for sources in (found, ["beside"]):
        cli.loader("verify", *sources, "--trust", "trust").expect()
    # A signature over the set's own list is no vote for the bundle.
    openssl(cli, "dgst", "-sha384", "-sign", "officer.key", "-out", "s", "beside/v01/SHA256SUMS")
    wrong = cli.loader("attach-signature", "beside", "s", "--signer", "other", "--public-key", "officer.pub")
    assert wrong.status == 3, wrong.err


def test_the_second_signature_made_before_the_discs_are_written(cli: Cli) -> None:
    cli.bundler("sign", f"out/{NAME}", "--key", "officer.key").expect()
    try:
        cli.loader("verify", f"out/{NAME}", "--trust", "trust").expect()
        found = discs(cli, "whole")
        assert (found[1] / "bundle/SHA256SUMS.officer.sig").is_file()
        cli.loader("verify", *found, "--trust", "trust").expect()
        cli.loader("verify", *found[1:2], "--disc", "--trust", "trust").expect()
        line = ("dgst", "-sha384", "-verify", "officer.pub", "-signature", "whole/v01/bundle/SHA256SUMS.officer.sig")
        openssl(cli, *line, "whole/v01/bundle/SHA256SUMS")
    finally:
        for path in (cli.folder / "out").glob("*.officer.sig"):
            path.unlink()
