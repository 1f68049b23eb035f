"""What Rook will do, said before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from loader.cluster.objects import Key
from loader.cluster.rookeffect import Turn, csi_keys, rook_effects, rook_words
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.states import workload

NEW = "docker.io/ceph/ceph@sha256:" + "a" * 64
TAGS = {"sha256:" + "a" * 64: "v15.2.4", "sha256:" + "b" * 64: "v15"}
CEPH = Key("ceph.rook.io/v1", "CephCluster", "rook-ceph", "rook-ceph")
MAP = Key("v1", "ConfigMap", "rook-ceph", "rook-ceph-operator-config")
OPERATOR = Key("apps/v1", "Deployment", "rook-ceph", "rook-ceph-operator")


def ceph(image: str = NEW, **status: Any) -> Turn:
    return Turn(CEPH, {**makers.ceph_cluster(), "status": status}, makers.ceph_cluster(image=image))


def daemon_set(image: str, nodes: int, strategy: str = "RollingUpdate", namespace: str = "rook-ceph") -> dict[str, Any]:
    item = workload("DaemonSet", "csi-rbdplugin", csi_rbdplugin=image)
    item["metadata"]["namespace"] = namespace
    item["spec"]["updateStrategy"] = {"type": strategy}
    item["status"] = {"desiredNumberScheduled": nodes}
    return item


def csi(image: str = "new") -> Turn:
    return Turn(MAP, makers.config_map(), makers.config_map(ROOK_CSI_CEPH_IMAGE=image))


def said(*turns: Turn, workloads: tuple[dict[str, Any], ...] = (), daemons: int = 0) -> str:
    return rook_words(rook_effects(turns, workloads, TAGS, daemons))


def test_the_line_of_a_good_session() -> None:
    versions = {"overall": {"ceph version 15.2.3 (d289bbd) octopus (stable)": 42}}
    turns = (ceph(version={"version": "15.2.3-0"}, ceph={"versions": versions}), csi())
    line = said(*turns, workloads=(daemon_set("old", 6), daemon_set("old", 9, namespace="other")))
    assert line == "Ceph 15.2.3 -> 15.2.4: 42 daemons one by one · CSI plugins on 6 nodes"


@pytest.mark.parametrize(
    ("turn", "line"),
    [
        (ceph(), "Ceph 15.2.3 -> 15.2.4: 7 daemons one by one"),
        (ceph("docker.io/ceph/ceph@sha256:" + "b" * 64), "Ceph 15.2.3 -> v15: 7 daemons one by one"),
        (ceph("docker.io/ceph/ceph@sha256:" + "c" * 64), "Ceph 15.2.3 -> sha256:cccccccccccc: 7 daemons one by one"),
        # Another image of the same version restarts every daemon as well.
        (ceph(version={"version": "15.2.4-0"}), "Ceph 15.2.4: 7 daemons one by one"),
        (ceph("ceph/ceph:v15.2.3"), ""),
        (Turn(CEPH, None, makers.ceph_cluster()), ""),
    ],
)
def test_versions_come_from_status_tag_and_digest(turn: Turn, line: str) -> None:
    assert said(turn, daemons=7) == line


def test_an_external_ceph_does_nothing_here() -> None:
    after = makers.ceph_cluster(image=NEW)
    after["spec"]["external"] = {"enable": True}
    assert said(Turn(CEPH, makers.ceph_cluster(), after)) == ""


def test_an_operator_alone_restarts_daemons_too() -> None:
    turn = Turn(OPERATOR, makers.deployment(), makers.deployment(image="new"))
    assert said(turn, daemons=42) == "Rook operator, after it up to 42 daemons one by one"
    assert said(turn) == "Rook operator"
    assert said(turn, ceph(), daemons=42) == said(ceph(), daemons=42)
    assert said(Turn(OPERATOR, makers.deployment(), makers.deployment())) == ""


def test_plugins_that_change_by_hand_and_those_that_do_not_change() -> None:
    assert said(csi(), workloads=(daemon_set("old", 1),)) == "CSI plugins on 1 node"
    by_hand = "CSI plugins on 3 nodes when someone deletes their pods (OnDelete)"
    assert said(csi(), workloads=(daemon_set("old", 3, "OnDelete"),)) == by_hand
    assert said(csi(), workloads=(daemon_set("new", 3),)) == ""
    deployment = {**daemon_set("old", 0), "kind": "Deployment"}
    assert said(csi(), workloads=(deployment,)) == "CSI provisioners"
    assert said(csi()) == ""


def test_workloads_are_looked_for_where_csi_images_change() -> None:
    document, body = makers.csi_patch("storage")
    assert csi_keys([(document, body)]) == ()
    waiting = type(document)(**{**vars(document), "wait": "csi"})
    keys = csi_keys([(waiting, body)])
    assert {key.namespace for key in keys} == {"storage"}
    assert "csi-rbdplugin" in {key.name for key in keys}
