"""A registry that goes away and comes back, as one does that is started anew: it is waited for, once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from loader.bundle.errors import RegistryError
from loader.oci.registry import Registry
from tests.support.blobstore import BlobStore
from tests.support.clients import Client, FakeTime
from tests.support.images import make_image
from tests.support.registry import RegistryServer
from tests.unit.loader.oci.test_registry_push import DATA, DIGEST, Body

ATTEMPTS, PATIENCE = 4, 8


class Restarted(FakeTime):
    """A registry on one address that is gone from :meth:`stop` on, and back after ``pauses`` of who waits for it."""

    def __init__(self, store: BlobStore) -> None:
        super().__init__()
        self._store = store
        self._stack = contextlib.ExitStack()
        self.server = self._stack.enter_context(RegistryServer(store))
        self.pauses = 0

    def stop(self, pauses: int) -> None:
        self.pauses = pauses
        self._stack.close()

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.pauses -= 1
        if not self.pauses:
            host, _, port = self.server.host.rpartition(":")
            self.server = self._stack.enter_context(RegistryServer(self._store, address=(host, int(port))))

    def __enter__(self) -> Restarted:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Restarted]:
    with Restarted(BlobStore(tmp_path / "store")) as running:
        yield running


@pytest.fixture
def registry(running: Restarted, tmp_path: Path) -> Iterator[Registry]:
    with Client(tmp_path, time=running).to(running.server) as registry:
        yield registry


def test_it_is_waited_for_longer_than_one_that_was_never_there(running: Restarted, registry: Registry) -> None:
    registry.ping()
    running.stop(PATIENCE - 2)
    registry.upload_blob("a", DIGEST, len(DATA), Body())
    assert running.server.store.has_blob("a", DIGEST)
    assert len(running.slept) == PATIENCE - 2
    assert sum(running.slept) > 20


def test_a_blob_that_is_read_goes_on_where_it_stopped(running: Restarted, registry: Registry) -> None:
    running.server.store.add_blob("a", DATA)
    with registry.open_blob("a", DIGEST, len(DATA)) as reader:
        begin = reader.read(1000)
        running.stop(ATTEMPTS)
        assert begin + b"".join(iter(lambda: reader.read(2**20), b"")) == DATA


def test_one_that_was_never_there_is_not(running: Restarted, registry: Registry) -> None:
    running.stop(PATIENCE)
    with pytest.raises(RegistryError, match="no answer"):
        registry.ping()
    assert len(running.slept) == ATTEMPTS - 1


def test_one_that_does_not_come_back_is_waited_for_once(running: Restarted, registry: Registry) -> None:
    registry.ping()
    running.stop(99)
    for attempts in (PATIENCE, ATTEMPTS, ATTEMPTS):
        running.slept.clear()
        with pytest.raises(RegistryError, match="no answer"):
            registry.ping()
        assert len(running.slept) == attempts - 1


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_proxy_with_nobody_behind_it(running: Restarted, registry: Registry, status: int) -> None:
    image = make_image().put(running.server.store, "a", "v1")
    registry.ping()
    running.server.fail("status", status=status, times=PATIENCE - 1)
    if status == 500:
        with pytest.raises(RegistryError, match="cannot"):
            registry.manifest("a", "v1")
    else:
        assert registry.manifest("a", "v1").digest == image.digest == digest_of(image.data)
