from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loader.bundle.manifest import When
from loader.cluster.objects import JsonObject, Key, key_of
from loader.cluster.plan import make_plan
from loader.cluster.rookpreflight import rook_findings
from tests.unit.loader.cluster import makers

FOUND = makers.survey()
TAGS = {makers.CEPH_IMAGE.partition("@")[2]: "v15.2.4-20200630"}
DAEMONS = Key("apps/v1", "DaemonSet", "rook-ceph", "csi-rbdplugin")


def said(
    pairs: list[makers.Pair], *items: dict[str, Any], found: Any = FOUND, drivers: tuple[dict[str, Any], ...] = ()
) -> list[str]:
    current: dict[Key, JsonObject] = {key_of(item, "an object"): item for item in items}
    plan = make_plan(pairs, found, current)
    return [
        f"{finding.level}: {finding.text}" for finding in rook_findings(plan.changes, current, found, TAGS, drivers)
    ]


def ceph(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    item = makers.stored(makers.ceph_cluster())
    return {**item, "spec": {**item["spec"], **spec}, "status": status}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, []),
        ({"phase": "Ready", "ceph": {"health": "HEALTH_OK"}}, []),
        ({"phase": "Connected", "ceph": {"health": "HEALTH_OK"}}, []),
        (
            {"phase": "Ready", "ceph": {"health": "HEALTH_ERR"}},
            ["blocker: CephCluster/rook-ceph in rook-ceph reports HEALTH_ERR: Rook refuses to upgrade it"],
        ),
        (
            {"phase": "Ready", "ceph": {"health": "HEALTH_WARN"}},
            ["warning: CephCluster/rook-ceph in rook-ceph reports HEALTH_WARN"],
        ),
        (
            {"phase": "Progressing", "message": "Detecting Ceph version"},
            ["warning: CephCluster/rook-ceph in rook-ceph is Progressing: Detecting Ceph version"],
        ),
        (
            {"phase": "Progressing", "state": "Error", "message": "no\x1b quorum"},
            ["warning: CephCluster/rook-ceph in rook-ceph: Rook failed with it: no? quorum"],
        ),
    ],
)
def test_health_and_phase_of_ceph(status: dict[str, Any], expected: list[str]) -> None:
    assert said([makers.ceph_patch()], ceph(status)) == expected


def test_health_errors_that_rook_was_told_to_skip_are_a_warning() -> None:
    status = {"ceph": {"health": "HEALTH_ERR"}}
    assert said([makers.ceph_patch()], ceph(status, skipUpgradeChecks=True)) == [
        "warning: CephCluster/rook-ceph in rook-ceph reports HEALTH_ERR"
    ]


def test_nothing_is_said_of_ceph_where_nothing_of_rook_changes() -> None:
    status = {"ceph": {"health": "HEALTH_ERR"}}
    there = ceph(status, cephVersion={"image": makers.CEPH_IMAGE})
    assert said([makers.ceph_patch()], there) == []


def test_several_rook_versions_are_told() -> None:
    found = dataclasses.replace(FOUND, rook_versions=("v1.4.9", "v1.5.0"))
    assert said([makers.ceph_patch()], ceph({}), found=found) == [
        "warning: daemons of several Rook versions are running: v1.4.9, v1.5.0"
    ]


@pytest.mark.parametrize(("strategy", "count"), [("OnDelete", 1), ("RollingUpdate", 0)])
def test_daemons_that_nobody_rolls_are_told_before(strategy: str, count: int) -> None:
    daemons = {**DAEMONS.stub(), "spec": {"updateStrategy": {"type": strategy}}}
    document, body = makers.csi_patch()
    pair = (dataclasses.replace(document, wait="csi"), body)
    found = said([pair], makers.stored(makers.config_map()), daemons)
    assert len(found) == count
    assert all("DaemonSet/csi-rbdplugin in rook-ceph is OnDelete" in line for line in found)
    assert said([makers.operator_patch()], makers.stored(makers.deployment()), daemons) == []


