from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.apply import TRIES, Applied, apply_plan, rehearse
from loader.cluster.objects import Key
from loader.cluster.plan import Plan
from loader.cluster.prepare import prepare
from loader.cluster.waits import Clock, Patience
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.fakecluster import FakeCluster

DEPLOYMENT = Key("apps/v1", "Deployment", "rook-ceph", "rook-ceph-operator")
IDMS = Key("config.openshift.io/v1", "ImageDigestMirrorSet", None, "rook-ceph-images")


class NoClock(Clock):
    def __init__(self) -> None:
        self.seconds = 0.0

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def now(self) -> float:
        return self.seconds


def installed() -> FakeCluster:
    return FakeCluster(makers.deployment(), makers.config_map(), makers.ceph_cluster())


def run(cluster: FakeCluster, *pairs: makers.Pair) -> tuple[Applied, ...]:
    _, plan = prepare(cluster.kubectl(), pairs)
    return apply_plan(cluster.kubectl(), plan, patience=Patience(NoClock()))


def image(cluster: FakeCluster) -> Any:
    return cluster.objects[DEPLOYMENT]["spec"]["template"]["spec"]["containers"][0]["image"]


def test_article_is_applied_in_order_and_told_one_by_one() -> None:
    cluster = installed()
    told: list[Applied] = []
    _, plan = prepare(cluster.kubectl(), makers.article())
    done = apply_plan(cluster.kubectl(), plan, on_applied=told.append, patience=Patience(NoClock()))
    assert [(applied.kind, applied.action) for applied in done] == [
        ("ImageDigestMirrorSet", "create"),
        ("ImageContentSourcePolicy", "skip"),
        ("Deployment", "patch"),
        ("ConfigMap", "patch"),
        ("CephCluster", "patch"),
    ]
    assert told == list(done)
    assert image(cluster) == makers.OPERATOR_IMAGE
    assert all(a.version_after != a.version_before for a in done if a.action != "skip")


def test_second_run_writes_nothing() -> None:
    cluster = installed()
    run(cluster, *makers.article())
    versions = {key: item["metadata"]["resourceVersion"] for key, item in cluster.objects.items()}
    cluster.lines.clear()
    done = run(cluster, *makers.article())
    assert {applied.action for applied in done} == {"unchanged", "skip"}
    assert cluster.writes == []
    assert versions == {key: item["metadata"]["resourceVersion"] for key, item in cluster.objects.items()}


def test_whole_apply_needs_few_calls() -> None:
    cluster = installed()
    run(cluster, *makers.article())
    assert len(cluster.lines) <= 20, cluster.lines


def test_preparing_and_rehearsing_store_nothing() -> None:
    cluster = installed()
    _, plan = prepare(cluster.kubectl(), [*makers.article(), makers.manifests(makers.config_map("rook-ceph", a="b"))])
    rehearse(cluster.kubectl(), plan)
    assert cluster.writes == []
    assert IDMS not in cluster.objects
    assert len([line for line in cluster.lines if "--dry-run=server" in line]) == 6


def test_rehearsal_leaves_out_what_stands_on_new_objects() -> None:
    cluster = FakeCluster()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rook-ceph"}}
    early = makers.document("documents/manifests/all.json", "before-rook", "apply")
    items = {"apiVersion": "v1", "kind": "List", "items": [namespace, makers.deployment()]}
    _, plan = prepare(cluster.kubectl(), [(early, items), makers.operator_patch()])
    rehearse(cluster.kubectl(), plan)
    assert [line.split()[0] for line in cluster.lines if "--dry-run=server" in line] == ["apply"]
    assert [a.action for a in apply_plan(cluster.kubectl(), plan, patience=Patience(NoClock()))] == [
        "create",
        "create",
        "unchanged",
    ]
    assert image(cluster) == makers.OPERATOR_IMAGE


def test_race_lost_once_is_read_again_and_keeps_the_other_change() -> None:
    cluster = installed()

    def scale(line: str) -> None:
        if line.startswith("patch deployment") and cluster.objects[DEPLOYMENT]["spec"]["replicas"] == 1:
            item = cluster.objects[DEPLOYMENT]
            cluster.put({**item, "spec": {**item["spec"], "replicas": 0}})

    cluster.on_write = scale
    done = run(cluster, makers.operator_patch())
    assert done[0].action == "patch"
    assert image(cluster) == makers.OPERATOR_IMAGE
    assert cluster.objects[DEPLOYMENT]["spec"]["replicas"] == 0


def test_race_lost_every_time_ends_and_is_never_forced() -> None:
    cluster = installed()
    cluster.on_write = lambda line: None if "dry-run" in line else _touch(cluster, DEPLOYMENT)
    with pytest.raises(ClusterError, match=f"each of {TRIES} times") as caught:
        run(cluster, makers.operator_patch())
    assert caught.value.retryable
    assert len(cluster.writes) == TRIES
    assert image(cluster) == "rook/ceph:v1.5.0"


def test_race_lost_to_someone_with_the_same_wish_is_unchanged() -> None:
    cluster = installed()

    def first(line: str) -> None:
        if image(cluster) != makers.OPERATOR_IMAGE:
            cluster.put(makers.deployment(image=makers.OPERATOR_IMAGE))

    cluster.on_write = first
    assert [applied.action for applied in run(cluster, makers.operator_patch())] == ["unchanged"]


