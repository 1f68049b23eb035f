"""What belongs to an image goes with it: cosign's tags and referrers, of the index and of every child."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.bundle import ocimanifest as oci
from loader.bundle.digest import digest_of
from tests.support.blobstore import BlobStore
from tests.support.cli import Cli
from tests.support.images import MadeImage, make_image
from tests.support.programs import docker_registry, skopeo
from tests.support.registry import RegistryServer

BUILD = ("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http", "--json")


def artifact(store: BlobStore, repository: str, text: str, *, subject: str | None = None) -> tuple[str, bytes]:
    """Put a small artifact as cosign and oras make them; return its digest and bytes."""
    layer, config = text.encode(), b"{}"
    for blob in (layer, config):
        store.add_blob(repository, blob)
    plain = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(config), "size": len(config)},
        "layers": [
            {
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": digest_of(layer),
                "size": len(layer),
                "annotations": {"dev.cosignproject.cosign/signature": "MEUC"},
            }
        ],
    }
    if subject:
        plain["subject"] = {"mediaType": oci.OCI_INDEX, "digest": subject, "size": 1}
    data = json.dumps(plain).encode()
    return digest_of(data), data


def put(store: BlobStore, repository: str, tag: str, text: str) -> str:
    digest, data = artifact(store, repository, text)
    store.add_manifest(repository, data, oci.OCI_MANIFEST, tag)
    return digest


def put_referrers(store: BlobStore, repository: str, subject: str) -> str:
    """The fallback tag of registries that have no referrers API: an index of what refers to ``subject``."""
    digest, data = artifact(store, repository, "a statement", subject=subject)
    store.add_manifest(repository, data, oci.OCI_MANIFEST)
    child = {"mediaType": oci.OCI_MANIFEST, "digest": digest, "size": len(data), "artifactType": "text/x"}
    index = json.dumps({"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": [child]}).encode()
    store.add_manifest(repository, index, oci.OCI_INDEX, subject.replace(":", "-"))
    return digest_of(index)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path, {"SOURCE_DATE_EPOCH": "1600000000"})
    made.bundler("keygen", "builder").expect()
    return made


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def signed_image(server: RegistryServer) -> tuple[MadeImage, dict[str, str]]:
    image = make_image().put(server.store, "x/app", "1")
    child = image.manifests[0][0]
    tags = {
        f"{image.digest.replace(':', '-')}.sig": put(server.store, "x/app", f"sha256-{image.digest[7:]}.sig", "signed"),
        f"{child.replace(':', '-')}.att": put(server.store, "x/app", f"sha256-{child[7:]}.att", "attested"),
        f"{child.replace(':', '-')}.sbom": put(server.store, "x/app", f"sha256-{child[7:]}.sbom", "signed"),
        image.digest.replace(":", "-"): put_referrers(server.store, "x/app", image.digest),
    }
    return image, tags


def config(cli: Cli, server: RegistryServer, extra: str = "attachments: true\n") -> None:
    make_image(name="other").put(server.store, "x/other", "1")
    text = f"- {server.host}/x/app:1\n- {server.host}/x/other:1\n"
    (cli.folder / "bundle.yaml").write_text(f'name: s\nversion: "1"\nregistry: r.example\nimages:\n{text}{extra}')


def test_they_are_packed_and_pushed(cli: Cli, source: RegistryServer) -> None:
    image, tags = signed_image(source)
    config(cli, source)
    built = cli.bundler(*BUILD).expect().json
    planned = cli.bundler("plan", built["path"], "--json").expect().json
    assert {item["tag"]: item["digest"] for item in planned["attachments"]} == tags
    assert sorted(item["kind"] for item in planned["attachments"]) == ["attestation", "referrers", "sbom", "signature"]
    of_config = cli.bundler("plan", "bundle.yaml", "--plain-http", "--json").expect().json
    assert of_config["attachments"] == planned["attachments"]
    with docker_registry(cli.folder / "registry") as inside:
        push = ("push", built["path"], "--trust", "builder.pub", "--registry", inside.host, "--plain-http")
        cli.loader(*push).expect()
        for tag, digest in tags.items():
            raw = skopeo(cli.home, "inspect", "--raw", "--tls-verify=false", f"docker://{inside.host}/x/app:{tag}")
            assert digest_of(raw.encode()) == digest
        assert "x/app" in skopeo(cli.home, "inspect", "--tls-verify=false", f"docker://{inside.host}/x/app:1")
    with RegistryServer() as other:
        push = ("push", built["path"], "--trust", "builder.pub", "--registry", other.host, "--plain-http")
        cli.loader(*push, "--image", "*/other").expect()
        assert [tag for _, tag in other.store.tags] == ["1"]
        cli.loader(*push, "--image", "*/app").expect()
        assert {tag: digest for (_, tag), digest in other.store.tags.items() if tag.startswith("sha256-")} == tags
        assert other.store.tags["x/app", "1"] == image.digest


def test_nothing_is_taken_unasked(cli: Cli, source: RegistryServer) -> None:
    signed_image(source)
    config(cli, source, "")
    cli.bundler(*BUILD).expect()
    assert cli.bundler("plan", "out/s-1.tar.zst", "--json").expect().json["attachments"] == []
    assert not [seen for seen in source.requests if "sha256-" in seen.path]


def test_a_signature_that_cannot_be_fetched_is_not_absent(cli: Cli, source: RegistryServer) -> None:
    signed_image(source)
    config(cli, source)
    source.fail("status", path=".sig", status=500, times=1000)
    ran = cli.bundler(*BUILD).expect(6)
    assert ".sig" in " ".join(ran.three_lines)
    assert not (cli.folder / "out/s-1.tar.zst").exists()


def test_a_signature_of_another_kind_is_refused(cli: Cli, source: RegistryServer) -> None:
    image = make_image().put(source.store, "x/app", "1")
    nested = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": oci.OCI_INDEX,
            "manifests": [{"mediaType": oci.OCI_INDEX, "digest": image.digest, "size": len(image.data)}],
        }
    ).encode()
    source.store.add_manifest("x/app", nested, oci.OCI_INDEX, image.digest.replace(":", "-"))
    config(cli, source)
    assert "nested" in " ".join(cli.bundler(*BUILD).expect(2).three_lines)


def test_an_index_that_was_rewritten_was_signed_by_nobody(cli: Cli, source: RegistryServer) -> None:
    _, tags = signed_image(source)
    config(cli, source)
    cli.bundler(*BUILD, "--platform", "linux/amd64", "--rewrite-index").expect()
    planned = cli.bundler("plan", "out/s-1.tar.zst", "--json").expect().json
    assert {item["kind"] for item in planned["attachments"]} == {"attestation", "sbom"}
    assert {item["tag"] for item in planned["attachments"]} < tags.keys()
