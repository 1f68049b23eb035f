"""What a registry says to a trial: known before a blob is sent, and nothing is left behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loader.bundle.errors import RegistryError
from loader.bundle.ocimanifest import DOCKER_LIST, DOCKER_MANIFEST, INDEX_TYPES
from loader.oci.registry import Registry
from loader.oci.survey import survey_push
from loader.oci.trial import Trial, try_registry
from tests.support.images import MadeImage, make_image
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

LIST = make_image(name="list")
OCI = make_image(name="oci", oci_types=True)
SINGLE = make_image(name="single", platforms=["linux/amd64"])
WHOLE = make_image(name="sparse", platforms=["linux/amd64", "linux/arm64", "linux/s390x"])
SPARSE = MadeImage((WHOLE.manifests[0], WHOLE.manifests[-1]), WHOLE.blobs)
UNSUPPORTED = (400, "UNSUPPORTED", "unsupported manifest type")


def tried(registry: Registry, server: RegistryServer, *images: MadeImage, kind: str = "") -> Trial:
    pushed = [image.push_image(f"team/app{number}", "v1") for number, image in enumerate(images)]
    trial = try_registry(registry, kind, pushed, None)
    assert server.uploads == {}
    assert server.store.manifests == {}
    assert not server.seen("PUT", "/blobs/")
    assert not server.seen("PATCH")
    return trial


def test_one_that_takes_everything(registry: Registry, server: RegistryServer) -> None:
    server.rules.sparse = True
    trial = tried(registry, server, LIST, OCI, SINGLE, SPARSE)
    assert trial.refused == {}
    assert (trial.by_digest, trial.lists, trial.sparse, trial.oci, trial.docker) == (True,) * 5
    assert trial.words() == (
        "takes push by digest, uploads in pieces, manifest lists, sparse indexes, OCI types, Docker types; "
        "not referrers"
    )


def test_a_repository_that_is_not_there_yet_does_not_tell_of_referrers(
    registry: Registry, server: RegistryServer
) -> None:
    body = json.dumps({"errors": [{"code": "NAME_UNKNOWN", "message": "Unknown name"}]}).encode()
    server.fail("status", path="/referrers/", status=404, body=body)
    assert tried(registry, server, SINGLE).referrers is None
    assert tried(registry, server, SINGLE).referrers is False
    server.rules.referrers = True
    assert tried(registry, server, SINGLE).referrers is True
    server.fail("status", path="/referrers/", status=200, body=b"<html>welcome</html>")
    assert tried(registry, server, SINGLE).referrers is False
    server.fail("status", path="/referrers/", status=500, times=99)
    assert tried(registry, server, SINGLE).referrers is None


@pytest.mark.parametrize(
    ("rules", "kind", "refused", "words", "hint"),
    [
        ({"by_digest": False, "refused_types": INDEX_TYPES}, "", [0, 1, 3], "manifest lists", "--rewrite-index"),
        ({"refused_types": INDEX_TYPES, "refusal": UNSUPPORTED}, "", [0, 1, 3], "manifest lists", "4.13"),
        ({"refused_types": INDEX_TYPES, "refusal": (500, "UNKNOWN", "")}, "", [0, 1, 3], "manifest lists", "4.13"),
        ({"refused_types": {DOCKER_MANIFEST, DOCKER_LIST}}, "", [0, 2, 3], "Docker's types", "docker2s2"),
        ({"refused_types": {DOCKER_MANIFEST, DOCKER_LIST}}, "zot", [0, 2, 3], "Docker's types", "docker2s2"),
        ({}, "", [3], "children missing", "--rewrite-index"),
    ],
    ids=["openshift", "lists", "lists-500", "docker", "zot", "sparse"],
)
def test_what_cannot_be_taken_is_known_before(
    registry: Registry,
    server: RegistryServer,
    rules: dict[str, Any],
    kind: str,
    refused: list[int],
    words: str,
    hint: str,
) -> None:
    server.rules = Rules(**rules)
    trial = tried(registry, server, LIST, OCI, SINGLE, SPARSE, kind=kind)
    assert sorted(trial.refused) == [f"team/app{number}:v1" for number in refused]
    for error in trial.refused.values():
        assert words in str(error)
        assert hint in error.hint


def test_an_answer_that_says_nothing_refuses_nothing(registry: Registry, server: RegistryServer) -> None:
    server.fail("status", method="PUT", path="/manifests/", status=500, times=999)
    trial = tried(registry, server, LIST, OCI)
    assert trial.refused == {}
    assert trial.lists is None


def test_a_sparse_index_whose_other_children_are_there(registry: Registry, server: RegistryServer) -> None:
    WHOLE.put(server.store, "team/app0")
    assert try_registry(registry, "", [SPARSE.push_image("team/app0", "v1")], None).refused == {}


def test_a_project_that_is_not_there_stops_its_own_images_alone(registry: Registry, server: RegistryServer) -> None:
    server.rules.projects = frozenset({"team"})
    images = [SINGLE.push_image("other/app", "v1"), SINGLE.push_image("team/app", "v1")]
    trial = try_registry(registry, "", images, None)
    assert list(trial.refused) == ["other/app:v1"]
    with pytest.raises(RegistryError, match="cannot push to"):
        try_registry(registry, "", images[:1], None)


def test_mounts_are_tried_with_what_is_there(registry: Registry, server: RegistryServer) -> None:
    SINGLE.put(server.store, "team/app")
    images = [SINGLE.push_image("team/app", "v1")]
    for mounts in (True, False):
        server.rules.mounts = mounts
        survey = survey_push(images, SINGLE.push_blobs(), registry)
        assert try_registry(registry, "", images, survey.known).mounts == mounts
    assert server.uploads == {}


def test_a_repository_nobody_may_ask_about_is_barred_alone(registry: Registry, server: RegistryServer) -> None:
    server.fail("status", method="HEAD", path="/v2/team/shut/", status=403, times=99)
    images = [SINGLE.push_image("team/shut", "v1"), LIST.push_image("team/open", "v1")]
    survey = survey_push(images, (*SINGLE.push_blobs(), *LIST.push_blobs()), registry)
    assert list(survey.barred) == ["team/shut"]
    assert [move.repository for move in survey.tags] == ["team/open"]
    alone = survey.only(images[1:])
    assert (alone.send, alone.skip) == (len(LIST.blobs), 0)
    assert alone.bytes_to_send == sum(map(len, LIST.blobs.values()))
