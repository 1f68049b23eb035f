from __future__ import annotations

import pytest

from loader.bundle.errors import RegistryError
from loader.oci.registry import Registry
from loader.oci.survey import missing_manifests, survey_push
from tests.support.images import make_image
from tests.support.registry import RegistryServer

ONE = make_image(name="one")
TWO = make_image(name="two")


def test_manifests_are_looked_for_by_digest_whatever_the_tag_names(server: RegistryServer, registry: Registry) -> None:
    ONE.put(server.store, "app", "1")
    TWO.put(server.store, "app", "1")
    assert missing_manifests([ONE.push_image("app", "1")], registry) == []


def test_a_missing_child_is_named(server: RegistryServer, registry: Registry) -> None:
    ONE.put(server.store, "app", "1")
    child = ONE.manifests[0][0]
    del server.store.manifests["app", child]
    assert missing_manifests([ONE.push_image("app", "1"), ONE.push_image("app", "2")], registry) == [f"app@{child}"]


def test_nothing_is_there(registry: Registry) -> None:
    missing = missing_manifests([ONE.push_image("app", "1")], registry)
    assert missing == sorted(f"app@{digest}" for digest, _, _ in ONE.manifests)


def test_one_repository_that_does_not_answer_stops_no_other(server: RegistryServer, registry: Registry) -> None:
    ONE.put(server.store, "good", "1")
    images = [ONE.push_image("good", "1"), TWO.push_image("bad", "1")]
    blobs = [*ONE.push_blobs(), *TWO.push_blobs()]
    server.fail("reset", method="HEAD", path="/v2/bad/", times=99)
    found = survey_push(images, blobs, registry, jobs=1)
    assert list(found.barred) == ["bad"]
    assert {repository for repository, _ in (found.known.blobs if found.known else ())} == {"good"}
    server.fail("reset", method="GET", path="/v2/", times=99)
    with pytest.raises(RegistryError, match="no answer"):
        survey_push(images, blobs, registry, jobs=1)
