from __future__ import annotations

from typing import Any

import pytest

from loader.cluster.cephwait import CephWait, ceph_verdict, daemons_verdict
from loader.cluster.csiwait import CsiWait, csi_verdict, image_set_verdict, roles_of, workload_keys, workload_verdict
from loader.cluster.objects import Key
from loader.cluster.rollout import RolloutWait, pod_troubles, rollout_verdict, selector_of
from loader.cluster.waits import DONE, FAILED, FAILING, PAUSED, WAITING, Patience, Verdict, await_done
from tests.unit.loader.cluster.fakecluster import FakeCluster
from tests.unit.loader.cluster.states import NoClock, ceph, workload

NEW = "x@sha256:1"
IMAGES = {"plugin": NEW, "registrar": NEW}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, DONE),
        ({"observedGeneration": 2}, WAITING),
        ({"updatedReplicas": 1}, WAITING),
        ({"readyReplicas": 1}, WAITING),
        ({"replicas": 3}, WAITING),
        (
            {"conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "too slow"}]},
            FAILED,
        ),
    ],
)
def test_a_deployments_rollout(status: dict[str, Any], state: str) -> None:
    item = workload(operator=NEW)
    item["status"] |= status
    assert rollout_verdict(item, {"operator": NEW}).state == state


def test_a_template_that_was_put_back_fails_and_names_the_image() -> None:
    verdict = rollout_verdict(workload(operator="x:v1"), {"operator": NEW})
    assert verdict.state == FAILING
    assert "container operator has x:v1" in verdict.text
    assert rollout_verdict(None, {}).state == FAILING


def test_no_wanted_replica_is_no_reason_to_wait() -> None:
    item = workload(operator=NEW)
    item["spec"]["replicas"] = 0
    item["status"] = {"observedGeneration": 3}
    assert rollout_verdict(item, {"operator": NEW}).text.endswith("(no replica is wanted)")


def test_pods_say_why_they_wait() -> None:
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}
    starting = {"waiting": {"reason": "ContainerCreating"}}
    pod = {"status": {"containerStatuses": [{"name": "a", "state": waiting}, {"name": "b", "state": starting}]}}
    assert pod_troubles((pod, pod)) == ["a ImagePullBackOff (Back-off pulling image)"]
    assert selector_of(workload()) == "app=rook-ceph-operator"


def test_the_operator_is_read_by_name() -> None:
    item = workload(operator=NEW)
    cluster = FakeCluster(item)
    key = Key("apps/v1", "Deployment", "rook-ceph", "rook-ceph-operator")
    assert await_done(RolloutWait("d", key, {"operator": NEW}), cluster.kubectl(), Patience(NoClock())).state == DONE
    assert len(cluster.lines) == 1


def test_roles_of_both_config_maps() -> None:
    assert roles_of({"ROOK_CSI_CEPH_IMAGE": NEW, "ROOK_LOG_LEVEL": "INFO"}) == {"plugin": NEW}
    assert roles_of({"plugin": NEW, "registrar": NEW, "other": "x"}) == IMAGES


def test_csi_workloads() -> None:
    assert csi_verdict([], IMAGES).state == DONE
    done = workload("DaemonSet", "csi-rbdplugin", csi_rbdplugin=NEW, driver_registrar=NEW, sidecar_of_theirs="y:1")
    late = workload("DaemonSet", "csi-cephfsplugin", csi_cephfsplugin="x:v1", driver_registrar=NEW)
    assert csi_verdict([done], IMAGES).state == DONE
    verdict = csi_verdict([done, late], IMAGES)
    assert (verdict.state, "csi-cephfsplugin without the new image" in verdict.text) == (WAITING, True)
    rolling = workload("DaemonSet", "csi-rbdplugin", csi_rbdplugin=NEW)
    rolling["status"]["numberReady"] = 1
    assert csi_verdict([rolling], IMAGES).state == WAITING


def test_on_delete_is_told_and_not_waited_for() -> None:
    item = workload("DaemonSet", "csi-rbdplugin", csi_rbdplugin=NEW)
    item["spec"]["updateStrategy"] = {"type": "OnDelete"}
    item["status"]["updatedNumberScheduled"] = 0
    verdict = csi_verdict([item], IMAGES)
    assert verdict.state == DONE
    assert "OnDelete" in verdict.text
    item["spec"]["template"]["spec"]["containers"][0]["image"] = "x:v1"
    assert workload_verdict(item, IMAGES).state == WAITING


