from __future__ import annotations

from pathlib import Path

import pytest

from loader.bundle.errors import ConfigError, FormatError, RegistryError
from loader.oci import connect
from loader.oci.dirlayout import DirLayout
from loader.oci.environment import AccessOptions
from loader.oci.model import ImageRef
from loader.oci.sources import ImageSource, RegistryImage, read_image
from tests.support.clients import Client
from tests.support.images import make_image, make_layer
from tests.support.registry import RegistryServer


def configure(root: Path, text: str) -> Client:
    path = root / "etc/containers/registries.conf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Client(root, AccessOptions(timeout=5))


def test_an_image_comes_from_the_first_mirror_that_has_it(tmp_path: Path, server: RegistryServer) -> None:
    image = make_image().put(server.store, "mirrored/app", "v1")
    with RegistryServer() as empty:
        client = configure(
            tmp_path,
            f"""
            [[registry]]
            location = "source.example"
            blocked = true
            [[registry.mirror]]
            location = "{empty.host}"
            insecure = true
            [[registry.mirror]]
            location = "{server.host}/mirrored"
            insecure = true
            """,
        )
        with client.registries() as registries:
            found = registries.image(ImageRef.parse("source.example/app:v1"))
            assert (found.digest, found.repository) == (image.digest, "mirrored/app")
            assert found.registry.host == server.host
        assert empty.seen("GET", "v2/app/manifests/v1")


def test_when_nobody_has_it_all_are_named(tmp_path: Path, server: RegistryServer) -> None:
    with RegistryServer() as other:
        client = configure(
            tmp_path,
            f'[[registry]]\nlocation="{server.host}"\ninsecure=true\n[[registry.mirror]]\nlocation="{other.host}"\ninsecure=true',
        )
        with client.registries() as registries, pytest.raises(RegistryError) as caught:
            registries.image(ImageRef.parse(f"{server.host}/app:v1"))
    assert server.host in caught.value.message
    assert other.host in caught.value.why
    assert caught.value.status == 404


def test_a_push_goes_to_the_registry_itself(tmp_path: Path, server: RegistryServer) -> None:
    client = configure(
        tmp_path,
        f'[[registry]]\nlocation="{server.host}"\ninsecure=true\n[[registry.mirror]]\nlocation="mirror.example"\n'
        '[[registry]]\nlocation="shut.example"\nblocked=true',
    )
    with client.registries() as registries:
        assert registries.push(server.host, "a").ping().scheme == "http"
        assert registries.push(server.host, "a") is registries.push(server.host, "b")
        with pytest.raises(ConfigError, match="blocked"):
            registries.push("shut.example", "a")


def test_an_explicit_tls_verify_beats_registries_conf(tmp_path: Path, server: RegistryServer) -> None:
    configure(tmp_path, f'[[registry]]\nlocation="{server.host}"\ninsecure=true')
    client = Client(tmp_path, AccessOptions(tls_verify=True, timeout=5))
    with client.to(server) as registry, pytest.raises(RegistryError, match="does not speak TLS"):
        registry.ping()


def test_read_image_is_the_same_from_a_registry_and_a_layout(
    tmp_path: Path, server: RegistryServer, client: Client
) -> None:
    image = make_image(layers=[make_layer("base")]).put(server.store, "app", "v1")
    with client.to(server) as registry:
        sources: list[ImageSource] = [
            RegistryImage(registry, "app", "v1"),
            DirLayout.open(image.write(tmp_path / "layout")),
        ]
        contents = [read_image(source, "app") for source in sources]
        for source in sources:
            for digest, data in image.blobs.items():
                with source.open_blob(digest, len(data)) as stream:
                    assert stream.read(len(data)) == data
    assert contents[0] == contents[1]
    assert contents[0].top.digest == image.digest
    assert {one.digest for one in contents[0].blobs} == set(image.blobs)
    assert [one.digest for one in contents[0].children] == [digest for digest, _, _ in image.manifests[:-1]]


def test_a_child_of_another_type_than_told_is_refused(server: RegistryServer, client: Client) -> None:
    inner = make_image().put(server.store, "app")
    server.store.manifests["app", inner.manifests[0][0]] = (inner.manifests[0][2], inner.media_type)
    server.store.tags["app", "v1"] = inner.digest
    with client.to(server) as registry, pytest.raises(FormatError, match="two things"):
        read_image(RegistryImage(registry, "app", "v1"), "app")


def test_plain_http_reads_no_authorities(
    tmp_path: Path, server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: object, **__: object) -> None:
        raise AssertionError("a context was made")

    monkeypatch.setattr(connect, "make_context", unwanted)
    with Client(tmp_path).to(server) as registry:
        assert registry.ping().scheme == "http"
    client = Client(tmp_path, AccessOptions(timeout=5))
    with pytest.raises(AssertionError, match="a context was made"), client.to(server):
        pass
