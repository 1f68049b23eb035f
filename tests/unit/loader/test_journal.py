from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.apply import apply_plan
from loader.cluster.imageconfig import login_wish
from loader.cluster.nodeside import PULL_SECRET, NodeSide, auths_in
from loader.cluster.plan import Plan, decide
from loader.cluster.prepare import prepare
from loader.cluster.waits import Patience
from loader.journal import ObjectJournal
from loader.vault import Vault
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.fakecluster import FakeCluster
from tests.unit.loader.cluster.states import NoClock
from tests.unit.loader.cluster.test_restore import secret

NEWER = "docker.io/rook/ceph@sha256:" + "2" * 64


class Book:
    """A journal whose every write on disk is kept."""

    def __init__(self, folder: Path) -> None:
        self.vault = Vault(folder)
        self.rows: list[dict[str, Any]] = []
        self.written: list[list[dict[str, Any]]] = []
        self.journal = self.opened()

    def opened(self) -> ObjectJournal:
        """Another run on the same report."""
        return ObjectJournal(self.rows, self.vault, lambda: self.written.append(json.loads(json.dumps(self.rows))))

    def load(self, cluster: FakeCluster, *pairs: makers.Pair) -> None:
        _, plan = prepare(cluster.kubectl(), pairs)
        apply_plan(cluster.kubectl(), plan, journal=self.opened(), patience=Patience(NoClock()))

    def row(self, kind: str) -> dict[str, Any]:
        (row,) = [row for row in self.rows if row["kind"] == kind]
        return row


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


def installed() -> FakeCluster:
    return FakeCluster(makers.deployment(), makers.config_map(), makers.ceph_cluster())


def image(state: dict[str, Any]) -> Any:
    return state["spec"]["template"]["spec"]["containers"][0]["image"]


def test_each_object_is_on_record_before_it_is_written(book: Book) -> None:
    cluster = installed()
    at_write: list[list[str]] = []
    cluster.on_write = lambda line: at_write.append([row["kind"] for row in book.written[-1] if not row["confirmed"]])
    book.load(cluster, makers.idms(), makers.operator_patch())
    # A preview is a write to the API server too; nothing has to be on record for it.
    assert at_write == [["ImageDigestMirrorSet"], ["Deployment"]]
    assert image(book.row("Deployment")["before"]) == "rook/ceph:v1.5.0"
    assert image(book.row("Deployment")["after"]) == makers.OPERATOR_IMAGE
    assert book.row("ImageDigestMirrorSet")["before"] is None
    assert book.row("ImageDigestMirrorSet")["action"] == "create"
    assert book.row("ImageDigestMirrorSet")["uid"] == "5f0c"


def test_what_was_there_first_stays_whatever_later_runs_do(book: Book) -> None:
    cluster = installed()
    for pair in (makers.operator_patch(), makers.operator_patch(), makers.operator_patch(image=NEWER)):
        book.load(cluster, pair)
    row = book.row("Deployment")
    assert (image(row["before"]), image(row["after"])) == ("rook/ceph:v1.5.0", NEWER)
    assert row["action"] == "patch"


def test_what_others_changed_between_two_runs_is_not_ours_to_take_back(book: Book) -> None:
    cluster = installed()
    book.load(cluster, makers.operator_patch())
    ((key, there),) = [(key, item) for key, item in cluster.objects.items() if key.kind == "Deployment"]
    cluster.objects[key] = {**there, "spec": {**there["spec"], "replicas": 0}}
    book.load(cluster, makers.operator_patch(image=NEWER))
    row = book.row("Deployment")
    assert [image(row[state]) for state in ("before", "after")] == ["rook/ceph:v1.5.0", NEWER]
    assert [row[state]["spec"]["replicas"] for state in ("before", "after")] == [0, 0]


def test_two_documents_on_one_object_are_taken_back_together(book: Book) -> None:
    cluster = installed()
    for word in ("1", "2"):
        first = makers.manifests(makers.config_map(a=word), phase="before-rook", path="documents/manifests/1.json")
        second = makers.manifests(makers.config_map(b=word), path="documents/manifests/2.json")
        book.load(cluster, first, second)
        assert book.rows[0]["before"]["data"] == {"ROOK_LOG_LEVEL": "INFO"}
        assert book.rows[1]["after"]["data"] == {"ROOK_LOG_LEVEL": "INFO", "a": word, "b": word}


