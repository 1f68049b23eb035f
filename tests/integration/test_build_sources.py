"""Sources that are wrong, hostile or odd: a build ends with the image's name and leaves nothing behind, or succeeds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.bundle import ocimanifest as oci
from loader.bundle.digest import digest_of
from tests.support.cli import Cli, Ran
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.registry import RegistryServer

BUILD = ("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http", "--json")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    Cli(folder).bundler("keygen", "builder").expect()
    return folder


@pytest.fixture
def cli(tmp_path: Path, keys: Path) -> Cli:
    for name in ("builder.key", "builder.pub"):
        (tmp_path / name).write_bytes((keys / name).read_bytes())
    return Cli(tmp_path)


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def build(cli: Cli, source: RegistryServer, status: int = 0, *, name: str = "app:1") -> Ran:
    text = f'name: odd\nversion: "1"\nregistry: r.example:5000\nimages:\n- {source.host}/{name}\n'
    (cli.folder / "bundle.yaml").write_text(text)
    ran = cli.bundler(*BUILD).expect(status)
    if status:
        assert name.partition(":")[0] in " ".join(ran.three_lines)
        left = cli.folder / "out"
        # What came before a blob that arrived wrong is kept, under a hidden name.
        assert not left.exists() or {entry.name for entry in left.iterdir()} <= {".odd-1.tar.zst.part"}
    return ran


def put(source: RegistryServer, plain: dict[str, Any], media_type: str, tag: str | None = None) -> str:
    data = json.dumps(plain).encode()
    return source.store.add_manifest("app", data, media_type, tag)


def index_of(*children: tuple[str, str, int]) -> dict[str, Any]:
    described = [{"mediaType": kind, "digest": digest, "size": size} for digest, kind, size in children]
    return {"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": described}


def child(image: MadeImage) -> tuple[str, str, int]:
    return image.digest, image.media_type, len(image.data)


SINGLE = make_image(platforms=["linux/amd64"], oci_types=True)


@pytest.mark.parametrize("kind", ["length", "truncate", "html"])
@pytest.mark.parametrize("size", [100, 3_000_000], ids=["small", "large"])
def test_a_blob_of_too_many_or_too_few_bytes(kind: str, size: int, cli: Cli, source: RegistryServer) -> None:
    make_image(layer_size=size, platforms=["linux/amd64"]).put(source.store, "app", "1")
    source.fail(kind, path="/blobs/", times=1000)
    build(cli, source, 6)


@pytest.mark.parametrize("size", [100, 3_000_000], ids=["small", "large"])
def test_a_blob_with_other_bytes_is_named_with_its_image(size: int, cli: Cli, source: RegistryServer) -> None:
    make_image(layer_size=size, platforms=["linux/amd64"]).put(source.store, "app", "1")
    source.fail("corrupt", path="/blobs/", times=1000)
    assert "sha256:" in build(cli, source, 3).three_lines[0]
    # The config is read first; with that one right it is the layer.
    source.faults.clear()
    source.fail("corrupt", path=f"/blobs/{digest_of(make_layer('app-linux-amd64', size))}", times=1000)
    assert "0000-app" in build(cli, source, 3).three_lines[0]


def test_bytes_behind_a_blob_of_unknown_length_are_not_taken(cli: Cli, source: RegistryServer) -> None:
    image = make_image(layer_size=3_000_000, platforms=["linux/amd64"]).put(source.store, "app", "1")
    source.fail("endless", path="/blobs/", times=1000)
    archive = cli.folder / build(cli, source).json["path"]
    cli.loader("extract", archive, "--trust", "builder.pub", "-o", "layouts").expect()
    for digest, data in image.blobs.items():
        assert (cli.folder / "layouts/images/0000-app" / digest[7:]).read_bytes() == data


def test_a_web_page_instead_of_a_manifest(cli: Cli, source: RegistryServer) -> None:
    source.fail("html", path="/manifests/", times=99)
    ran = build(cli, source, 6)
    assert "web page" in ran.three_lines[0]
    assert "log in" in ran.three_lines[1]


def test_a_manifest_over_four_mebibytes(cli: Cli, source: RegistryServer) -> None:
    SINGLE.put(source.store, "app")
    plain = {**json.loads(SINGLE.data), "annotations": {"a": "x" * 2**22}}
    put(source, plain, oci.OCI_MANIFEST, "1")
    ran = build(cli, source, 6)
    assert "too large" in ran.three_lines[0]
    assert len(source.seen("GET", "/manifests/1")) == 1


def test_a_child_that_is_not_there(cli: Cli, source: RegistryServer) -> None:
    image = make_image().put(source.store, "app", "1")
    gone = image.manifests[1][0]
    del source.store.manifests["app", gone]
    assert gone in " ".join(build(cli, source, 6).three_lines)


def test_a_child_of_another_size(cli: Cli, source: RegistryServer) -> None:
    SINGLE.put(source.store, "app")
    digest, kind, size = child(SINGLE)
    put(source, index_of((digest, kind, size + 1)), oci.OCI_INDEX, "1")
    assert digest in " ".join(build(cli, source, 2).three_lines)


def test_an_index_in_an_index(cli: Cli, source: RegistryServer) -> None:
    inner = make_image(oci_types=True).put(source.store, "app")
    put(source, index_of(child(inner)), oci.OCI_INDEX, "1")
    assert "nested" in " ".join(build(cli, source, 2).three_lines)


def test_an_index_that_names_an_index_by_the_type_of_an_image(cli: Cli, source: RegistryServer) -> None:
    # The nearest thing to a circle that digests allow: whoever follows types alone walks on.
    inner = make_image(oci_types=True).put(source.store, "app")
    put(source, index_of((inner.digest, oci.OCI_MANIFEST, len(inner.data))), oci.OCI_INDEX, "1")
    build(cli, source, 2)


def test_a_registry_that_answers_every_digest_with_the_index_itself(cli: Cli, source: RegistryServer) -> None:
    SINGLE.put(source.store, "app")
    top = put(source, index_of(child(SINGLE)), oci.OCI_INDEX, "1")
    source.store.manifests["app", SINGLE.digest] = source.store.manifests["app", top]
    assert SINGLE.digest in " ".join(build(cli, source, 3).three_lines)


def test_foreign_layers_stay_in_the_manifest_and_are_listed(cli: Cli, source: RegistryServer) -> None:
    SINGLE.put(source.store, "app")
    away = digest_of(b"a layer of Windows")
    plain = json.loads(SINGLE.data)
    foreign = {"mediaType": oci.DOCKER_FOREIGN_LAYER, "size": 18, "digest": away, "urls": ["https://go.example/x"]}
    plain["layers"].insert(0, foreign)
    top = put(source, plain, oci.OCI_MANIFEST, "1")
    built = build(cli, source)
    assert "app: 1 foreign layer not shipped" in built.err
    archive = cli.folder / built.json["path"]
    assert not source.seen("GET", away)
    found = cli.loader("inspect", archive, "--trust", "builder.pub", "--json").expect().json
    image = found["images"][0]
    assert image["digest"] == top
    assert [item["digest"] for item in image["omitted"]] == [away]
    assert "foreign" in image["omitted"][0]["reason"]
    with RegistryServer() as target:
        access = ("--trust", "builder.pub", "--registry", target.host, "--plain-http")
        cli.loader("push", archive, *access).expect()
        assert target.store.manifest("app", "1") == source.store.manifest("app", "1")
        assert not target.store.has_blob("app", away)


def test_ten_thousand_tags_cost_one_page_of_their_list(cli: Cli, source: RegistryServer) -> None:
    SINGLE.put(source.store, "app", "1")
    for number in range(10_000):
        source.store.tags["app", f"v{number}"] = SINGLE.digest
    build(cli, source)
    # Whether there are signatures: a list that goes on is left, and the tags wanted are asked for by name.
    assert len(source.seen("GET", "/tags/")) == 1
    assert len(source.requests) < 20
