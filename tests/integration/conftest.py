"""Servers that the tests of this folder share: started once for a run, by the first test that asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import article
from tests.support.apiserver import ApiServer
from tests.support.apiserver import api_server as start_api_server
from tests.support.cli import Cli
from tests.support.controllers import Api, Controllers, running
from tests.support.registry import RegistryServer
from tests.support.site import Site, made_site


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The real API server; tests share it, so each one cleans up or names its objects after itself."""
    with start_api_server(tmp_path_factory.mktemp("apiserver")) as server:
        yield server


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The article's archive, and the digest of each image by name."""
    folder = tmp_path_factory.mktemp("bundle")
    with RegistryServer() as source:
        made = article.put_images(source.store)
        archive = article.build(Cli(folder), source.host)
    return archive, {name: image.digest for name, image in made.items()}


@pytest.fixture
def quiet_site(api_server: ApiServer, bundle: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Site]:
    """A site whose cluster stores what it is given, and nobody acts on it."""
    with made_site(api_server, bundle[0], tmp_path) as site:
        yield site


@pytest.fixture
def controllers(quiet_site: Site) -> Iterator[Controllers]:
    """The controllers of OpenShift and Rook, at work on that cluster."""
    with running(Controllers(Api(quiet_site.cluster), "rook-ceph")) as playing:
        yield playing


@pytest.fixture
def site(quiet_site: Site, controllers: Controllers) -> Site:
    """A site as people have it."""
    return quiet_site
