from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.objects import key_of
from loader.cluster.permissions import needed
from loader.cluster.prepare import prepare
from loader.cluster.survey import Resource, survey
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.fakecluster import FakeCluster

POOLS = Resource("machineconfiguration.openshift.io/v1", "MachineConfigPool", "machineconfigpools", False)
OPENSHIFT = Resource("user.openshift.io/v1", "User", "users", False)


def installed(*extra: dict[str, Any], **options: Any) -> FakeCluster:
    return FakeCluster(makers.deployment(), makers.config_map(), makers.ceph_cluster(), *extra, **options)


def test_survey_tells_what_cluster_this_is() -> None:
    mon = makers.deployment()
    mon["metadata"] = {
        "name": "rook-ceph-mon-a",
        "namespace": "rook-ceph",
        "labels": {"rook_cluster": "rook-ceph", "rook-version": "v1.5.0"},
    }
    found, _ = prepare(installed(mon).kubectl(), makers.article())
    assert (found.server, found.context, found.kubernetes) == ("https://api.site7:6443", "admin", "v1.27.8")
    assert found.user == "kube:admin"  # the server tells no name: the kubeconfig's
    assert found.openshift is None
    assert found.rook_versions == ("v1.5.0",)
    assert found.mirror_kinds == ("ImageDigestMirrorSet", "ImageContentSourcePolicy")
    assert found.serves("apps/v1/deployments")
    assert not found.serves("apps/v1/deployments/status")
    assert not found.serves("apps/v1/widgets")


def test_survey_asks_only_for_group_versions_that_exist() -> None:
    cluster = installed()
    survey(cluster.kubectl(), ["absent.example.com/v1"])
    assert not any("absent.example.com" in line for line in cluster.lines)


def test_openshift_names_the_user_itself() -> None:
    cluster = installed(resources=(*makers.RESOURCES, OPENSHIFT))
    survey(cluster.kubectl(), [])
    assert any("users/~" in line for line in cluster.lines)
    assert not any("selfsubjectreviews" in line for line in cluster.lines)


def test_unreachable_server_is_one_error_after_one_try() -> None:
    cluster = installed()
    cluster.broken = {"/apis": "The connection to the server api.site7:6443 was refused"}
    with pytest.raises(ClusterError) as caught:
        prepare(cluster.kubectl(), makers.article())
    assert caught.value.retryable
    assert len(cluster.lines) == 2


DRIVER = Resource("csi.ceph.io/v1", "Driver", "drivers", True)
FORBIDDEN = "Error from server (Forbidden): x is forbidden"


def csi_waiting() -> tuple[Any, object]:
    document, body = makers.csi_patch()
    return dataclasses.replace(document, wait="csi"), body


def test_lists_go_in_one_call_and_one_more_for_each_further_namespace() -> None:
    cluster = installed()
    prepare(cluster.kubectl(), [*makers.article(), makers.ceph_patch("other")])
    lists = [line for line in cluster.lines if line.startswith("get ") and "deployments.apps" in line]
    assert len(lists) == 2
    assert "nodes,deployments.apps --namespace=other" in lists[0]
    assert lists[1] == "get deployments.apps --namespace=rook-ceph -o json"


def test_drivers_that_may_not_be_read_are_an_error_and_daemons_are_not() -> None:
    cluster = installed(resources=(*makers.RESOURCES, DRIVER))
    cluster.broken = {"deployments.apps": FORBIDDEN}
    found, plan = prepare(cluster.kubectl(), [csi_waiting()])
    assert found.rook_versions == ()
    assert plan.findings == ()
    cluster.broken = {"drivers.csi.ceph.io": FORBIDDEN}
    with pytest.raises(ClusterError, match=r"listing drivers\.csi\.ceph\.io failed"):
        prepare(cluster.kubectl(), [csi_waiting()])


def test_every_missing_permission_is_listed_at_once() -> None:
    cluster = installed()
    cluster.denied = frozenset({"create imagedigestmirrorsets", "patch deployments", "patch cephclusters"})
    _, plan = prepare(cluster.kubectl(), makers.article())
    (finding,) = plan.findings
    assert (finding.level, finding.text) == (
        "blocker",
        (
            "kube:admin may not make 3 of the requests this bundle needs: not allowed: "
            "create imagedigestmirrorsets.config.openshift.io; patch deployments.apps/rook-ceph-operator in "
            "rook-ceph; patch cephclusters.ceph.rook.io/rook-ceph in rook-ceph"
        ),
    )
    with pytest.raises(ClusterError, match="1 blocker"):
        plan.require_clear()
    assert cluster.writes == []
    assert cluster.lines.count("review") == 1