def test_mirror_object_made_meanwhile_by_someone_else_is_left_alone() -> None:
    cluster = installed()
    foreign = makers.idms(sources=("quay.io/other",))[1]
    cluster.on_write = lambda line: None if IDMS in cluster.objects else _ignore(cluster.put(foreign))
    with pytest.raises(ClusterError) as caught:
        run(cluster, makers.idms())
    assert "not made by this loader" in caught.value.why
    assert cluster.objects[IDMS]["spec"] == foreign["spec"]


def test_failure_stops_and_names_what_was_applied() -> None:
    cluster = installed()
    _, plan = prepare(cluster.kubectl(), makers.article())
    cluster.broken = {"patch configmap": "Error from server (ServiceUnavailable): etcdserver: leader changed"}
    with pytest.raises(ClusterError) as caught:
        apply_plan(cluster.kubectl(), plan, patience=Patience(NoClock()))
    assert "leader changed" in caught.value.why
    names = "ImageDigestMirrorSet/rook-ceph-images (create), Deployment/rook-ceph-operator in rook-ceph (patch)"
    assert f"applied before it: {names}" in caught.value.why
    assert caught.value.retryable
    assert not any("cephcluster" in line for line in cluster.writes)


def test_first_failure_says_that_nothing_was_changed() -> None:
    cluster = installed()
    _, plan = prepare(cluster.kubectl(), makers.article())
    denied = 'Error from server (Forbidden): admission webhook "mirrors" denied the request: no quay.io here'
    cluster.broken = {"create -f - -o json --field": denied}
    with pytest.raises(ClusterError) as caught:
        apply_plan(cluster.kubectl(), plan, patience=Patience(NoClock()))
    assert "no quay.io here" in caught.value.why
    assert "this run changed nothing before it" in caught.value.why
    assert "policy of this cluster" in caught.value.hint


def test_webhook_that_puts_the_image_back_is_found_out() -> None:
    cluster = installed()
    cluster.on_store = lambda item: makers.deployment() if item["kind"] == "Deployment" else item
    with pytest.raises(ClusterError, match="accepted but does not hold"):
        run(cluster, *makers.article())
    assert not any("cephcluster" in line for line in cluster.writes)


def test_operator_that_puts_the_image_back_before_the_end_is_found_out() -> None:
    cluster = installed()
    cluster.on_write = lambda line: _ignore(cluster.put(makers.deployment())) if "cephcluster" in line else None
    with pytest.raises(ClusterError, match="Deployment/rook-ceph-operator in rook-ceph was accepted but does not hold"):
        run(cluster, *makers.article())


def test_object_gone_before_the_end_is_found_out() -> None:
    cluster = installed()
    cluster.on_write = lambda line: _ignore(cluster.objects.pop(IDMS, None)) if "cephcluster" in line else None
    with pytest.raises(ClusterError) as caught:
        run(cluster, *makers.article())
    assert "it is gone again" in caught.value.why


def test_manifest_list_is_one_call_per_wave() -> None:
    cluster = FakeCluster()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rook-ceph"}}
    maps = [makers.config_map(), makers.deployment(), makers.ceph_cluster()]
    done = run(cluster, makers.manifests(*maps, namespace))
    assert [applied.kind for applied in done] == ["Namespace", "ConfigMap", "Deployment", "CephCluster"]
    assert len(cluster.writes) == 2


def test_new_kind_is_waited_for() -> None:
    crd: dict[str, Any] = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": {"kind": "Widget"}},
    }
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "n"}}
    cluster, clock = FakeCluster(), NoClock()
    _, plan = prepare(cluster.kubectl(), [makers.manifests(widget, crd)])
    with pytest.raises(ClusterError, match=r"CustomResourceDefinition/widgets\.example\.com is not served"):
        apply_plan(cluster.kubectl(), plan, patience=Patience(clock))
    assert clock.seconds > 29
    established = {"conditions": [{"type": "Established", "status": "True"}]}
    cluster.on_store = lambda item: {**item, "status": established} if item["kind"].startswith("Custom") else item
    done = run(cluster, makers.manifests(widget, {**crd, "spec": {**crd["spec"], "scope": "Namespaced"}}))
    assert [applied.action for applied in done] == ["patch", "create"]


def test_plan_with_a_blocker_is_not_carried_out() -> None:
    cluster = FakeCluster()
    _, plan = prepare(cluster.kubectl(), makers.article())
    for carry_out in (apply_plan, rehearse):
        with pytest.raises(ClusterError, match="blocker"):
            carry_out(cluster.kubectl(), plan)
    assert cluster.objects == {}


def test_server_side_no_op_is_told_as_unchanged() -> None:
    """The preview may be missing (a kind just defined); the resourceVersion tells the truth."""
    cluster = installed()
    _, plan = prepare(cluster.kubectl(), [makers.manifests(makers.config_map(a="b"))])
    cluster.put(makers.config_map(a="b"))
    changed = [c for c in plan.changes if c.writes]
    version = cluster.objects[Key("v1", "ConfigMap", "rook-ceph", "rook-ceph-operator-config")]["metadata"]
    late = Plan(tuple(_at(change, version["resourceVersion"]) for change in changed), ())
    assert [a.action for a in apply_plan(cluster.kubectl(), late, patience=Patience(NoClock()))] == ["unchanged"]


def _at(change: Any, version: str) -> Any:
    return dataclasses.replace(change, resource_version=version)


def _touch(cluster: FakeCluster, key: Key) -> None:
    cluster.put(cluster.objects[key])


def _ignore(value: object) -> None:
    del value
