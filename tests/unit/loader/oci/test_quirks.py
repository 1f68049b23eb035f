"""What registries of the field do otherwise: each ends well, or with words a person can act on and no bad tag."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import AirgapError, RegistryError
from loader.bundle.ocimanifest import DOCKER_LIST, DOCKER_MANIFEST, INDEX_TYPES
from loader.oci.environment import AccessOptions
from loader.oci.pushplan import PushBlob, PushImage, PushReport
from loader.oci.registry import Registry
from loader.oci.transfer import push_images
from loader.push import require_whole
from tests.support.certificates import PrivateAuthority
from tests.support.clients import Client
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules
from tests.unit.loader.oci.test_transfer import ONE, TWO, Bodies, holds, push

BASE = make_layer("base", 5000)
LIST = make_image(name="list", layers=[BASE])
OCI = make_image(name="oci", layers=[BASE], oci_types=True)
SINGLE = make_image(name="single", platforms=["linux/amd64"], layers=[BASE])


def pushed(registry: Registry, *images: tuple[MadeImage, str]) -> PushReport:
    report, _ = push(registry, Bodies(*(made for made, _ in images)), *(made.push_image(n, "v1") for made, n in images))
    return report


def refused(registry: Registry, server: RegistryServer, image: MadeImage, name: str) -> AirgapError:
    """Push an image that cannot be taken; the error as a person gets it."""
    report = pushed(registry, (image, name))
    assert (name, "v1") not in server.store.tags
    with pytest.raises(RegistryError) as caught:
        require_whole(report, server.host)
    assert name in caught.value.why
    assert caught.value.hint.endswith("only what is missing is sent")
    return caught.value


@pytest.mark.parametrize(
    ("rules", "image", "name", "words", "hint"),
    [
        ({"projects": frozenset({"team"})}, LIST, "other/app", "project other not found", "created first"),
        ({"depth": 2}, LIST, "team/deep/app", "NAME_INVALID", "PROJECT/NAME"),
        ({"by_digest": False}, LIST, "team/app", "unsupported manifest type", "--rewrite-index"),
        (
            {"refused_types": INDEX_TYPES, "refusal": (500, "UNKNOWN", "unsupported manifest type")},
            OCI,
            "team/app",
            "unsupported manifest type",
            "4.13",
        ),
        ({"refused_types": {DOCKER_MANIFEST, DOCKER_LIST}}, LIST, "team/app", "MANIFEST_INVALID", "docker2s2"),
        (
            {"refused_types": {DOCKER_MANIFEST, DOCKER_LIST}, "refusal": (415, "UNSUPPORTED", "")},
            SINGLE,
            "team/app",
            "415",
            "docker2s2",
        ),
        ({"largest_manifest": 300}, LIST, "team/app", "MANIFEST_SIZE_INVALID", "4 MiB"),
    ],
    ids=["project", "depth", "by-digest", "lists", "docker-types", "docker-type-by-tag", "large-manifest"],
)
def test_a_refusal_ends_with_what_to_do(
    registry: Registry,
    server: RegistryServer,
    rules: dict[str, Any],
    image: MadeImage,
    name: str,
    words: str,
    hint: str,
) -> None:
    server.rules = Rules(**rules)
    error = refused(registry, server, image, name)
    assert words in error.why
    assert hint in error.hint


def test_a_sparse_index_where_none_is_taken(registry: Registry, server: RegistryServer) -> None:
    whole = make_image(name="sparse", platforms=["linux/amd64", "linux/arm64", "linux/s390x"])
    kept = (whole.manifests[0], whole.manifests[-1])
    error = refused(registry, server, MadeImage(kept, whole.blobs), "team/app")
    assert "MANIFEST_BLOB_UNKNOWN" in error.why
    assert "all platforms" in error.hint
    server.rules.sparse = True
    assert pushed(registry, (MadeImage(kept, whole.blobs), "team/app")).failed == ()


def test_only_tags_are_taken_of_single_images(registry: Registry, server: RegistryServer) -> None:
    server.rules.by_digest = False
    assert pushed(registry, (SINGLE, "team/app")).failed == ()
    assert holds(server, SINGLE, "team/app", "v1")


def test_a_bad_from_in_a_mount_means_send(registry: Registry, server: RegistryServer) -> None:
    server.rules.bad_from_is_an_error = True
    image = SINGLE.push_image("team/app", "v1")
    blobs = [PushBlob(digest, len(data), elsewhere=("not/there",)) for digest, data in SINGLE.blobs.items()]
    report = push_images([image], blobs, Bodies(SINGLE), registry)
    assert report.blobs.count("sent") == len(SINGLE.blobs)
    assert len(server.seen("POST", "from=not")) == len(SINGLE.blobs)


def test_an_absolute_http_location_behind_tls(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    client = Client(tmp_path, AccessOptions(ca_file=authority.certificate, timeout=5))
    rules = Rules(relative_location=False, location_scheme="http")
    with RegistryServer(rules=rules, tls=authority.server_context()) as server, client.to(server) as registry:
        assert pushed(registry, (LIST, "team/app")).failed == ()
        assert holds(server, LIST, "team/app", "v1")


@pytest.mark.parametrize("relative", [True, False])
def test_accepted_is_as_good_as_created(registry: Registry, server: RegistryServer, relative: bool) -> None:
    server.rules = Rules(accepted=True, relative_location=relative)
    assert pushed(registry, (LIST, "team/app")).failed == ()
    assert holds(server, LIST, "team/app", "v1")


def test_children_that_are_unknown_for_a_second(registry: Registry, server: RegistryServer, client: Client) -> None:
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"unknown"}]}'
    server.fail("status", method="PUT", path=LIST.digest, status=404, times=2, body=body)
    assert pushed(registry, (LIST, "team/app")).failed == ()
    assert sum(client.time.slept) > 1


def test_a_manifest_that_does_not_show_at_once(registry: Registry, server: RegistryServer, client: Client) -> None:
    server.fail("status", method="HEAD", path=f"/manifests/{LIST.digest}", status=404, times=2)
    assert pushed(registry, (LIST, "team/app")).failed == ()
    assert sum(client.time.slept) > 1


def test_a_blob_it_says_it_has_and_has_not(registry: Registry, server: RegistryServer) -> None:
    server.rules.ghosts = set(LIST.blobs)
    report = pushed(registry, (LIST, "team/app"), (OCI, "team/other"))
    assert report.failed == ()
    assert holds(server, LIST, "team/app", "v1")
    assert len(server.seen("PUT", "team/app/blobs/uploads")) == len(LIST.blobs)


def test_a_blob_it_names_is_sent_alone(registry: Registry, server: RegistryServer) -> None:
    pushed(registry, (LIST, "team/app"))
    server.store.manifests.clear()
    lost = next(iter(LIST.blobs))
    server.store.links.discard(("team/app", lost))
    server.rules.ghosts = {lost}
    before = len(server.seen("PUT", "team/app/blobs/uploads"))
    assert pushed(registry, (LIST, "team/app")).failed == ()
    assert len(server.seen("PUT", "team/app/blobs/uploads")) == before + 1


def test_blobs_it_has_not_are_sent_once_for_all_images_and_counted(registry: Registry, server: RegistryServer) -> None:
    server.rules.ghosts = {*ONE.blobs, *TWO.blobs}
    images = ONE.push_image("team/app", "v1"), TWO.push_image("team/app", "v2")
    report, _ = push(registry, Bodies(ONE, TWO), *images)
    assert report.failed == ()
    assert holds(server, ONE, "team/app", "v1")
    assert holds(server, TWO, "team/app", "v2")
    sent = {**ONE.blobs, **TWO.blobs}
    assert len(server.seen("PUT", "team/app/blobs/uploads")) == len(sent)
    assert (report.blobs.count("sent"), report.blobs.count("present")) == (len(sent), 0)
    assert report.blobs.bytes_sent == sum(map(len, sent.values()))
    assert [image.bytes_sent for image in report.images] == [sum(map(len, one.blobs.values())) for one in (ONE, TWO)]


def test_a_ghost_that_nobody_can_send_is_an_error(registry: Registry, server: RegistryServer) -> None:
    server.rules.ghosts = set(LIST.blobs)
    report, _ = push(registry, Gone(LIST), LIST.push_image("team/app", "v1"))
    assert "MANIFEST_BLOB_UNKNOWN" in str(report.failed[0].error)
    assert server.store.tags == {}


class Gone(Bodies):
    """Bodies of which none is at hand, as in a delta."""

    def has(self, digest: str) -> bool:
        return False


def test_another_digest_in_the_answer(registry: Registry, server: RegistryServer) -> None:
    server.fail("lie", method="PUT", path="/manifests/", times=99)
    error = refused(registry, server, LIST, "team/app")
    assert "stored another manifest" in error.why


def test_closed_in_the_middle_of_every_upload(registry: Registry, server: RegistryServer) -> None:
    # Fewer cuts than one upload has tries: whichever of the uploads at once meets them, it gets through.
    server.fail("cut", method="PUT", path="/uploads/", after=20, times=3)
    assert pushed(registry, (LIST, "team/app")).failed == ()
    assert holds(server, LIST, "team/app", "v1")


def test_a_full_disk(registry: Registry, server: RegistryServer) -> None:
    body = b'{"errors":[{"code":"UNKNOWN","message":"no space left on device"}]}'
    server.fail("status", method="PUT", path="/uploads/", status=500, times=999, body=body)
    error = refused(registry, server, LIST, "team/app")
    assert "no space left on device" in error.why
    assert "disk" in error.hint
    server.faults.clear()
    assert pushed(registry, (LIST, "team/app")).failed == ()


@pytest.mark.parametrize("after", [4, 12, 16, 19])
def test_read_only_midway(registry: Registry, server: RegistryServer, after: int) -> None:
    server.rules.sparse = True

    def turn(count: int) -> None:
        server.rules.read_only = count > after

    server.on_request = turn
    error = refused(registry, server, LIST, "team/app")
    assert "read-only" in error.hint
    assert server.store.incomplete == []
    server.on_request = lambda _: None
    server.rules.read_only = False
    stored = list(server.store.stored)
    assert pushed(registry, (LIST, "team/app")).failed == ()
    assert holds(server, LIST, "team/app", "v1")
    assert len(set(server.store.stored)) == len(server.store.stored) > len(stored)


def test_a_tag_is_not_moved_off_its_image_by_one_that_fails(registry: Registry, server: RegistryServer) -> None:
    pushed(registry, (SINGLE, "team/app"))
    server.fail("status", method="PUT", path=f"/manifests/{LIST.digest}", status=500, times=99)
    image: PushImage = LIST.push_image("team/app", "v1")
    report, _ = push(registry, Bodies(LIST), image)
    assert report.failed
    assert server.store.tags["team/app", "v1"] == SINGLE.digest
