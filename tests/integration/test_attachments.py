"""What belongs to an image goes with it: cosign's tags and referrers, of the index and of every child."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.bundle import ocimanifest as oci
from loader.bundle.digest import digest_of
from tests.support.blobstore import BlobStore
from tests.support.cli import Cli
from tests.support.gotools import tool
from tests.support.images import MadeImage, make_image
from tests.support.programs import docker_registry, referrers_registry, skopeo
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

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
    """A referrer and the fallback tag of registries without the API: an index of what refers to ``subject``."""
    digest, data = artifact(store, repository, "a statement", subject=subject)
    store.add_manifest(repository, data, oci.OCI_MANIFEST)
    child = {"mediaType": oci.OCI_MANIFEST, "digest": digest, "size": len(data), "artifactType": "text/x"}
    index = json.dumps({"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": [child]}).encode()
    store.add_manifest(repository, index, oci.OCI_INDEX, subject.replace(":", "-"))
    return digest


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    made = Cli(tmp_path, {"SOURCE_DATE_EPOCH": "1600000000"})
    made.bundler("keygen", "builder").expect()
    return made


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def signed_image(server: RegistryServer) -> tuple[MadeImage, dict[str, str], str]:
    """An image, the digests of what is attached to it by tag, and that of what refers to it."""
    image = make_image().put(server.store, "x/app", "1")
    child = image.manifests[0][0]
    tags = {
        f"{image.digest.replace(':', '-')}.sig": put(server.store, "x/app", f"sha256-{image.digest[7:]}.sig", "signed"),
        f"{child.replace(':', '-')}.att": put(server.store, "x/app", f"sha256-{child[7:]}.att", "attested"),
        f"{child.replace(':', '-')}.sbom": put(server.store, "x/app", f"sha256-{child[7:]}.sbom", "signed"),
    }
    return image, tags, put_referrers(server.store, "x/app", image.digest)


def config(cli: Cli, server: RegistryServer, extra: str = "") -> None:
    make_image(name="other").put(server.store, "x/other", "1")
    text = f"- {server.host}/x/app:1\n- {server.host}/x/other:1\n"
    (cli.folder / "bundle.yaml").write_text(f'name: s\nversion: "1"\nregistry: r.example\nimages:\n{text}{extra}')


def attached(cli: Cli, path: str = "out/s-1.tar.zst") -> dict[str, str | None]:
    """Digest to tag of everything that an archive says is attached."""
    return {item["digest"]: item["tag"] for item in cli.bundler("plan", path, "--json").expect().json["attachments"]}


def test_they_are_packed_and_pushed(cli: Cli, source: RegistryServer) -> None:
    image, tags, referrer = signed_image(source)
    config(cli, source)
    built = cli.bundler(*BUILD).expect().json
    planned = cli.bundler("plan", built["path"], "--json").expect().json
    assert attached(cli) == {**{digest: tag for tag, digest in tags.items()}, referrer: None}
    assert sorted(item["kind"] for item in planned["attachments"]) == ["attestation", "referrer", "sbom", "signature"]
    of_config = cli.bundler("plan", "bundle.yaml", "--plain-http", "--json").expect().json
    assert of_config["attachments"] == planned["attachments"]
    with docker_registry(cli.folder / "registry") as inside:
        push = ("push", built["path"], "--trust", "builder.pub", "--registry", inside.host, "--plain-http")
        cli.loader(*push).expect()
        for tag, digest in tags.items():
            raw = skopeo(cli.home, "inspect", "--raw", "--tls-verify=false", f"docker://{inside.host}/x/app:{tag}")
            assert digest_of(raw.encode()) == digest
        # This registry has no referrers API.
        fallback = f"docker://{inside.host}/x/app:{image.digest.replace(':', '-')}"
        index = json.loads(skopeo(cli.home, "inspect", "--raw", "--tls-verify=false", fallback))
        assert [child["digest"] for child in index["manifests"]] == [referrer]
        assert index["manifests"][0]["artifactType"] == "application/vnd.oci.empty.v1+json"
        assert "x/app" in skopeo(cli.home, "inspect", "--tls-verify=false", f"docker://{inside.host}/x/app:1")


@pytest.mark.parametrize("api", [False, True])
def test_what_refers_to_an_image_is_found_from_it(cli: Cli, source: RegistryServer, api: bool) -> None:
    image, tags, referrer = signed_image(source)
    config(cli, source)
    cli.bundler(*BUILD).expect()
    fallback = ("x/app", image.digest.replace(":", "-"))
    with RegistryServer(rules=Rules(referrers=api)) as inside:
        push = ("push", "out/s-1.tar.zst", "--trust", "builder.pub", "--registry", inside.host, "--plain-http")
        cli.loader(*push, "--image", "*/other").expect()
        assert [tag for _, tag in inside.store.tags] == ["1"]
        digest, data = artifact(inside.store, "x/app", "what others said of it before")
        inside.store.add_manifest("x/app", data, oci.OCI_MANIFEST)
        theirs = {"mediaType": oci.OCI_MANIFEST, "digest": digest, "size": len(data)}
        index = json.dumps({"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": [theirs]}).encode()
        inside.store.add_manifest("x/app", index, oci.OCI_INDEX, fallback[1])
        cli.loader(*push, "--image", "*/app").expect()
        assert inside.store.tags["x/app", "1"] == image.digest
        assert {tag: inside.store.tags["x/app", tag] for tag in tags} == tags
        assert [item["digest"] for item in inside.store.referrers("x/app", image.digest)] == [referrer]
        listed = json.loads(inside.store.manifests["x/app", inside.store.tags[fallback]][0])["manifests"]
        assert [item["digest"] for item in listed] == [digest, *([] if api else [referrer])]
        before = len(inside.seen("PUT"))
        cli.loader(*push).expect()
        assert len(inside.seen("PUT")) == before


@pytest.mark.parametrize("page", [0, 1])
def test_the_referrers_api_is_read_page_by_page(cli: Cli, source: RegistryServer, page: int) -> None:
    source.rules.referrers, source.rules.referrers_page = True, page
    image = make_image().put(source.store, "x/app", "1")
    wanted = set()
    for subject in (image.digest, image.manifests[0][0]):
        for text in ("an SBOM", "a scan", "a signature"):
            digest, data = artifact(source.store, "x/app", f"{text} of {subject}", subject=subject)
            source.store.add_manifest("x/app", data, oci.OCI_MANIFEST)
            wanted.add(digest)
    config(cli, source)
    cli.bundler(*BUILD).expect()
    assert attached(cli) == dict.fromkeys(wanted)


@pytest.mark.parametrize("path", ["/referrers/", r"/manifests/sha256-[0-9a-f]*$"])
def test_referrers_that_cannot_be_listed_are_not_absent(cli: Cli, source: RegistryServer, path: str) -> None:
    source.rules.referrers = "referrers" in path
    signed_image(source)
    config(cli, source)
    source.fail("status", path=path, status=503, times=1000)
    ran = cli.bundler(*BUILD).expect(6)
    assert "503" in " ".join(ran.three_lines)
    assert "attachments: false" in ran.three_lines[-1]
    assert not (cli.folder / "out/s-1.tar.zst").exists()


def test_what_refers_to_something_else_is_refused(cli: Cli, source: RegistryServer) -> None:
    image = make_image().put(source.store, "x/app", "1")
    digest, data = artifact(source.store, "x/app", "a statement", subject=f"sha256:{'1' * 64}")
    source.store.add_manifest("x/app", data, oci.OCI_MANIFEST)
    child = {"mediaType": oci.OCI_MANIFEST, "digest": digest, "size": len(data)}
    index = json.dumps({"schemaVersion": 2, "mediaType": oci.OCI_INDEX, "manifests": [child]}).encode()
    source.store.add_manifest("x/app", index, oci.OCI_INDEX, image.digest.replace(":", "-"))
    config(cli, source)
    assert "does not refer to it" in " ".join(cli.bundler(*BUILD).expect(2).three_lines)


def test_what_is_listed_and_gone_can_be_left_out(cli: Cli, source: RegistryServer) -> None:
    _, _, referrer = signed_image(source)
    config(cli, source)
    source.store.delete_manifest("x/app", referrer)
    lines = cli.bundler(*BUILD).expect(6).three_lines
    assert "is listed and not there" in lines[0]
    assert "attachments: false" in lines[-1]


def test_a_list_of_tags_that_is_cut_or_forbidden_hides_nothing(cli: Cli, source: RegistryServer) -> None:
    _, tags, referrer = signed_image(source)
    config(cli, source)
    source.fail("status", path="/tags/list", status=403, times=1000)
    cli.bundler(*BUILD).expect()
    assert attached(cli) == {**{digest: tag for tag, digest in tags.items()}, referrer: None}


@pytest.mark.parametrize("where", ["top", "image"])
def test_nothing_is_taken_where_the_config_says_so(cli: Cli, source: RegistryServer, where: str) -> None:
    signed_image(source)
    config(cli, source, "attachments: false\n" if where == "top" else "")
    if where == "image":
        path = cli.folder / "bundle.yaml"
        image = f"{source.host}/x/app:1"
        path.write_text(path.read_text().replace(image, f"{{image: {image}, attachments: false}}"))
        cli.bundler(*BUILD).expect()
        assert cli.bundler("plan", "out/s-1.tar.zst", "--json").expect().json["attachments"] == []
        return
    cli.bundler(*BUILD).expect()
    assert cli.bundler("plan", "out/s-1.tar.zst", "--json").expect().json["attachments"] == []
    assert not [seen for seen in source.requests if "sha256-" in seen.path]


def test_a_signature_that_cannot_be_fetched_is_not_absent(cli: Cli, source: RegistryServer) -> None:
    signed_image(source)
    config(cli, source)
    source.fail("status", path=".sig", status=500, times=1000)
    ran = cli.bundler(*BUILD).expect(6)
    assert ".sig" in " ".join(ran.three_lines)
    assert "attachments: false" in ran.three_lines[-1]
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
    source.store.add_manifest("x/app", nested, oci.OCI_INDEX, f"{image.digest.replace(':', '-')}.sig")
    config(cli, source)
    assert "nested" in " ".join(cli.bundler(*BUILD).expect(2).three_lines)


def test_an_attachment_with_a_layer_that_is_elsewhere_is_refused(cli: Cli, source: RegistryServer) -> None:
    image = make_image().put(source.store, "x/app", "1")
    plain = json.loads(artifact(source.store, "x/app", "said")[1])
    plain["layers"][0]["urls"] = ["https://elsewhere.example/layer"]
    tag = f"{image.digest.replace(':', '-')}.sbom"
    source.store.add_manifest("x/app", json.dumps(plain).encode(), oci.OCI_MANIFEST, tag)
    config(cli, source)
    said = " ".join(cli.bundler("plan", "bundle.yaml", "--plain-http").expect(2).three_lines)
    assert "hosted elsewhere" in said
    assert "attachments: false" in said


def test_an_index_that_was_rewritten_was_signed_by_nobody(cli: Cli, source: RegistryServer) -> None:
    _, tags, _ = signed_image(source)
    config(cli, source)
    cli.bundler(*BUILD, "--platform", "linux/amd64", "--rewrite-index").expect()
    planned = cli.bundler("plan", "out/s-1.tar.zst", "--json").expect().json
    assert {item["kind"] for item in planned["attachments"]} == {"attestation", "sbom"}
    assert {item["tag"] for item in planned["attachments"]} < tags.keys()


def put_chain(store: BlobStore, subject: str, length: int) -> list[str]:
    """Things that refer to each other, the first of them to ``subject``."""
    made = [subject]
    for number in range(length):
        digest, data = artifact(store, "x/app", f"number {number}", subject=made[-1])
        store.add_manifest("x/app", data, oci.OCI_MANIFEST)
        made.append(digest)
    return made[1:]


@pytest.mark.parametrize("api", [False, True])
def test_what_is_said_of_an_attachment_goes_with_it(cli: Cli, source: RegistryServer, api: bool) -> None:
    source.rules.referrers = True
    image = make_image().put(source.store, "x/app", "1")
    chain = put_chain(source.store, image.digest, 3)
    signed = put(source.store, "x/app", f"sha256-{chain[1][7:]}.sig", "a signature of the second")
    config(cli, source)
    assert cli.bundler(*BUILD).expect().json
    assert attached(cli) == {**dict.fromkeys(chain), signed: f"sha256-{chain[1][7:]}.sig"}
    with RegistryServer(rules=Rules(referrers=api)) as inside:
        push = ("push", "out/s-1.tar.zst", "--trust", "builder.pub", "--registry", inside.host, "--plain-http")
        assert "1 image, 4 attachments: " in cli.loader(*push, "--image", "*/app").expect().out
        assert inside.store.tags["x/app", f"sha256-{chain[1][7:]}.sig"] == signed
        for subject, referrer in zip((image.digest, *chain), chain):
            tag = inside.store.tags.get(("x/app", subject.replace(":", "-")))
            listed = json.loads(inside.store.manifests["x/app", tag][0])["manifests"] if tag else []
            assert [item["digest"] for item in listed] == ([] if api else [referrer])
            assert [item["digest"] for item in inside.store.referrers("x/app", subject)] == [referrer]


def test_a_real_registry_with_the_referrers_api_lists_them(cli: Cli, source: RegistryServer) -> None:
    source.rules.referrers = True
    image, _, referrer = signed_image(source)
    (second,) = put_chain(source.store, referrer, 1)
    config(cli, source)
    cli.bundler(*BUILD).expect()
    with referrers_registry(cli.folder / "registry", tool("referrers")) as host:
        push = ("push", "out/s-1.tar.zst", "--trust", "builder.pub", "--registry", host, "--plain-http")
        first = cli.loader(*push).expect()
        assert "not referrers" not in first.out
        for subject, found in ((image.digest, referrer), (referrer, second)):
            with urllib.request.urlopen(f"http://{host}/v2/x/app/referrers/{subject}") as answer:
                assert [item["digest"] for item in json.load(answer)["manifests"]] == [found]
            # No index under the fallback's tag where the registry keeps the list itself.
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://{host}/v2/x/app/manifests/{subject.replace(':', '-')}")


def test_attachments_of_attachments_without_end_are_refused(cli: Cli, source: RegistryServer) -> None:
    source.rules.referrers = True
    image = make_image().put(source.store, "x/app", "1")
    put_chain(source.store, image.digest, 5)
    config(cli, source)
    lines = cli.bundler(*BUILD).expect(2).three_lines
    assert "more than 4 levels" in lines[1]
    assert "attachments: false" in lines[2]


def test_a_tag_that_names_what_it_is_about_ends(cli: Cli, source: RegistryServer) -> None:
    image = make_image(platforms=["linux/amd64"]).put(source.store, "x/app", "1")
    source.store.add_manifest("x/app", image.data, image.media_type, f"sha256-{image.digest[7:]}.sig")
    config(cli, source)
    cli.bundler(*BUILD).expect()
    assert attached(cli) == {image.digest: f"sha256-{image.digest[7:]}.sig"}


def test_a_plan_from_the_lock_knows_what_belongs_to_an_image(cli: Cli, source: RegistryServer) -> None:
    image, tags, referrer = signed_image(source)
    config(cli, source)
    plan = ("plan", "bundle.yaml", "--plain-http", "--json")
    first = cli.bundler(*plan, "--platform", "linux/amd64").expect().json
    assert {item["digest"] for item in first["attachments"]} == {*tags.values(), referrer}
    whole = cli.bundler(*plan).expect().json
    source.requests.clear()
    for options in ((), ("--platform", "linux/arm64"), ("--rewrite-index", "--platform", "linux/amd64")):
        again = cli.bundler(*plan, "--locked", *options).expect().json
        assert options or again == {**whole, "lock": [], "space": again["space"]}
    assert not source.requests
    # A build asks, and a new signature is a change of the lock.
    new = put(source.store, "x/app", f"sha256-{image.manifests[1][0][7:]}.sig", "signed later")
    assert "not in the lock" in cli.bundler(*BUILD, "--locked").expect(2).err
    assert f"+ {source.host}/x/app:1 signature {new}" in cli.bundler(*BUILD).expect().err
    assert new in attached(cli)
    cli.bundler(*BUILD, "--locked").expect()


def test_a_mirror_for_digests_alone_is_not_asked_for_tags(cli: Cli, source: RegistryServer) -> None:
    image, tags, referrer = signed_image(source)
    config(cli, source)
    with RegistryServer() as mirror:
        image.put(mirror.store, "m/app")
        make_image(name="other").put(mirror.store, "m/other")
        conf = cli.home / ".config" / "containers" / "registries.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text(
            f'[[registry]]\nlocation = "{source.host}/x"\nmirror-by-digest-only = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}/m"\n'
        )
        cli.bundler("plan", "bundle.yaml", "--plain-http").expect()
        cli.bundler(*BUILD, "--locked").expect()
        assert attached(cli) == {**{digest: tag for tag, digest in tags.items()}, referrer: None}
        assert not [digest for digest in image.blobs if source.seen("GET", f"/v2/x/app/blobs/{digest}")]
        assert mirror.seen("GET", "/v2/m/app/blobs/")
