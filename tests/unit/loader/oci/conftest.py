from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.oci.registry import Registry
from tests.support.clients import Client
from tests.support.registry import RegistryServer


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path)


@pytest.fixture
def registry(server: RegistryServer, client: Client) -> Iterator[Registry]:
    with client.to(server) as connected:
        yield connected
