"""Loads and rollbacks killed at every write: rerun and rollback leave the objects as they were before."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.support.controllers import Controllers
from tests.support.killer import Killer
from tests.support.site import Site

WRITES = ("ImageDigestMirrorSet", "Deployment", "ConfigMap", "CephCluster")


@pytest.fixture
def killer(site: Site, tmp_path: Path) -> Killer:
    made = Killer(tmp_path / "killer", site.cluster.program)
    site.cli = dataclasses.replace(site.cli, path=f"{made.path}:{site.cli.path}")
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
