from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from loader.bundle.errors import RegistryError, TrustError
from loader.oci import blobpush
from loader.oci.parallel import in_parallel
from loader.oci.pushplan import (
    BlobDone,
    BlobProgress,
    Event,
    ManifestDone,
    PushBlob,
    PushImage,
    PushManifest,
    PushReport,
)
from loader.oci.registry import Registry
from loader.oci.survey import survey_push
from loader.oci.transfer import push_images
from tests.support.clients import Client
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

BASE = make_layer("base", 5000)
ONE = make_image(name="one", layers=[BASE])
TWO = make_image(name="two", layers=[BASE], oci_types=True)


class Bodies:
    """Blobs in memory; ``opened`` in order."""

    def __init__(self, *images: MadeImage) -> None:
        self.blobs: dict[str, bytes] = {}
        for image in images:
            self.blobs.update(image.blobs)
        self.opened: list[str] = []
        self.errors: Mapping[str, Exception] = {}

    @contextmanager
    def open(self, digest: str) -> Iterator[Iterator[memoryview]]:
        self.opened.append(digest)
        yield self._chunks(digest)

    def _chunks(self, digest: str) -> Iterator[memoryview]:
        if digest in self.errors:
            raise self.errors[digest]
        yield memoryview(self.blobs[digest])

    def has(self, digest: str) -> bool:
        return digest in self.blobs

    def listed(self) -> list[PushBlob]:
        return [PushBlob(digest, len(data)) for digest, data in self.blobs.items()]


def push(registry: Registry, bodies: Bodies, *images: PushImage, jobs: int = 3) -> tuple[PushReport, list[Event]]:
    events: list[Event] = []
    report = push_images(images, bodies.listed(), bodies, registry, jobs=jobs, on_event=events.append)
    return report, events


def json_digests(manifest: bytes) -> list[str]:
    plain = json.loads(manifest)
    return [plain["config"]["digest"], *(layer["digest"] for layer in plain["layers"])]


def holds(server: RegistryServer, image: MadeImage, repository: str, tag: str | None) -> bool:
    stored = [server.store.manifest(repository, digest) == (data, kind) for digest, kind, data in image.manifests]
    tagged = tag is None or server.store.manifest(repository, tag) == (image.data, image.media_type)
    return all(stored) and tagged and all(server.store.has_blob(repository, digest) for digest in image.blobs)


def test_each_blob_is_sent_once_and_mounted_elsewhere(registry: Registry, server: RegistryServer) -> None:
    bodies = Bodies(ONE, TWO)
    report, _ = push(registry, bodies, ONE.push_image("a/one", "v1"), TWO.push_image("b/two", "v2"))
    assert report.failed == ()
    assert holds(server, ONE, "a/one", "v1")
    assert holds(server, TWO, "b/two", "v2")
    assert sorted(bodies.opened) == sorted(bodies.blobs)
    assert report.blobs.count("sent") == len(bodies.blobs)
    assert report.blobs.count("mounted") == 1
    assert report.blobs.bytes_sent == sum(map(len, bodies.blobs.values()))
    one, two = report.images
    assert (one.sent, one.mounted, one.present, one.tag_moved) == (len(ONE.blobs), 0, 0, True)
    assert (two.sent, two.mounted, two.digest) == (len(TWO.blobs) - 1, 1, TWO.digest)


def test_a_declined_mount_costs_no_request(registry: Registry, server: RegistryServer) -> None:
    server.rules.mounts = False
    bodies = Bodies(ONE, TWO)
    report, _ = push(registry, bodies, ONE.push_image("a/one", "v1"), TWO.push_image("b/two", "v2"))
    assert report.failed == ()
    assert holds(server, TWO, "b/two", "v2")
    assert report.blobs.count("sent") == len(ONE.blobs) + len(TWO.blobs)
    assert len(server.seen("POST")) == len(server.seen("PUT", "/uploads/")) == len(ONE.blobs) + len(TWO.blobs)
    assert server.seen("DELETE") == []


def test_a_second_push_changes_nothing(registry: Registry, server: RegistryServer) -> None:
    image = ONE.push_image("a", "v1")
    push(registry, Bodies(ONE), image)
    before = len(server.requests)
    report, _ = push(registry, Bodies(ONE), image)
    assert {one.method for one in server.requests[before:]} == {"HEAD"}
    assert report.blobs.count("present") == len(ONE.blobs)
    assert (report.images[0].tag_moved, report.images[0].manifests_sent) == (False, 0)


def test_blobs_start_in_the_order_given(registry: Registry) -> None:
    bodies = Bodies(ONE, TWO)
    push(registry, bodies, TWO.push_image("b", "v"), ONE.push_image("a", "v"), jobs=1)
    assert bodies.opened == list(bodies.blobs)


