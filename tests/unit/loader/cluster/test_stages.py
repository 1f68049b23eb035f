from __future__ import annotations

import dataclasses

from loader.cluster.objects import POKE
from loader.cluster.plan import Plan
from loader.cluster.prepare import prepare
from loader.cluster.stages import stages
from loader.cluster.survey import Resource
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.fakecluster import FakeCluster

DRIVER = Resource("csi.ceph.io/v1", "Driver", "drivers", True)
WAITS = {"ImageDigestMirrorSet": "pools", "Deployment": "rollout", "ConfigMap": "csi", "CephCluster": "ceph"}


def waiting(pair: makers.Pair) -> makers.Pair:
    document, body = pair
    kind = document.target.kind if document.target else ""
    return dataclasses.replace(document, wait=WAITS.get(kind)), body


def cut(plan: Plan) -> list[tuple[list[str], list[str]]]:
    found = stages(plan.changes)
    return [([c.kind for c in stage.changes], [type(wait).__name__ for wait in stage.waits]) for stage in found]


def planned(*pairs: makers.Pair, cluster: FakeCluster | None = None) -> Plan:
    there = cluster or FakeCluster(makers.deployment(), makers.config_map(), makers.ceph_cluster())
    return prepare(there.kubectl(), [waiting(pair) for pair in pairs])[1]


def test_operator_and_csi_images_go_together_all_else_waits() -> None:
    assert cut(planned(*makers.article()[:5])) == [
        (["ImageDigestMirrorSet", "ImageContentSourcePolicy"], ["PoolWait"]),
        (["Deployment", "ConfigMap"], ["RolloutWait", "CsiWait"]),
        (["CephCluster"], ["CephWait"]),
    ]


def test_the_image_set_waits_for_the_operator() -> None:
    document, body = makers.csi_patch()
    assert document.target is not None
    name = "rook-csi-operator-image-set-configmap"
    newer = dataclasses.replace(document, target=dataclasses.replace(document.target, name=name))
    found = cut(planned(makers.operator_patch(), (newer, {"data": {"plugin": makers.CEPHCSI_IMAGE}})))
    assert found == [(["Deployment"], ["RolloutWait"]), (["ConfigMap"], ["CsiWait"])]
    assert body["data"]


def test_drivers_are_poked_after_rook_copied_its_images_and_before_csi_is_awaited() -> None:
    driver = {
        "apiVersion": "csi.ceph.io/v1",
        "kind": "Driver",
        "metadata": {"name": "rook-ceph.rbd.csi.ceph.com", "namespace": "rook-ceph"},
        "spec": {},
    }
    operator, config = makers.deployment(), makers.config_map()
    cluster = FakeCluster(operator, config, driver, resources=(*makers.RESOURCES, DRIVER))
    plan = planned(makers.operator_patch(), makers.csi_patch(), cluster=cluster)
    assert cut(plan) == [
        (["Deployment", "ConfigMap"], ["RolloutWait", "ImageSetWait"]),
        (["Driver"], ["CsiWait"]),
    ]
    poke = plan.changes[2]
    assert poke.body is not None
    first = poke.body["metadata"]["annotations"][POKE]
    cluster.put({**driver, "metadata": {**driver["metadata"], "annotations": {POKE: first}}})  # type: ignore[dict-item]
    assert planned(makers.csi_patch(), cluster=cluster).changes[1].action == "unchanged"
    other = makers.csi_patch(image="quay.io/cephcsi/cephcsi@sha256:" + "2" * 64)
    assert planned(other, cluster=cluster).changes[1].action == "patch"


def test_what_is_skipped_is_not_waited_for() -> None:
    external = makers.ceph_cluster()
    external["spec"] = {"external": {"enable": True}}
    plan = planned(makers.ceph_patch(), cluster=FakeCluster(external))
    assert plan.changes[0].reason == "an external Ceph without an image of its own"
    assert cut(plan) == [(["CephCluster"], [])]
