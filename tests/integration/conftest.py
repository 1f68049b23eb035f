"""Servers that the tests of this folder share: started once for a run, by the first test that asks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.apiserver import ApiServer
from tests.support.apiserver import api_server as start_api_server


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The real API server; tests share it, so each one cleans up or names its objects after itself."""
    with start_api_server(tmp_path_factory.mktemp("apiserver")) as server:
        yield server
