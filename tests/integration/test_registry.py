"""Our client against Debian's docker-registry, with real skopeo on the other side of every promise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from loader.bundle.errors import FormatError, RegistryError
from loader.oci.dirlayout import DirLayout
from loader.oci.environment import AccessOptions
from loader.oci.model import ImageRef
from loader.oci.pushplan import PushBlob, PushImage, PushManifest, PushReport
from loader.oci.registry import Registry
from loader.oci.sources import ImageSource, RegistryImage, read_image
from loader.oci.transfer import push_images
from tests.support.certificates import PrivateAuthority
from tests.support.clients import Client
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.programs import PASSWORD, USER, DebianRegistry, docker_registry, skopeo

BASE = make_layer("base", 3_000_000)
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7")


class SourceBodies:
    """The blobs of an image source, for a push."""

    def __init__(self, source: ImageSource, sizes: dict[str, int]) -> None:
        self._source = source
        self._sizes = sizes

    @contextmanager
    def open(self, digest: str) -> Iterator[Iterator[memoryview]]:
        with self._source.open_blob(digest, self._sizes[digest]) as stream:
            yield (memoryview(data) for data in iter(lambda: stream.read(2**20), b""))

    def has(self, digest: str) -> bool:
        return digest in self._sizes


def copy(source: ImageSource, registry: Registry, repository: str, tag: str | None) -> PushReport:
    """Push everything that ``source`` has, by the same two steps as a bundle."""
    contents = read_image(source, repository)
    manifests = tuple(
        PushManifest(one.digest, one.parsed.media_type, one.data) for one in (*contents.children, contents.top)
    )
    image = PushImage(repository, tag, manifests, tuple(blob.digest for blob in contents.blobs))
    blobs = [PushBlob(blob.digest, blob.size) for blob in contents.blobs]
    bodies = SourceBodies(source, {blob.digest: blob.size for blob in contents.blobs})
    return push_images([image], blobs, bodies, registry)


def plain(tmp_path: Path) -> Client:
    return Client(tmp_path / "client", AccessOptions(plain_http=True, timeout=20))


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(params=[False, True], ids=["docker", "oci"])
def image(request: pytest.FixtureRequest) -> MadeImage:
    return make_image(platforms=PLATFORMS, layers=[BASE], name=f"app-{request.param}", oci_types=request.param)


def test_a_layout_is_pushed_and_skopeo_reads_back_the_same_bytes(
    debian: DebianRegistry, image: MadeImage, tmp_path: Path
) -> None:
    layout = DirLayout.open(image.write(tmp_path / "layout"))
    with plain(tmp_path).to(debian.host) as registry:
        assert registry.ping().api_version == "registry/2.0"
        report = copy(layout, registry, "deep/er/app", "v1")
        assert report.failed == ()
        again = copy(layout, registry, "deep/er/app", "v1")
    assert (again.blobs.count("present"), again.images[0].manifests_sent) == (len(image.blobs), 0)
    reference = f"docker://{debian.host}/deep/er/app:v1"
    raw = skopeo(tmp_path / "home", "inspect", "--raw", "--tls-verify=false", reference)
    assert digest_of(raw.encode()) == image.digest
    back = tmp_path / "back"
    skopeo(tmp_path / "home", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", reference, f"dir:{back}")
    copied = DirLayout.open(back)
    assert copied.manifests == layout.manifests
    for digest, data in image.blobs.items():
        assert (back / digest[7:]).read_bytes() == data


def test_a_layout_by_skopeo_is_a_source_and_arrives_unchanged(
    debian: DebianRegistry, image: MadeImage, tmp_path: Path
) -> None:
    made = image.write(tmp_path / "made")
    target = f"docker://{debian.host}/from/skopeo:v1"
    skopeo(tmp_path / "home", "copy", "--all", "--dest-tls-verify=false", f"dir:{made}", target)
    pulled = tmp_path / "pulled"
    skopeo(tmp_path / "home", "copy", "--all", "--src-tls-verify=false", target, f"dir:{pulled}")
    layout = DirLayout.open(pulled)
    assert layout.digest == image.digest
    with plain(tmp_path).to(debian.host) as registry:
        assert copy(layout, registry, "copied/app", "v1").failed == ()
        found = RegistryImage(registry, "copied/app", "v1")
        assert read_image(found, "copied/app") == read_image(layout, "layout")


def test_one_platform_by_skopeo_is_a_layout_too(debian: DebianRegistry, tmp_path: Path) -> None:
    image = make_image(platforms=("linux/amd64", "linux/s390x"), layers=[BASE], name="single")
    with plain(tmp_path).to(debian.host) as registry:
        copy(DirLayout.open(image.write(tmp_path / "made")), registry, "single", "v1")
    one = tmp_path / "one"
    source = f"docker://{debian.host}/single:v1"
    skopeo(tmp_path / "home", "--override-arch=s390x", "copy", "--src-tls-verify=false", source, f"dir:{one}")
    layout = DirLayout.open(one)
    assert layout.digest == image.manifests[1][0]
    assert list(layout.manifests) == [layout.digest]


def test_an_aborted_copy_by_skopeo_is_refused(debian: DebianRegistry, tmp_path: Path) -> None:
    image = make_image(platforms=("linux/amd64",), layers=[BASE], name="broken")
    with plain(tmp_path).to(debian.host) as registry:
        copy(DirLayout.open(image.write(tmp_path / "made")), registry, "broken", "v1")
    gone = digest_of(BASE)[7:]
    data = debian.root / "docker/registry/v2/blobs/sha256" / gone[:2] / gone / "data"
    kept = data.read_bytes()
    data.unlink()
    aborted = tmp_path / "aborted"
    source = f"docker://{debian.host}/broken:v1"
    skopeo(tmp_path / "home", "copy", "--all", "--src-tls-verify=false", source, f"dir:{aborted}", check=False)
    data.write_bytes(kept)
    assert (aborted / "version").is_file()
    with pytest.raises(FormatError, match="incomplete"):
        DirLayout.open(aborted)


def test_parts_of_a_blob_come_by_range(debian: DebianRegistry, image: MadeImage, tmp_path: Path) -> None:
    with plain(tmp_path).to(debian.host) as registry:
        copy(DirLayout.open(image.write(tmp_path / "made")), registry, "parts", "v1")
        digest, size = digest_of(BASE), len(BASE)
        for start, length in ((0, 10), (1_000_000, 500_000), (size - 7, None), (0, None)):
            with registry.open_blob("parts", digest, size, start, length) as reader:
                data = b"".join(iter(lambda: reader.read(100_000), b""))
            assert data == BASE[start:][:length]


def test_a_layer_is_mounted_from_a_neighbour(debian: DebianRegistry, tmp_path: Path) -> None:
    images = [make_image(platforms=("linux/amd64",), layers=[BASE], name=f"mount{number}") for number in range(3)]
    sizes = {digest: len(data) for image in images for digest, data in image.blobs.items()}
    stored = {digest: data for image in images for digest, data in image.blobs.items()}

    class Memory:
        @contextmanager
        def open(self, digest: str) -> Iterator[Iterator[memoryview]]:
            yield iter([memoryview(stored[digest])])

        def has(self, digest: str) -> bool:
            return digest in stored

    pushed = [image.push_image(f"mounts/app{number}", "v1") for number, image in enumerate(images)]
    with plain(tmp_path).to(debian.host) as registry:
        report = push_images(pushed, [PushBlob(*one) for one in sizes.items()], Memory(), registry)
    assert report.failed == ()
    assert (report.blobs.count("sent"), report.blobs.count("mounted")) == (len(sizes), 2)


def test_a_blob_that_is_damaged_in_the_storage_is_not_called_confirmed(tmp_path: Path) -> None:
    """distribution takes a blob again and keeps what it has, which HEAD tells by the size."""
    image = make_image(platforms=("linux/amd64",), layers=[BASE])
    source = DirLayout.open(image.write(tmp_path / "made"))
    digest = digest_of(BASE)
    with docker_registry(tmp_path / "registry") as debian, plain(tmp_path).to(debian.host) as registry:
        assert copy(source, registry, "app", "v1").failed == ()
        stored = debian.root / f"docker/registry/v2/blobs/sha256/{digest[7:9]}/{digest[7:]}/data"
        for data in (BASE[:1000], b""):
            stored.write_bytes(data)
            (failed,) = copy(source, registry, "app", "v2").failed
            assert failed.error is not None
            assert "still has it in another size" in str(failed.error)
            assert "its storage is damaged" in failed.error.hint
            assert registry.head_manifest("app", "v2") is None
        stored.unlink()
        assert copy(source, registry, "app", "v2").failed == ()
        assert stored.read_bytes() == BASE


def test_an_index_without_its_children_is_refused_in_the_registrys_words(
    debian: DebianRegistry, image: MadeImage, tmp_path: Path
) -> None:
    client = plain(tmp_path)
    with client.to(debian.host) as registry, pytest.raises(RegistryError) as caught:
        registry.put_manifest("sparse", "v1", image.data, image.media_type)
    assert "MANIFEST" in caught.value.why
    assert "sparse:v1" in caught.value.message


def test_a_private_authority_and_a_login(tmp_path: Path, image: MadeImage) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    with docker_registry(tmp_path / "registry", tls=authority.pair(), login=True) as debian:
        layout = DirLayout.open(image.write(tmp_path / "layout"))
        client = Client(tmp_path / "client", AccessOptions(ca_file=authority.certificate, timeout=20))
        with client.to(debian.host) as registry:
            ping = registry.ping()
            assert (ping.scheme, ping.authorized) == ("https", False)
            error = copy(layout, registry, "app", "v1").failed[0].error
            assert isinstance(error, RegistryError)
            assert error.status == 401
            assert "log in" in error.hint
        client.login(debian.host, USER, PASSWORD)
        with client.to(debian.host) as registry:
            assert registry.ping().authorized
            assert copy(layout, registry, "app", "v1").failed == ()
        certificates = tmp_path / "certs"
        certificates.mkdir()
        (certificates / "ca.crt").write_bytes(authority.certificate.read_bytes())
        shown = skopeo(
            tmp_path / "home",
            *("inspect", "--raw", "--cert-dir", str(certificates), "--creds", f"{USER}:{PASSWORD}"),
            f"docker://{debian.host}/app:v1",
        )
        assert digest_of(shown.encode()) == image.digest


def test_skopeos_own_login_file_is_ours(tmp_path: Path) -> None:
    with docker_registry(tmp_path / "registry", login=True) as debian:
        authfile = tmp_path / "auth.json"
        skopeo(
            tmp_path / "home",
            *("login", "--tls-verify=false", "--authfile", str(authfile), "-u", USER, "-p", PASSWORD, debian.host),
        )
        assert debian.host in json.loads(authfile.read_text())["auths"]
        client = Client(tmp_path / "client", AccessOptions(plain_http=True, authfile=authfile, timeout=20))
        with client.to(debian.host) as registry:
            assert registry.ping().authorized


def test_registries_conf_sends_a_pull_to_the_mirror(debian: DebianRegistry, image: MadeImage, tmp_path: Path) -> None:
    with plain(tmp_path).to(debian.host) as registry:
        copy(DirLayout.open(image.write(tmp_path / "layout")), registry, "quay-mirror/ceph/app", "v1")
    client = Client(tmp_path / "other", AccessOptions(timeout=20))
    conf = client.environment.containers_config / "registries.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(
        '[[registry]]\nlocation = "source.invalid"\nblocked = true\n'
        f'[[registry.mirror]]\nlocation = "{debian.host}/quay-mirror"\ninsecure = true\n'
    )
    with client.registries() as registries:
        assert registries.image(ImageRef.parse("source.invalid/ceph/app:v1")).digest == image.digest