def test_children_then_index_as_their_blobs_are_there_then_all_tags_together(
    registry: Registry, server: RegistryServer
) -> None:
    push(registry, Bodies(ONE, TWO), ONE.push_image("a", "v1"), TWO.push_image("b", "v2"), jobs=1)
    put = [one.path.rpartition("/")[2] for one in server.seen("PUT", "manifests")]
    digests = [digest for image in (ONE, TWO) for digest, _, _ in image.manifests]
    assert put == [*digests, "v1", "v2"]
    for repository, image in (("a", ONE), ("b", TWO)):
        blobs = [server.requests.index(one) for one in server.seen("PUT", f"{repository}/blobs/uploads")]
        manifests = [server.requests.index(one) for one in server.seen("PUT", f"{repository}/manifests/sha256")]
        assert max(blobs) < min(manifests)
        assert len(manifests) == len(image.manifests)
    last_blob = max(server.requests.index(one) for one in server.seen("PUT", "uploads"))
    assert server.requests.index(server.seen("PUT", "a/manifests/sha256")[-1]) < last_blob
    assert last_blob < server.requests.index(server.seen("PUT", "manifests/v1")[0])


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_image_of_two_tags_is_put_once_and_tagged_twice(
    registry: Registry, server: RegistryServer, jobs: int
) -> None:
    images = [TWO.push_image("b", "v1"), TWO.push_image("b", "v2"), TWO.push_image("c", "v1")]
    report, events = push(registry, Bodies(TWO), *images, jobs=jobs)
    assert report.failed == ()
    put = sorted(one.path.partition("/v2/")[2] for one in server.seen("PUT", "manifests"))
    by_digest = [f"{repository}/manifests/{digest}" for repository in "bc" for digest, _, _ in TWO.manifests]
    assert put == sorted([*by_digest, "b/manifests/v1", "b/manifests/v2", "c/manifests/v1"])
    assert all(holds(server, TWO, image.repository, image.tag) for image in images)
    told = [one.outcome for one in events if isinstance(one, ManifestDone)]
    assert told.count("present") == len(TWO.manifests)


def test_what_was_put_as_a_child_is_asked_for_as_an_image(registry: Registry, server: RegistryServer) -> None:
    digest, media_type, data = TWO.manifests[0]
    alone = PushImage("a", None, (PushManifest(digest, media_type, data),), tuple(json_digests(data)))
    bodies = Bodies(TWO)
    # The other way round the blobs of the child would be there first, and the child before its index.
    push_images([TWO.push_image("a", "v1"), alone], bodies.listed()[::-1], bodies, registry, jobs=1)
    assert holds(server, TWO, "a", "v1")
    assert len(server.seen("PUT", f"manifests/{digest}")) == 1
    assert [one.method for one in server.seen("HEAD", f"manifests/{digest}")] == ["HEAD"]


def test_what_a_survey_asked_is_not_asked_again(registry: Registry, server: RegistryServer) -> None:
    TWO.put(server.store, "b", "v2")
    bodies = Bodies(ONE, TWO)
    images = [ONE.push_image("a", "v1"), TWO.push_image("b", "v2")]
    survey = survey_push(images, bodies.listed(), registry)
    before = len(server.requests)
    report = push_images(images, bodies.listed(), bodies, registry, known=survey.known)
    assert report.failed == ()
    assert holds(server, ONE, "a", "v1")
    asked = [one.path for one in server.requests[before:] if one.method == "HEAD"]
    assert not [path for path in asked if "/blobs/" in path]
    # Of the image that was not there only what its nodes and people name is confirmed; the other is looked at.
    assert [path for path in asked if "/a/" in path] == [
        f"/v2/a/manifests/{ONE.digest}",
        "/v2/a/manifests/v1",
    ]
    assert len([path for path in asked if "/b/" in path]) == len(TWO.manifests) + 1
    assert not [one for one in server.requests[before:] if one.method != "HEAD" and "/b/" in one.path]


def test_a_failed_image_stops_no_other_and_moves_no_tag(registry: Registry, server: RegistryServer) -> None:
    bodies = Bodies(ONE, TWO)
    own = next(digest for digest in TWO.blobs if digest not in ONE.blobs)
    server.fail("status", method="PUT", status=400, times=99, path=f"v2/b/blobs/uploads/.*{own[7:]}", body=b"no space")
    report, events = push(registry, bodies, TWO.push_image("b", "v2"), ONE.push_image("a", "v1"))
    assert [image.repository for image in report.failed] == ["b"]
    assert "no space" in str(report.failed[0].error)
    assert holds(server, ONE, "a", "v1")
    assert not any(repository == "b" for repository, _ in server.store.manifests)
    assert ("b", "v2") not in server.store.tags
    assert BlobDone("b", own, len(TWO.blobs[own]), "failed") in events


