"""Loads and rollbacks killed at every write: rerun and rollback leave the objects as they were before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import article
from tests.support.apiserver import ApiServer
from tests.support.cli import Cli
from tests.support.controllers import Api, Controllers, running
from tests.support.killer import Killer
from tests.support.registry import RegistryServer
from tests.support.site import Site, made_site
from tests.unit.loader.cluster import makers

WRITES = ("ImageDigestMirrorSet", "Deployment", "ConfigMap", "CephCluster")


@pytest.fixture
def killer(site: Site, tmp_path: Path) -> Killer:
    made = Killer(tmp_path / "killer", site.cluster.program)
    made.before(site)
    return made


@pytest.mark.parametrize("number", range(1, len(WRITES) + 1), ids=WRITES)
def test_a_load_killed_at_a_write(site: Site, controllers: Controllers, killer: Killer, number: int) -> None:
    before = site.states()

    def kill(moment: str, at: int = number) -> None:
        killer.at(at, moment)
        site.run("load").expect(killer.status)
        assert site.report["state"] == "interrupted"
        killer.never()

    kill("before")
    site.rollback().expect()
    assert site.states() == before

    kill("after")
    # The rest is killed at once again: the write that the first run left has to be known by then.
    if number < len(WRITES):
        kill("after", 1)
    site.run("load").expect()
    assert {item["action"] for item in site.report["objects"]} == {"create", "patch", "skip"}
    controllers.settle()
    site.rollback().expect()
    assert site.states() == before
    assert site.report["state"] == "rolled-back"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_rollback_killed_at_each_write(site: Site, controllers: Controllers, killer: Killer, moment: str) -> None:
    before = site.states()
    site.run("load").expect()
    assert killer.writes == len(WRITES)
    # Each run goes one write further than the one before it, and the last goes through.
    for _ in WRITES:
        killer.at(1 if moment == "after" else 2, moment)
        ran = site.rollback()
        if ran.status == 0:
            break
        assert ran.status == killer.status, ran.err
    killer.never()
    site.rollback().expect()
    assert site.states() == before
    assert site.report["state"] == "rolled-back"
    controllers.settle()


def manifests(folder: Path) -> str:
    """The manifests of a Rook that is not there yet, and the lines of the config that name them."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "rook", "namespace": "rook-ceph"}}
    common: list[dict[str, Any]] = [account, makers.config_map(), makers.deployment()]
    files = {"operator.json": common, "cluster.json": [makers.ceph_cluster()]}
    for name, items in files.items():
        (folder / name).write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return (
        "manifests:\n- {path: operator.json, phase: before-rook, pin: true}\n"
        "- {path: cluster.json, phase: before-rook, pin: true}\n"
    )


@pytest.fixture(scope="module")
def installer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that brings Rook itself."""
    folder = tmp_path_factory.mktemp("installer")
    with RegistryServer() as source:
        article.put_images(source.store)
        return article.build(Cli(folder), source.host, article.config(extra=manifests(folder)))


@pytest.fixture
def bare(api_server: ApiServer, installer: Path, tmp_path: Path) -> Iterator[Site]:
    """A cluster without Rook, and its controllers at work."""
    other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other", "namespace": "rook-ceph"}}
    with made_site(api_server, installer, tmp_path, [other]) as site:
        yield site


FRESH = ("mirrors", "operator", "cluster")


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("number", range(1, len(FRESH) + 1), ids=FRESH)
def test_a_fresh_install_killed_at_a_write(bare: Site, tmp_path: Path, number: int, moment: str) -> None:
    with running(Controllers(Api(bare.cluster), "rook-ceph")) as controllers:
        before = bare.states()
        killer = Killer(tmp_path / "killer", bare.cluster.program)
        killer.before(bare)
        killer.at(number, moment)
        bare.run("load").expect(killer.status)
        assert bare.report["state"] == "interrupted"
        killer.never()
        back = bare.rollback().expect()
        controllers.settle()
        left = {name for name in bare.states() if name not in before}
        if (FRESH[number - 1], moment) == ("cluster", "after"):
            # The one thing that is never deleted: its data may hang on it, so it is named instead.
            assert left == {"CephCluster/rook-ceph"}
            assert "CephCluster/rook-ceph in rook-ceph kept (data may hang on it" in back.out
        else:
            assert left == set()
            killer.at(number, moment)
            bare.run("load").expect(killer.status)
            killer.never()
        bare.run("load").expect()
        assert bare.object("cephcluster/rook-ceph")["status"]["phase"] == "Ready"
        controllers.settle()
        versions = bare.versions()
        bare.run("load", yes=False).expect()
        assert bare.versions() == versions
