"""What is Helm's or a catalog's is left to them, and what hangs on it as well."""

from __future__ import annotations

from typing import Any

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.objects import key_of
from loader.cluster.owners import Release
from loader.cluster.plan import Plan, make_plan
from tests.unit.loader.cluster import makers

HELM = {"meta.helm.sh/release-name": "rook", "meta.helm.sh/release-namespace": "rook-ceph"}


def plan(*documents: makers.Pair, at: tuple[dict[str, Any], ...]) -> Plan:
    current = {key_of(item, "an object"): item for item in at}
    return make_plan(documents, makers.survey(), current)


def owned(item: dict[str, Any], **labels: str) -> dict[str, Any]:
    item["metadata"] |= {"annotations": HELM, "labels": {"app.kubernetes.io/managed-by": "Helm", **labels}}
    return item


def rook(*, namespace: str = "rook-ceph") -> tuple[makers.Pair, ...]:
    return (makers.operator_patch(namespace), makers.csi_patch(namespace), makers.ceph_patch(namespace))


def actions(found: Plan) -> dict[str, tuple[str, str]]:
    return {change.kind: (change.action, change.reason) for change in found.changes}


def test_helm_comes_first_and_the_rest_of_rook_after_it() -> None:
    operator = owned(makers.deployment(), **{"helm.sh/chart": "rook-ceph-v1.4.9"})
    found = plan(*rook(), at=(operator, makers.config_map(), makers.ceph_cluster()))
    assert actions(found) == {
        "Deployment": ("skip", "Helm's release rook owns it"),
        "ConfigMap": ("skip", "after helm upgrade"),
        "CephCluster": ("skip", "after helm upgrade"),
    }
    key = "Deployment/rook-ceph-operator in rook-ceph"
    assert found.releases == (Release("rook", "rook-ceph", "rook-ceph", "v1.4.9", key),)
    found.require_clear()


def test_once_helm_has_the_images_the_rest_is_patched() -> None:
    operator = owned(makers.deployment(image=makers.OPERATOR_IMAGE))
    data = owned(makers.config_map(ROOK_CSI_CEPH_IMAGE=makers.CEPHCSI_IMAGE))
    found = plan(*rook(), at=(operator, data, makers.ceph_cluster()))
    assert found.releases == ()
    assert [change.action for change in found.changes] == ["unchanged", "unchanged", "patch"]


def test_a_label_is_enough_and_the_cluster_has_a_chart_of_its_own() -> None:
    cluster = makers.ceph_cluster()
    cluster["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
    found = plan(makers.ceph_patch(), at=(cluster,))
    (release,) = found.releases
    assert (release.name, release.namespace, release.chart, release.version) == (
        "rook-ceph-cluster",
        "rook-ceph",
        "rook-ceph-cluster",
        "",
    )


@pytest.mark.parametrize("has", [True, False])
def test_an_old_charts_operator_has_csi_images_in_its_environment(*, has: bool) -> None:
    operator = owned(makers.deployment(image=makers.OPERATOR_IMAGE))
    env = operator["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append({"name": "ROOK_CSI_CEPH_IMAGE", "value": makers.CEPHCSI_IMAGE if has else "quay.io/cephcsi/cephcsi:v3"})
    found = plan(*rook(), at=(operator, makers.ceph_cluster()))
    action, reason = actions(found)["ConfigMap"]
    assert (action, bool(found.releases)) == ("skip", not has)
    assert ("operator's environment" in reason) == has


@pytest.mark.parametrize("kind", ["ClusterServiceVersion", "StorageCluster"])
def test_what_a_catalog_updates_is_a_blocker_that_names_it(kind: str) -> None:
    operator = makers.deployment()
    operator["metadata"]["ownerReferences"] = [{"kind": kind, "name": "odf-operator.v4.14", "uid": "1"}]
    found = plan(makers.idms(), *rook(), at=(operator, makers.config_map(), makers.ceph_cluster()))
    assert [change.action for change in found.changes] == ["create", "skip", "skip", "skip"]
    with pytest.raises(ClusterError) as caught:
        found.require_clear()
    assert f"{kind}/odf-operator.v4.14" in caught.value.why
    assert caught.value.hint == "ODF is updated by its catalog: `load --only mirrors`"
    # What is as it should be needs nobody: no blocker for a load that changes nothing.
    same = makers.deployment(image=makers.OPERATOR_IMAGE)
    same["metadata"]["ownerReferences"] = operator["metadata"]["ownerReferences"]
    assert plan(makers.operator_patch(), at=(same,)).findings == ()


@pytest.mark.parametrize(
    ("image", "refused"),
    [
        ("docker.io/rook/ceph:v1.20.6", True),
        ("rook/ceph:v1.5.0", False),
        ("rook/ceph:master", False),
        (makers.OPERATOR_IMAGE, False),
        ("reg:5000/rook/ceph", False),
    ],
)
def test_before_any_daemon_runs_the_operators_tag_tells_the_version(image: str, *, refused: bool) -> None:
    at = {key_of(item, "x"): item for item in (makers.deployment(image=image), makers.config_map())}
    found = make_plan((makers.operator_patch(), makers.csi_patch()), makers.survey(rook=()), at)
    texts = [finding.text for finding in found.findings if finding.level == "blocker"]
    assert bool(texts) == refused
    assert all("the cluster runs v1.20.6" in text for text in texts)