def test_a_refused_manifest_fails_its_image_alone(registry: Registry, server: RegistryServer) -> None:
    child = TWO.manifests[1][0]
    server.fail("status", method="PUT", status=403, times=9, path=child, body=b"not allowed")
    report, events = push(registry, Bodies(ONE, TWO), ONE.push_image("a", "v1"), TWO.push_image("b", "v2"))
    assert [image.tag for image in report.failed] == ["v2"]
    assert server.store.manifest("b", "v2") is None
    assert holds(server, ONE, "a", "v1")
    assert ManifestDone("b", "v2", "failed") in events


def test_a_registry_that_does_not_confirm_is_not_believed(registry: Registry, server: RegistryServer) -> None:
    image = make_image(platforms=["linux/amd64"])
    server.fail("lie", method="HEAD", times=9, path="manifests/sha256")
    report, _ = push(registry, Bodies(image), image.push_image("a", "v1"))
    assert "does not confirm" in str(report.failed[0].error)
    assert ("a", "v1") not in server.store.tags


def test_a_tag_moves_from_the_old_digest(registry: Registry, server: RegistryServer) -> None:
    TWO.put(server.store, "a", "v1")
    report, _ = push(registry, Bodies(ONE), ONE.push_image("a", "v1"))
    assert report.images[0].tag_moved
    assert server.store.tags["a", "v1"] == ONE.digest


def test_an_image_without_tag_is_there_by_digest(registry: Registry, server: RegistryServer) -> None:
    report, _ = push(registry, Bodies(ONE), ONE.push_image("a"))
    assert holds(server, ONE, "a", None)
    assert server.store.tags == {}
    assert (report.failed, report.images[0].tag_moved) == ((), False)


def test_a_registry_without_push_by_digest_gets_a_single_manifest_by_tag(
    registry: Registry, server: RegistryServer
) -> None:
    server.rules.by_digest = False
    image = make_image(platforms=["linux/amd64"])
    report, _ = push(registry, Bodies(image, ONE), image.push_image("p/single", "v1"), ONE.push_image("p/list", "v1"))
    assert holds(server, image, "p/single", "v1")
    assert [failed.repository for failed in report.failed] == ["p/list"]


def test_a_wrong_source_stops_everything(registry: Registry, server: RegistryServer) -> None:
    bodies = Bodies(ONE, TWO)
    bodies.errors = {next(iter(bodies.blobs)): TrustError("blob does not match its digest")}
    with pytest.raises(TrustError, match="does not match"):
        push(registry, bodies, ONE.push_image("a", "v1"), TWO.push_image("b", "v2"))
    assert server.store.manifests == {}


def test_a_source_that_breaks_once_the_registry_retries_is_opened_again(
    registry: Registry, server: RegistryServer
) -> None:
    server.fail("reset", method="PUT", path="uploads", times=1)
    bodies = Bodies(ONE)
    report, _ = push(registry, bodies, ONE.push_image("a", "v1"), jobs=1)
    assert report.failed == ()
    assert len(bodies.opened) == len(ONE.blobs) + 1


def test_a_registry_that_is_gone_is_not_asked_for_every_blob(registry: Registry, server: RegistryServer) -> None:
    image = make_image(platforms=[f"linux/arch{number}" for number in range(10)])
    server.fail("reset", method="HEAD", times=10_000)
    report, _ = push(registry, Bodies(image), image.push_image("a", "v1"), jobs=1)
    assert len(report.failed) == 1
    assert report.blobs.count("failed") == len(image.blobs)
    assert len(server.seen("HEAD")) <= 3 * 4


@pytest.mark.parametrize("alive", [True, False])
def test_a_registry_that_goes_away_after_the_survey_is_not_asked_for_every_blob(
    registry: Registry, server: RegistryServer, alive: bool
) -> None:
    """What the survey remembers is no answer of the registry's; without one a single repository's failures do."""
    made = [make_image(platforms=["linux/amd64"], name=f"away{number}", layers=[]) for number in range(8)]
    bodies = Bodies(*made)
    images = [one.push_image(f"a{number if alive else ''}", f"v{number}") for number, one in enumerate(made)]
    known = survey_push(images, bodies.listed(), registry).known
    server.fail("reset", method="POST", times=10_000)
    if not alive:
        server.fail("reset", method="GET", path="/v2/", times=10_000)
    report = push_images(images, bodies.listed(), bodies, registry, jobs=1, known=known)
    assert len(report.failed) == len(images)
    # Not alive it is given up at the third blob, each being some attempts; else with the fifth repository.
    asked = server.seen("POST")
    assert len({one.path.split("/")[2] for one in asked}) == 5 if alive else len(asked) < 20