def test_a_login_that_others_renewed_between_two_runs_stays_theirs(book: Book) -> None:
    def load(entry: str) -> None:
        wish = login_wish(NodeSide(image_config={"spec": {}}), "site", {"auth": entry})
        change, _ = decide(wish, cluster.objects[PULL_SECRET])
        journal = book.opened()
        apply_plan(cluster.kubectl(), Plan((change,), ()), journal=journal, patience=Patience(NoClock()))

    cluster = FakeCluster(secret(cloud="old"))
    load("bmV3")
    cluster.put(secret(cloud="renewed", site={"auth": "bmV3"}))
    load("bmV3ZXI=")
    before, after = (book.vault.kept(book.row("Secret")[state]["sha256"]) for state in ("before", "after"))
    assert auths_in(before) == {"cloud": "renewed"}
    assert auths_in(after) == {"cloud": "renewed", "site": {"auth": "bmV3ZXI="}}


def test_an_object_that_someone_made_anew_has_a_past_of_its_own(book: Book) -> None:
    cluster = installed()
    book.load(cluster, makers.operator_patch())
    for item in cluster.objects.values():
        item["metadata"]["uid"] = "0a0b"
    ((key, there),) = [(key, item) for key, item in cluster.objects.items() if key.kind == "Deployment"]
    cluster.objects[key] = {**there, "spec": makers.deployment(image="rook/ceph:v1.5.9")["spec"]}
    book.load(cluster, makers.operator_patch())
    assert image(book.row("Deployment")["before"]) == "rook/ceph:v1.5.9"
    # One that was made anew with our image is nothing that we changed.
    cluster.objects[key] = {**cluster.objects[key], "metadata": {**there["metadata"], "uid": "0c0d"}}
    cluster.objects[key]["spec"] = makers.deployment(image=makers.OPERATOR_IMAGE)["spec"]
    book.load(cluster, makers.operator_patch())
    assert book.row("Deployment")["action"] == "unchanged"


def test_a_write_that_was_not_answered_is_confirmed_by_the_next_run(book: Book) -> None:
    cluster = installed()

    def killed(item: dict[str, Any]) -> dict[str, Any]:
        cluster.put(item)
        raise KeyboardInterrupt

    cluster.on_store = killed
    with pytest.raises(KeyboardInterrupt):
        book.load(cluster, makers.operator_patch())
    row = book.row("Deployment")
    assert (row["confirmed"], image(row["before"]), image(row["after"])) == (
        False,
        "rook/ceph:v1.5.0",
        makers.OPERATOR_IMAGE,
    )
    cluster.on_store = lambda item: item
    book.load(cluster, makers.operator_patch())
    row = book.row("Deployment")
    assert (row["confirmed"], row["action"], image(row["before"])) == (True, "patch", "rook/ceph:v1.5.0")


def test_a_lost_race_puts_the_newer_state_on_record(book: Book) -> None:
    cluster = installed()
    raced: list[str] = []

    def race(line: str) -> None:
        if not raced:
            raced.append(line)
            cluster.put(makers.deployment(image="theirs:v1"))

    cluster.on_write = race
    book.load(cluster, makers.operator_patch())
    assert image(book.row("Deployment")["before"]) == "theirs:v1"


def test_two_documents_on_one_object_hand_its_state_on(book: Book) -> None:
    cluster = FakeCluster()
    first = makers.manifests(makers.config_map(a="1"), phase="before-rook", path="documents/manifests/1.json")
    second = makers.manifests(makers.config_map(b="2"), path="documents/manifests/2.json")
    book.load(cluster, first, second)
    one, other = book.rows
    assert one["before"] is None
    assert other["before"] == one["after"]
    assert other["after"]["data"]["b"] == "2"


def test_a_secret_is_on_record_by_its_hash_alone(book: Book) -> None:
    def secret(word: str) -> makers.Pair:
        item = {**makers.config_map(), "kind": "Secret", "data": {"password": word}}
        return makers.manifests(item)

    cluster = FakeCluster()
    book.load(cluster, secret("b2xk"))
    book.load(cluster, secret("bmV3"))
    assert "b2xk" not in json.dumps(book.written)
    assert "bmV3" not in json.dumps(book.written)
    row = book.row("Secret")
    assert row["before"] is None
    assert book.vault.kept(row["after"]["sha256"])["data"]["password"] == "bmV3"


def test_what_was_refused_is_on_record_as_not_confirmed(book: Book) -> None:
    cluster = installed()
    cluster.broken = {"patch deployment": 'Error from server: admission webhook "x" denied the request: no'}
    with pytest.raises(ClusterError):
        book.load(cluster, makers.operator_patch())
    assert book.row("Deployment")["confirmed"] is False


def test_skipped_and_unchanged_objects_have_one_row_over_all_runs(book: Book) -> None:
    cluster = installed()
    for _ in range(3):
        book.load(cluster, makers.idms(), makers.icsp())
    assert [(row["kind"], row["action"]) for row in book.rows] == [
        ("ImageDigestMirrorSet", "create"),
        ("ImageContentSourcePolicy", "skip"),
    ]
