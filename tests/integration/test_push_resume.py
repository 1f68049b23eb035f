"""``kill -9`` at any moment of a push, then the same command again."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.carried import Carried, carry
from tests.support.cli import Cli
from tests.support.images import make_image, make_layer
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

BASE = make_layer("base", 3_000_000)


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Carried:
    images = {
        "team/one:v1": make_image(name="one", layers=[BASE]),
        "team/two:v2": make_image(name="two", layers=[BASE], oci_types=True),
    }
    return carry(Cli(tmp_path_factory.mktemp("carried")), images)


def requests_of_a_push(carried: Carried) -> int:
    with RegistryServer() as registry:
        carried.push(registry).expect()
        return len(registry.requests)


def kill_at(carried: Carried, registry: RegistryServer, number: int) -> None:
    """Push, and kill the process when its request ``number`` has arrived and is not answered yet."""
    running = carried.start(registry)

    def strike(count: int) -> None:
        if count == number:
            running.kill()
            running.wait()

    registry.on_request = strike
    assert running.wait(timeout=60) == -9, f"it ended before request {number}"
    registry.on_request = lambda _: None


def test_killed_at_many_moments_and_run_again(carried: Carried) -> None:
    moments = requests_of_a_push(carried)
    assert moments > 40
    for number in range(3, moments, 6):
        # A registry that checks nothing: what it holds is the pusher's doing alone.
        with RegistryServer(rules=Rules(sparse=True)) as registry:
            kill_at(carried, registry, number)
            ran = carried.push(registry).expect()
            assert "digests confirmed" in ran.out
            assert all(carried.arrived(registry, name) for name in carried.images), number
            assert registry.store.incomplete == [], number
            twice = [what for what, times in Counter(registry.store.stored).items() if times > 1]
            assert twice == [], number


def test_killed_again_and_again(carried: Carried) -> None:
    with RegistryServer(rules=Rules(sparse=True)) as registry:
        for _ in range(6):
            kill_at(carried, registry, len(registry.requests) + 9)
        carried.push(registry).expect()
        assert all(carried.arrived(registry, name) for name in carried.images)
        assert registry.store.incomplete == []
        assert max(Counter(registry.store.stored).values()) == 1
        before = len(registry.requests)
        again = carried.push(registry).expect()
        assert "0 blobs sent" in again.out
        asked = Counter(one.method for one in registry.requests[before:])
        assert set(asked) == {"GET", "HEAD"}
        assert asked["GET"] == 1


def test_the_loader_killed_in_the_middle_of_a_blob(carried: Carried) -> None:
    with RegistryServer() as registry:
        stuck = registry.fail("hang", method="PUT", path="/blobs/uploads/")
        running = carried.start(registry)
        while stuck.times:
            assert running.poll() is None
        running.kill()
        running.wait()
        carried.push(registry, "--no-apply", verb="load").expect()
        assert all(carried.arrived(registry, name) for name in carried.images)
        assert max(Counter(registry.store.stored).values()) == 1