@pytest.mark.parametrize("jobs", [1, 3])
def test_two_repositories_that_fail_stop_no_other(registry: Registry, server: RegistryServer, jobs: int) -> None:
    layers = [make_layer(f"{number}") for number in range(6)]
    image = make_image(platforms=["linux/amd64"], name="failing", layers=layers)
    other = make_image(platforms=["linux/amd64"], name="failing too", layers=layers[::-1])
    server.fail("reset", method="HEAD", path="/v2/a[12]/", times=10_000)
    images = image.push_image("a1", "v1"), other.push_image("a2", "v1"), TWO.push_image("b", "v2")
    report, _ = push(registry, Bodies(image, other, TWO), *images, jobs=jobs)
    assert [failed.repository for failed in report.failed] == ["a1", "a2"]
    assert holds(server, TWO, "b", "v2")
    asked = {one.path for one in server.requests if one.path.startswith("/v2/a1/blobs/sha256")}
    assert len(asked) < len(image.blobs)


def test_a_deltas_blob_is_mounted_or_missed(registry: Registry, server: RegistryServer) -> None:
    bodies = Bodies(ONE)
    digest = next(iter(ONE.blobs))
    blobs = [
        PushBlob(one.digest, one.size, at_hand=one.digest != digest, elsewhere=("old/place",))
        for one in bodies.listed()
    ]
    image = ONE.push_image("a", "v1")
    missed = push_images([image], blobs, bodies, registry)
    assert "delta" in str(missed.failed[0].error)
    assert server.uploads == {}
    server.store.add_blob("old/place", ONE.blobs[digest])
    report = push_images([image], blobs, bodies, registry)
    assert report.failed == ()
    assert digest not in bodies.opened
    assert report.blobs.count("mounted") == 1


def test_an_image_whose_blobs_were_never_pushed_is_our_bug(registry: Registry) -> None:
    with pytest.raises(RuntimeError, match="not among the blobs"):
        push_images([ONE.push_image("a")], [], Bodies(ONE), registry)


def test_progress_is_told(registry: Registry) -> None:
    _, events = push(registry, Bodies(ONE), ONE.push_image("a", "v1"))
    for digest, data in ONE.blobs.items():
        assert BlobProgress("a", digest, len(data), len(data)) in events
        assert BlobDone("a", digest, len(data), "sent") in events
    assert events[-1] == ManifestDone("a", "v1", "sent")


def test_a_survey_writes_nothing_and_says_what_a_push_would_do(registry: Registry, server: RegistryServer) -> None:
    TWO.put(server.store, "b", "v2")
    server.store.tags["a", "v1"] = TWO.digest
    server.store.manifests["a", TWO.digest] = (TWO.data, TWO.media_type)
    bodies = Bodies(ONE, TWO)
    images = [ONE.push_image("a", "v1"), TWO.push_image("b", "v2"), ONE.push_image("c", "new")]
    survey = survey_push(images, bodies.listed(), registry)
    missing = [data for digest, data in ONE.blobs.items() if digest not in TWO.blobs]
    assert (survey.send, survey.skip) == (len(missing), len(TWO.blobs))
    assert survey.bytes_to_send == sum(map(len, missing))
    assert [(move.before, move.after) for move in survey.tags] == [
        (TWO.digest, ONE.digest),
        (TWO.digest, TWO.digest),
        (None, ONE.digest),
    ]
    assert {one.method for one in server.requests} == {"HEAD"}


def test_a_push_asks_with_the_right_to_push(server: RegistryServer, client: Client) -> None:
    server.rules = Rules(auth="bearer", hide_missing=True)
    client.login(server.host, *server.rules.login)
    images = [ONE.push_image("new/one", "v1"), TWO.push_image("new/two", "v2")]
    with client.to(server) as registry:
        assert survey_push(images, Bodies(ONE, TWO).listed(), registry).send == len({**ONE.blobs, **TWO.blobs})
        report, _ = push(registry, Bodies(ONE, TWO), *images)
    assert report.failed == ()
    # One for each repository, and one to mount from the first into the second.
    assert len(server.seen("GET", "^/token")) == 3


LARGE = [make_image(name=f"large-{number}", layers=[make_layer(f"l{number}", 2**20 + 5)]) for number in range(6)]


