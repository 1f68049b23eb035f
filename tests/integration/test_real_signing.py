"""Images that real cosign and oras signed and described, carried from a registry into another one."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.support.apiserver import ApiServer
from tests.support.cli import Cli
from tests.support.gotools import tool
from tests.support.images import make_image
from tests.support.programs import DebianRegistry, docker_registry, skopeo

OFFLINE = ("--tlog-upload=false", "--use-signing-config=false", "--allow-insecure-registry", "--yes")
CHECK = ("--insecure-ignore-tlog", "--allow-insecure-registry", "--key", "cosign.pub")
SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True)
class Signing:
    """cosign and oras in a folder with the key pair ``cosign``."""

    folder: Path

    def run(self, name: str, *args: object) -> str:
        environ = {"HOME": str(self.folder), "PATH": "/usr/bin:/bin", "COSIGN_PASSWORD": ""}
        argv = [str(tool(name)), *map(str, args)]
        done = subprocess.run(argv, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def sign(self, image: str, *, bundle: bool) -> None:
        self.run("cosign", "sign", "--key", "cosign.key", f"--new-bundle-format={str(bundle).lower()}", *OFFLINE, image)


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    made = Signing(tmp_path)
    made.run("cosign", "generate-key-pair")
    return made


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path, {"SOURCE_DATE_EPOCH": "1600000000"})
    made.bundler("keygen", "builder").expect()
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[DebianRegistry]:
    with docker_registry(tmp_path / "outside") as registry:
        yield registry


def put(cli: Cli, registry: DebianRegistry, name: str = "x/app") -> str:
    """Put an index of two platforms as tag 1; return its name by digest."""
    image = make_image(name=name)
    layout = image.write(cli.folder / f"layout-{name.replace('/', '-')}")
    target = f"docker://{registry.host}/{name}:1"
    skopeo(cli.home, "copy", "--all", "--dest-tls-verify=false", f"dir:{layout}", target)
    return f"{registry.host}/{name}@{image.digest}"


def config(cli: Cli, registry: DebianRegistry, extra: str = "") -> None:
    text = f'name: s\nversion: "1"\nregistry: r.example\nimages:\n- {registry.host}/x/app:1\n{extra}'
    (cli.folder / "bundle.yaml").write_text(text)


def test_everything_attached_arrives(cli: Cli, signing: Signing, outside: DebianRegistry) -> None:
    image = put(cli, outside)
    (cli.folder / "facts.json").write_text("{}")
    signing.sign(image, bundle=False)
    signing.sign(image, bundle=True)
    attest = ("attest", "--key", "cosign.key", "--new-bundle-format=false", *OFFLINE, "--predicate", "facts.json")
    signing.run("cosign", *attest, image)
    scan = ("attach", "--plain-http", "--artifact-type", "text/x-scan", image, "facts.json:application/json")
    signing.run("oras", *scan)
    config(cli, outside)
    cli.bundler("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http").expect()
    attached = cli.bundler("plan", "out/s-1.tar.zst", "--json").expect().json["attachments"]
    assert sorted(item["kind"] for item in attached) == ["attestation", "referrer", "referrer", "signature"]
    with docker_registry(cli.folder / "inside") as inside:
        push = ("push", "out/s-1.tar.zst", "--trust", "builder.pub", "--registry", inside.host, "--plain-http")
        cli.loader(*push).expect()
        there = image.replace(outside.host, inside.host)
        for form in ("--new-bundle-format=false", "--new-bundle-format=true"):
            signing.run("cosign", "verify", form, *CHECK, there)
        kind = "--new-bundle-format=false"
        signing.run("cosign", "verify-attestation", kind, "--type", "custom", *CHECK, there)
        found = json.loads(signing.run("oras", "discover", "--plain-http", "--format", "json", there))
        assert {item["digest"] for item in found["referrers"]} == {
            item["digest"] for item in attached if item["kind"] == "referrer"
        }


BUILD = ("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http", "--json")


@pytest.mark.parametrize("bundle", [False, True])
def test_a_required_signature_is_checked(cli: Cli, signing: Signing, outside: DebianRegistry, bundle: bool) -> None:
    image = put(cli, outside)
    config(cli, outside, "require: {signatures: [cosign.pub]}\n")
    ran = cli.bundler(*BUILD).expect(3)
    assert "there is no signature, and one by cosign.pub is required" in ran.three_lines[1]
    assert not (cli.folder / "out" / "s-1.tar.zst").exists()
    signing.sign(image, bundle=bundle)
    cli.bundler(*BUILD).expect()
    (cli.folder / "theirs").mkdir()
    Signing(cli.folder / "theirs").run("cosign", "generate-key-pair")
    config(cli, outside, f"require:\n- {{images: '{outside.host}/x/*', signatures: [theirs/cosign.pub]}}\n")
    assert "by another key" in cli.bundler("plan", "bundle.yaml", "--plain-http").expect(3).three_lines[1]
    config(cli, outside, "require: {signatures: [theirs/cosign.pub, cosign.pub]}\n")
    cli.bundler("plan", "bundle.yaml", "--plain-http").expect()


def test_an_attestation_or_the_signature_of_another_image_is_none(
    cli: Cli, signing: Signing, outside: DebianRegistry
) -> None:
    image, other = put(cli, outside), put(cli, outside, "x/other")
    (cli.folder / "facts.json").write_text("{}")
    attest = ("attest", "--key", "cosign.key", "--new-bundle-format=true", *OFFLINE, "--predicate", "facts.json")
    signing.run("cosign", *attest, image)
    signing.sign(other, bundle=False)
    tags = [f"docker://{outside.host}/{part[0]}:{part[1].replace(':', '-')}.sig" for part in
            [("x/other", other.rpartition("@")[2]), ("x/app", image.rpartition("@")[2])]]  # fmt: skip
    skopeo(cli.home, "copy", "--src-tls-verify=false", "--dest-tls-verify=false", *tags)
    config(cli, outside, "require: {signatures: [cosign.pub]}\n")
    why = cli.bundler(*BUILD).expect(3).three_lines[1]
    assert "none of its 2 signatures is by cosign.pub" in why
    assert "it signs another image" in why
    assert "which is no signature" in why


def test_what_the_airgap_needs_to_check_signatures_is_rendered(
    cli: Cli, signing: Signing, outside: DebianRegistry, api_server: ApiServer
) -> None:
    image = put(cli, outside)
    signing.sign(image, bundle=False)
    config(cli, outside, "require: {signatures: [cosign.pub]}\n")
    cli.bundler(*BUILD).expect()
    for registry in ("r.example", "other.example:5000/mirror"):
        where = f"documents-{registry.partition('.')[0]}"
        extract = ("extract", "out/s-1.tar.zst", "--trust", "builder.pub", "--documents", "--registry", registry)
        cli.loader(*extract, "-o", where).expect()
        places = yaml.safe_load((cli.folder / where / "documents/nodes/registries.d.yaml").read_text())
        read = {"use-sigstore-attachments": True}
        assert places == {"docker": {f"{outside.host}/x/app": read, f"{registry}/x/app": read}}
    policy = cli.folder / "documents-r/documents/policies/s.yaml"
    assert "cosign sign --recursive" in policy.read_text()
    spec = yaml.safe_load(policy.read_text())["spec"]
    assert spec["scopes"] == [f"{outside.host}/x/app"]
    key = base64.b64decode(spec["policy"]["rootOfTrust"]["publicKey"]["keyData"])
    assert key == (cli.folder / "cosign.pub").read_bytes()
    assert "signedIdentity" not in spec["policy"]
    api_server.kubectl("apply", "--server-side", "--dry-run=server", "-f", str(policy))


def test_signatures_that_skopeo_put_into_a_layout_count_and_arrive(
    cli: Cli, signing: Signing, outside: DebianRegistry
) -> None:
    image = put(cli, outside)
    signing.run("cosign", "sign", "--recursive", "--key", "cosign.key", "--new-bundle-format=false", *OFFLINE, image)
    places = cli.folder / "registries.d"
    places.mkdir()
    (places / "here.yaml").write_text(json.dumps({"docker": {outside.host: {"use-sigstore-attachments": True}}}))
    source = f"docker://{outside.host}/x/app:1"
    copy = ("copy", "--all", "--preserve-digests", "--src-tls-verify=false", source, f"dir:{cli.folder / 'carried'}")
    skopeo(cli.home, "--registries.d", str(places), *copy)
    assert (cli.folder / "carried/signature-1").read_bytes().startswith(b"\0sigstore-json\n")
    text = (
        f'name: s\nversion: "1"\nregistry: r.example\nimages:\n- {{image: {outside.host}/x/app:1, from: dir:carried}}\n'
    )
    (cli.folder / "theirs").mkdir()
    Signing(cli.folder / "theirs").run("cosign", "generate-key-pair")
    (cli.folder / "bundle.yaml").write_text(f"{text}require: {{signatures: [theirs/cosign.pub]}}\n")
    assert "by another key" in cli.bundler("plan", "bundle.yaml").expect(3).three_lines[1]
    (cli.folder / "bundle.yaml").write_text(f"{text}require: {{signatures: [cosign.pub]}}\n")
    plan = cli.bundler("plan", "bundle.yaml", "--json").expect().json
    assert [item["kind"] for item in plan["attachments"]] == ["signature"] * 3
    cli.bundler(*BUILD).expect()
    with docker_registry(cli.folder / "inside") as inside:
        push = ("push", "out/s-1.tar.zst", "--trust", "builder.pub", "--registry", inside.host, "--plain-http")
        cli.loader(*push).expect()
        signing.run("cosign", "verify", "--new-bundle-format=false", *CHECK, image.replace(outside.host, inside.host))