@pytest.mark.parametrize(
    "status",
    [
        {"ceph": {"versions": {"overall": {"ceph version 16.2.6 (c4b1) pacific (stable)": 4}}}},
        {"ceph": {"versions": {"overall": {"ceph version 15.2.4 (7447) octopus (stable)": 1, "16.2.6": 1}}}},
        {"version": {"version": "16.2.6-0"}},
    ],
)
def test_an_older_ceph_is_refused(status: dict[str, Any]) -> None:
    assert said([makers.ceph_patch()], ceph(status)) == [
        "blocker: CephCluster/rook-ceph in rook-ceph runs Ceph 16.2.6, the bundle has 15.2.4: Ceph cannot be downgraded"
    ]


@pytest.mark.parametrize("running", ["15.2.4-0", "15.2.3-0", "14.2.22-0", "master"])
def test_the_same_ceph_and_a_newer_one_are_not(running: str) -> None:
    assert said([makers.ceph_patch()], ceph({"version": {"version": running}})) == []


@pytest.mark.parametrize(
    ("tag", "older"),
    [
        ("v15", True),
        ("v16", False),
        ("v16.2.5", True),
        ("16.2.5", True),
        ("main", False),
        ("5-499", False),  # of rhceph-5-rhel8, which is Ceph 16
        ("6.1", False),
    ],
)
def test_a_tag_is_believed_as_far_as_it_goes(tag: str, older: bool) -> None:
    status = {"version": {"version": "16.2.6-0"}}
    document, body = makers.ceph_patch()
    body = {"spec": {"cephVersion": {"image": f"quay.io/ceph/ceph:{tag}"}}}
    assert bool(said([(document, body)], ceph(status))) is older


def for_rook(pair: makers.Pair, running: str | None) -> makers.Pair:
    return dataclasses.replace(pair[0], when=When(None, running)), pair[1]


@pytest.mark.parametrize(
    ("image", "versions", "count"),
    [
        ("docker.io/rook/ceph@sha256:" + "1" * 64, (), 1),
        ("rook/ceph:master", ("master",), 1),
        ("docker.io/rook/ceph@sha256:" + "1" * 64, ("v1.4.9",), 0),
        ("rook/ceph:v1.4.9", (), 0),
        (f"rook/ceph:v1.4.9@sha256:{'1' * 64}", (), 0),
        (makers.OPERATOR_IMAGE, (), 0),  # the bundle's own: nothing changes
    ],
)
def test_a_rook_whose_version_nobody_tells_is_told(image: str, versions: tuple[str, ...], count: int) -> None:
    found = dataclasses.replace(FOUND, rook_versions=versions)
    there = makers.stored(makers.deployment(image=image))
    lines = said([for_rook(makers.operator_patch(), ">=v1.4.0 <v1.6.0")], there, found=found)
    assert [line.startswith("warning: which Rook runs is not to be seen") for line in lines] == [True] * count
    assert said([for_rook(makers.operator_patch(), None)], there, found=found) == [], "for any Rook"


@pytest.mark.parametrize(
    ("running", "namespace", "refused"),
    [
        (">=v1.11.0 <v1.13.0", "rook-ceph", True),
        (">=v1.11.0 <v1.13.0", "other", False),
        (">=v1.14.0 <v1.16.0", "rook-ceph", False),
        (">=v1.19.0 <v1.21.0", "rook-ceph", False),
    ],
)
def test_csi_images_of_a_rook_without_csi_operator_are_refused_where_one_runs(
    running: str, namespace: str, refused: bool
) -> None:
    driver = {"kind": "Driver", "metadata": {"name": "rbd", "namespace": namespace}}
    found, there = dataclasses.replace(FOUND, rook_versions=()), makers.stored(makers.config_map())
    lines = said([for_rook(makers.csi_patch(), running)], there, found=found, drivers=(driver,))
    assert [line.startswith("blocker") and "Driver/rbd in rook-ceph" in line for line in lines] == [True] * refused