class HeldUp(Bodies):
    """The first two large bodies wait ``until`` something is so, if given; ``most`` bodies were read at once."""

    def __init__(self, *images: MadeImage, until: Callable[[], bool] | None) -> None:
        super().__init__(*images)
        self._until = until
        self._lock = threading.Lock()
        self._both = threading.Barrier(2, timeout=20)
        self._begun = self._reading = 0
        self.most = 0
        self.threads: set[int] = set()

    def _hold(self, until: Callable[[], bool]) -> None:
        self._both.wait()
        latest = time.monotonic() + 20
        while not until():
            assert time.monotonic() < latest
            time.sleep(0.005)
        self._both.wait()

    def _chunks(self, digest: str) -> Iterator[memoryview]:
        data = memoryview(self.blobs[digest])
        self.threads.add(threading.get_ident())
        if len(data) < 2**20:
            yield data
            return
        with self._lock:
            self._begun += 1
            held = self._begun <= 2
            self._reading += 1
            self.most = max(self.most, self._reading)
        if held and self._until is not None:
            self._hold(self._until)
        if digest in self.errors:
            raise self.errors[digest]
        # Not the last byte: once it is handed on, the next may begin.
        yield data[:-1]
        with self._lock:
            self._reading -= 1
        yield data[-1:]


def two_opened(server: RegistryServer) -> bool:
    """Two uploads are open whose bytes have not come."""
    return len(server.seen("POST")) - len(server.seen("PUT", "/uploads/")) >= 2


def push_large(client: Client, server: RegistryServer, jobs: int, until: Callable[[], bool] | None = None) -> HeldUp:
    bodies = HeldUp(*LARGE, until=until)
    with client.to(server) as registry:
        images = [image.push_image(f"team/{number}", "1") for number, image in enumerate(LARGE)]
        report, _ = push(registry, bodies, *images, jobs=jobs)
    assert report.failed == ()
    assert report.blobs.count("sent") == len(bodies.blobs)
    assert sorted(bodies.opened) == sorted(bodies.blobs)
    return bodies


def test_uploads_are_opened_ahead_of_their_turn(server: RegistryServer, client: Client) -> None:
    bodies = push_large(client, server, jobs=2, until=lambda: two_opened(server))
    assert bodies.most == 2
    assert len(bodies.threads) <= 4
    assert len(server.seen("POST")) == len(bodies.blobs)


def test_a_session_that_waited_too_long_is_opened_anew(
    server: RegistryServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobpush, "_KEPT_OPEN", 0.0)
    bodies = push_large(client, server, jobs=2, until=lambda: len(server.seen("DELETE", "/uploads/")) >= 2)
    dropped = len(server.seen("DELETE", "/uploads/"))
    assert len(server.seen("POST")) == len(bodies.blobs) + dropped


@pytest.mark.parametrize("kind", ["status", "reset"])
def test_an_upload_that_could_not_be_opened_ahead_is_opened_in_its_turn(
    server: RegistryServer, registry: Registry, kind: str
) -> None:
    server.fail(kind, method="POST")
    assert registry.open_upload("team/0") is None
    opened = registry.open_upload("team/0")
    assert opened is not None
    registry.drop("team/0", opened)
    assert len(server.seen("DELETE", "/uploads/")) == 1


def test_an_error_ends_the_uploads_that_wait_for_their_turn(server: RegistryServer, client: Client) -> None:
    bodies = HeldUp(*LARGE, until=lambda: two_opened(server))
    blobs = [blob for blob in bodies.listed() if blob.size > 2**20]
    images = [PushImage(f"team/{number}", None, (), (blob.digest,)) for number, blob in enumerate(blobs)]
    bodies.errors = {blob.digest: TrustError("a wrong byte") for blob in blobs[:2]}
    with client.to(server) as registry, pytest.raises(TrustError, match="a wrong byte"):
        push_images(images, blobs, bodies, registry, jobs=2)
    # Two failed, two waited; the rest was never begun.
    assert set(bodies.opened) <= {blob.digest for blob in blobs[:4]}


def test_one_job_is_one_thread(server: RegistryServer, client: Client) -> None:
    bodies = push_large(client, server, jobs=1)
    assert (bodies.most, len(bodies.threads)) == (1, 1)


def test_in_parallel_raises_the_first_error_and_stops() -> None:
    done: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> None:
        if item == 5:
            raise RegistryError("five")
        with lock:
            done.append(item)

    with pytest.raises(RegistryError, match="five"):
        in_parallel(work, range(10_000), 2)
    assert {0, 1, 2, 3, 4} <= set(done)
    assert len(done) < 10_000
