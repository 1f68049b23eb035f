"""What cannot be taken is told before a byte of it is sent; what can be taken arrives."""

from __future__ import annotations

import pytest

from loader.bundle.ocimanifest import DOCKER_LIST, DOCKER_MANIFEST, INDEX_TYPES
from tests.support.carried import Carried, carry
from tests.support.cli import Cli
from tests.support.images import make_image, make_layer
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

BASE = make_layer("base", 300_000)


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Carried:
    images = {
        "team/list:v1": make_image(name="list", layers=[BASE]),
        "team/oci:v1": make_image(name="oci", layers=[BASE], oci_types=True),
        "team/single:v1": make_image(name="single", platforms=["linux/amd64"], layers=[BASE]),
    }
    return carry(Cli(tmp_path_factory.mktemp("carried")), images)


def test_what_a_registry_takes_arrives_and_the_rest_is_not_begun(carried: Carried) -> None:
    with RegistryServer(rules=Rules(by_digest=False, refused_types=INDEX_TYPES)) as registry:
        ran = carried.push(registry).expect(6)
        assert "not push by digest, manifest lists" in ran.out
        assert "warning   team/list:v1 is not begun" in ran.out
        assert "3 blobs to send" in ran.out
        lines = ran.three_lines
        assert "2 of 3 images" in lines[0]
        assert "team/list:v1" in lines[1]
        assert "team/oci:v1" in lines[1]
        assert "--platform linux/amd64 --rewrite-index" in lines[-1]
        assert list(registry.store.tags) == [("team/single", "v1")]
        assert {one.path.split("/blobs/")[0] for one in registry.seen("PUT", "/blobs/")} == {"/v2/team/single"}
        # The same again, once the registry can: only what is missing is sent.
        registry.rules.by_digest, registry.rules.refused_types = True, frozenset()
        ran = carried.push(registry).expect()
        assert all(carried.arrived(registry, name) for name in carried.images)
        stored = registry.store.stored
        assert len(stored) == len(set(stored))


def test_all_that_is_refused_is_named_and_nothing_is_sent(carried: Carried) -> None:
    rules = Rules(refused_types=frozenset({DOCKER_LIST, DOCKER_MANIFEST, *INDEX_TYPES}))
    with RegistryServer(rules=rules) as registry:
        ran = carried.push(registry).expect(6)
        assert all(f"{name} is not begun" in ran.out for name in carried.images)
        assert not registry.seen("PUT", "/blobs/")
        assert registry.store.tags == {}
        assert registry.store.manifests == {}


def test_a_repository_that_is_shut_stops_no_other(carried: Carried) -> None:
    with RegistryServer() as registry:
        registry.fail("status", method="HEAD", path="/v2/team/oci/", status=403, times=999)
        ran = carried.push(registry).expect(6)
        assert "1 of 3 images" in ran.three_lines[0]
        assert sorted(registry.store.tags) == [("team/list", "v1"), ("team/single", "v1")]
        assert not registry.seen("POST", "/v2/team/oci/")
        carried.push(registry, "--dry-run").expect(6)


def test_a_login_that_is_missing_is_told_once(carried: Carried) -> None:
    with RegistryServer(rules=Rules(auth="basic")) as registry:
        ran = carried.push(registry).expect(6)
        assert "log in" in ran.three_lines[-1]
        assert "is not begun" not in ran.out