@pytest.mark.parametrize("answer", [{}, {"status": {}}, {"status": {"allowed": "true"}}, {"status": {"denied": False}}])
def test_answer_without_a_clear_yes_is_a_no(answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = installed()
    monkeypatch.setattr(cluster, "_reviewed", lambda review: answer)
    _, plan = prepare(cluster.kubectl(), [makers.operator_patch()])
    assert "may not make 2 of the requests" in plan.findings[0].text


def test_what_the_waits_read_is_asked_for_too() -> None:
    cluster = installed(resources=(*makers.RESOURCES, makers.IDMS, makers.ICSP, POOLS))
    cluster.denied = frozenset(
        {"list machineconfigpools", "get machineconfigs", "list deployments", "get daemonsets", "get deployments"}
    )
    waits = {"ImageDigestMirrorSet": "pools", "ConfigMap": "csi", "CephCluster": "ceph"}
    pairs = [(d, body) for d, body in makers.article() if d.target is not None]
    waiting = [(dataclasses.replace(d, wait=waits.get(d.target.kind)), body) for d, body in pairs if d.target]
    _, plan = prepare(cluster.kubectl(), waiting)
    text = next(finding.text for finding in plan.findings if finding.level == "blocker")
    for words in (
        "list machineconfigpools.machineconfiguration.openshift.io",
        "get machineconfigs.machineconfiguration.openshift.io",
        "list deployments.apps in rook-ceph",
        "get daemonsets.apps in rook-ceph",
    ):
        assert words in text


def test_where_objects_may_not_even_be_read_all_that_is_missing_is_listed() -> None:
    cluster = installed()
    cluster.broken = {"get --ignore-not-found": 'Error from server (Forbidden): deployments.apps "x" is forbidden'}
    cluster.denied = frozenset({"get deployments", "patch deployments", "patch cephclusters"})
    with pytest.raises(ClusterError, match="may not make 3 of the requests") as caught:
        prepare(cluster.kubectl(), makers.article())
    assert "get deployments.apps/rook-ceph-operator in rook-ceph" in caught.value.why
    cluster.denied = frozenset()
    with pytest.raises(ClusterError, match="reading"):
        prepare(cluster.kubectl(), makers.article())


def test_a_client_that_is_too_old_stops_before_anything_is_written() -> None:
    cluster = installed()
    cluster.client = "kubectl/v1.17.3 (linux/amd64) kubernetes/06ad960"
    found, plan = prepare(cluster.kubectl(), [makers.operator_patch()])
    assert found.client == "kubectl 1.17.3"
    assert [finding.level for finding in plan.findings] == ["blocker"]


def test_permissions_are_asked_only_for_what_changes() -> None:
    cluster = installed()
    found, plan = prepare(cluster.kubectl(), [*makers.article(), makers.manifests(makers.config_map())])
    assert {str(access) for access in needed(plan.changes, found)} == {
        "create imagedigestmirrorsets.config.openshift.io",
        "get imagedigestmirrorsets.config.openshift.io/rook-ceph-images",
        "get deployments.apps/rook-ceph-operator in rook-ceph",
        "patch deployments.apps/rook-ceph-operator in rook-ceph",
        "get configmaps/rook-ceph-operator-config in rook-ceph",
        "patch configmaps/rook-ceph-operator-config in rook-ceph",
        "get cephclusters.ceph.rook.io/rook-ceph in rook-ceph",
        "patch cephclusters.ceph.rook.io/rook-ceph in rook-ceph",
    }


def test_blocked_plan_needs_nothing_and_is_returned_with_its_findings() -> None:
    cluster = FakeCluster()
    cluster.denied = frozenset({"patch deployments"})
    _, plan = prepare(cluster.kubectl(), [makers.operator_patch()])
    assert [finding.level for finding in plan.findings] == ["blocker"]


def test_preview_decides_what_server_side_apply_changes() -> None:
    cluster = installed()
    spelled = makers.config_map(cpu="1000m")
    cluster.on_store = lambda item: cluster.objects[key_of(item, "an object")]  # the server calls it the same
    _, plan = prepare(cluster.kubectl(), [makers.manifests(spelled)])
    assert [(change.action, change.diff, change.body) for change in plan.changes] == [("unchanged", "", None)]


def test_preview_finds_a_change_that_an_overlay_does_not_see() -> None:
    cluster = installed()

    def without_the_old_key(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "data": {}}

    cluster.on_store = without_the_old_key
    _, plan = prepare(cluster.kubectl(), [makers.manifests(makers.config_map())])
    assert plan.changes[0].action == "patch"
    assert plan.changes[0].body == makers.config_map()
    assert '-    "ROOK_LOG_LEVEL": "INFO"' in plan.changes[0].diff


def test_ownership_conflict_shows_before_anything_is_written() -> None:
    cluster = installed()
    cluster.broken = {"apply": 'error: Apply failed with 1 conflict: conflict with "helm" using v1: .data.x'}
    with pytest.raises(ClusterError) as caught:
        prepare(cluster.kubectl(), [*makers.article(), makers.manifests(makers.config_map(a="b"))])
    assert 'conflict with "helm"' in caught.value.why
    assert cluster.writes == []