def test_all_csi_names_are_read_in_one_call() -> None:
    names = {key.name for key in workload_keys("openshift-storage")}
    assert {"csi-rbdplugin", "csi-cephfsplugin-provisioner", "openshift-storage.rbd.csi.ceph.com-nodeplugin"} <= names
    cluster = FakeCluster(workload("DaemonSet", "csi-rbdplugin", csi_rbdplugin=NEW))
    assert await_done(CsiWait("d", "rook-ceph", IMAGES), cluster.kubectl(), Patience(NoClock())).state == DONE
    assert len(cluster.lines) == 1


def test_the_image_set_is_awaited_where_there_is_one() -> None:
    assert image_set_verdict(None, IMAGES).state == DONE
    assert image_set_verdict({"data": {"plugin": "x:v1", "registrar": NEW}}, IMAGES).state == WAITING
    assert image_set_verdict({"data": {"plugin": NEW, "registrar": NEW, "attacher": "y"}}, IMAGES).state == DONE


TWO = {"ceph version 15.2.3": 3, "ceph version 15.2.4": 6}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({}, DONE),
        ({"version": {"image": "ceph:v15"}}, WAITING),
        ({"version": {}}, WAITING),
        ({"phase": "Progressing"}, WAITING),
        ({"phase": "Connected"}, WAITING),
        ({"observedGeneration": 3}, WAITING),
        ({"observedGeneration": None}, DONE),
        ({"ceph": {"versions": {"overall": TWO}}}, WAITING),
        ({"ceph": {}}, DONE),
        ({"phase": "Progressing", "state": "Error", "message": "failed the ceph version check"}, FAILING),
    ],
)
def test_ceph_by_its_status(status: dict[str, Any], state: str) -> None:
    assert ceph_verdict(ceph(**status), "ceph@sha256:1").state == state


def test_ceph_put_back_gone_unreconciled_or_external() -> None:
    assert ceph_verdict(ceph("ceph:v15"), "ceph@sha256:1").state == FAILING
    assert ceph_verdict(None, "ceph@sha256:1").state == FAILING
    ignored = ceph()
    ignored["metadata"]["labels"]["ceph.rook.io/do-not-reconcile"] = "true"
    assert ceph_verdict(ignored, "ceph@sha256:1").state == PAUSED
    external = ceph(phase="Connected")
    external["spec"]["external"] = {"enable": True}
    assert ceph_verdict(external, "ceph@sha256:1").state == DONE


def test_daemons_have_one_version_and_are_rolled_out() -> None:
    fine = Verdict(DONE, "fine")
    one, other = workload(name="mon-a"), workload(name="mds-a")
    assert daemons_verdict([one, other], fine) is fine
    for label in ("rook-version", "ceph-version"):
        one["metadata"]["labels"] = {label: "v1"}
        other["metadata"]["labels"] = {label: "v2"}
        assert daemons_verdict([one, other], fine).text == f"daemons with {label} v1, v2"
    other["metadata"]["labels"] = one["metadata"]["labels"]
    other["status"]["readyReplicas"] = 1
    assert daemons_verdict([one, other], fine).state == WAITING


def test_daemons_are_looked_at_once_ceph_is_ready() -> None:
    key = Key("ceph.rook.io/v1", "CephCluster", "rook-ceph", "rook-ceph")
    late = workload(name="rook-ceph-mds-a")
    late["metadata"]["labels"] = {"rook_cluster": "rook-ceph"}
    late["status"]["readyReplicas"] = 1
    wait = CephWait("d", key, "ceph@sha256:1")
    assert "1 of 1 daemons" in wait.look(FakeCluster(late).kubectl(), {key: ceph()}, 0).text
    busy = FakeCluster(late)
    assert wait.look(busy.kubectl(), {key: ceph(phase="Progressing")}, 0).state == WAITING
    assert busy.lines == []


def test_daemons_of_the_old_rook_are_not_what_the_new_operator_makes() -> None:
    fine = Verdict(DONE, "fine")
    daemon = workload(name="mon-a")
    daemon["metadata"]["labels"] = {"rook-version": "v1.4.9"}
    verdict = daemons_verdict([daemon, daemon], fine, "v1.5.0")
    assert (verdict.state, verdict.text) == (WAITING, "daemons with rook-version v1.4.9, the new one is v1.5.0")
    new = workload(name="osd-1")
    new["metadata"]["labels"] = {"rook-version": "v1.5.0"}
    assert daemons_verdict([new, new], fine, "v1.5.0") is fine
    daemon["metadata"]["labels"]["ceph.rook.io/do-not-reconcile"] = "true"
    verdict = daemons_verdict([daemon, new], fine, "v1.5.0")
    assert (verdict.state, verdict.text) == (DONE, "fine; left alone by their label: mon-a")
