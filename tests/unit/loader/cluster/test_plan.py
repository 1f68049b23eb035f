from __future__ import annotations

import json
from typing import Any

import pytest

from loader.bundle.errors import ClusterError, FormatError
from loader.cluster.mirrorsets import MirrorWay
from loader.cluster.objects import Key, key_of
from loader.cluster.plan import Change, Plan, make_plan
from loader.cluster.survey import Survey
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.makers import ICSP, IDMS, RESOURCES

OURS = {"app.kubernetes.io/managed-by": "airgap-loader"}
INSTALLED = (makers.deployment(), makers.config_map(), makers.ceph_cluster())


def plan(*pairs: makers.Pair, at: tuple[Any, ...] = INSTALLED, cluster: Survey | None = None, **options: Any) -> Plan:
    current = {key_of(item, "an object"): makers.stored(item) for item in at}
    return make_plan(pairs, cluster or makers.survey(), current, **options)


def change_of(found: Plan, kind: str) -> Change:
    return next(change for change in found.changes if change.kind == kind)


def ours(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "metadata": {**item["metadata"], "labels": dict(OURS)}}


def blockers(found: Plan) -> str:
    return " | ".join(finding.text for finding in found.findings if finding.level == "blocker")


def test_article_on_a_rook_cluster() -> None:
    found = plan(*makers.article())
    assert [(c.kind, c.action, c.patch_type) for c in found.changes] == [
        ("ImageDigestMirrorSet", "create", None),
        ("ImageContentSourcePolicy", "skip", None),
        ("Deployment", "patch", "strategic"),
        ("ConfigMap", "patch", "merge"),
        ("CephCluster", "patch", "merge"),
    ]
    assert found.findings == ()
    assert change_of(found, "ImageContentSourcePolicy").reason == "ImageDigestMirrorSet is served and preferred"
    body = change_of(found, "ImageDigestMirrorSet").body
    assert body is not None
    assert body["metadata"]["labels"] == OURS


def test_what_the_plan_leads_to_is_unchanged_the_second_time() -> None:
    first = plan(*makers.article())
    after = [json.loads(json.dumps(change.after)) for change in first.changes if change.after is not None]
    second = plan(*makers.article(), at=tuple(after))
    assert {change.action for change in second.changes} == {"unchanged", "skip"}
    assert second.writes == ()
    assert all(change.diff == "" for change in second.changes)


def test_phases_decide_the_order_not_the_bundle() -> None:
    after, before = makers.manifests(makers.config_map(), phase="after-rook"), makers.manifests(makers.config_map("x"))
    early = (makers.document("documents/manifests/early.json", "before-rook", "apply"), before[1])
    found = plan(after, makers.ceph_patch(), early, makers.idms())
    assert [(change.kind, change.namespace) for change in found.changes] == [
        ("ImageDigestMirrorSet", None),
        ("ConfigMap", "x"),
        ("CephCluster", "rook-ceph"),
        ("ConfigMap", "rook-ceph"),
    ]


@pytest.mark.parametrize(
    ("served", "created", "skipped"),
    [
        ((IDMS, ICSP), "ImageDigestMirrorSet", "ImageContentSourcePolicy"),
        ((ICSP,), "ImageContentSourcePolicy", "ImageDigestMirrorSet"),
        ((IDMS,), "ImageDigestMirrorSet", "ImageContentSourcePolicy"),
    ],
)
def test_mirror_kind_is_the_first_that_is_served(served: tuple[Any, ...], created: str, skipped: str) -> None:
    found = plan(makers.icsp(), makers.idms(), cluster=makers.survey(resources=(*RESOURCES, *served)))
    assert change_of(found, created).action == "create"
    assert change_of(found, skipped).action == "skip"
    assert change_of(found, skipped).reason


def test_bundle_with_one_kind_uses_it_although_the_other_is_preferred() -> None:
    assert change_of(plan(makers.icsp()), "ImageContentSourcePolicy").action == "create"


def test_no_mirror_kind_served_names_the_node_file() -> None:
    found = plan(*makers.article(), cluster=makers.survey(resources=RESOURCES))
    with pytest.raises(ClusterError) as caught:
        found.require_clear()
    assert "documents/nodes/registries.conf" in caught.value.hint
    assert "--mirrors manual" in caught.value.hint


@pytest.mark.parametrize("mode", ["manual", "none"])
def test_mirror_modes_leave_the_objects_out(mode: str) -> None:
    found = plan(*makers.article(), cluster=makers.survey(resources=RESOURCES), way=MirrorWay(mode))
    assert blockers(found) == ""
    assert change_of(found, "ImageDigestMirrorSet").reason == f"--mirrors {mode}"
    assert change_of(found, "Deployment").action == "patch"


def test_mirror_object_of_someone_else_is_a_blocker() -> None:
    foreign = makers.idms(sources=("quay.io/other",))[1]
    found = plan(makers.idms(), at=(foreign,))
    assert "ImageDigestMirrorSet/rook-ceph-images is there already" in blockers(found)
    assert found.writes == ()


def test_entries_and_mirrors_only_the_cluster_has_are_kept_behind_ours() -> None:
    old = ours(makers.idms(sources=("docker.io/ceph", "quay.io/old"))[1])
    old["spec"]["imageDigestMirrors"][0]["mirrors"] = ["elsewhere:5000/ceph", "reg.airgap.local:5000/ceph"]
    body = change_of(plan(makers.idms(), at=(old,)), "ImageDigestMirrorSet").body
    assert body is not None
    entries = {entry["source"]: entry["mirrors"] for entry in body["spec"]["imageDigestMirrors"]}
    assert list(entries) == sorted([*makers.SOURCES, "quay.io/old"])
    assert entries["docker.io/ceph"] == ["reg.airgap.local:5000/ceph", "elsewhere:5000/ceph"]
    assert entries["quay.io/old"] == ["reg.airgap.local:5000/old"]


def test_a_second_load_to_another_registry_keeps_the_first_and_then_changes_nothing() -> None:
    old = ours(makers.idms(sources=("docker.io/ceph",))[1])
    old["spec"]["imageDigestMirrors"][0]["mirrors"] = ["elsewhere:5000/ceph"]
    wanted = makers.idms(sources=("docker.io/ceph",))
    first = change_of(plan(wanted, at=(old,)), "ImageDigestMirrorSet")
    assert first.after is not None
    assert change_of(plan(wanted, at=(dict(first.after),)), "ImageDigestMirrorSet").action == "unchanged"
    pruned = change_of(plan(wanted, at=(old,), way=MirrorWay(prune=True)), "ImageDigestMirrorSet")
    assert pruned.body is not None
    assert pruned.body["spec"]["imageDigestMirrors"][0]["mirrors"] == ["reg.airgap.local:5000/ceph"]


def test_more_entries_in_another_order_are_no_change() -> None:
    old = ours(makers.idms(sources=("quay.io/old", *reversed(makers.SOURCES)))[1])
    old["spec"]["imageDigestMirrors"][1]["mirrorSourcePolicy"] = "AllowContactingSource"
    assert change_of(plan(makers.idms(), at=(old,)), "ImageDigestMirrorSet").action == "unchanged"


def test_never_contact_source_is_a_change() -> None:
    document, body = makers.idms()
    old = ours(json.loads(json.dumps(body)))
    body["spec"]["imageDigestMirrors"][0]["mirrorSourcePolicy"] = "NeverContactSource"
    assert change_of(plan((document, body), at=(old,)), "ImageDigestMirrorSet").action == "patch"


def test_missing_config_map_is_created() -> None:
    change = change_of(plan(makers.csi_patch(), at=()), "ConfigMap")
    assert change.action == "create"
    assert change.body == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "rook-ceph-operator-config", "namespace": "rook-ceph", "labels": OURS},
        "data": {"ROOK_CSI_CEPH_IMAGE": makers.CEPHCSI_IMAGE},
    }


def test_missing_workloads_are_blockers_all_named_at_once() -> None:
    found = plan(makers.operator_patch(), makers.ceph_patch(), at=())
    with pytest.raises(ClusterError) as caught:
        found.require_clear()
    assert "Deployment/rook-ceph-operator in rook-ceph" in caught.value.why
    assert "CephCluster/rook-ceph in rook-ceph" in caught.value.why


def test_what_is_being_deleted_is_a_blocker_whatever_is_done_to_it() -> None:
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    space: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "pins"}}
    at = [{**item, "metadata": {**item["metadata"], **gone}} for item in (space, makers.ceph_cluster())]
    found = plan(makers.manifests(space), makers.ceph_patch(), at=tuple(at))
    assert {change.action for change in found.changes} == {"skip"}
    assert blockers(found).split(" | ") == [
        "CephCluster/rook-ceph in rook-ceph is being deleted",
        "Namespace/pins is being deleted",
    ]


@pytest.mark.parametrize(
    ("name", "hint"), [("rook-ceph-tools", "install the toolbox first"), ("rook-ceph-operator", "install Rook first")]
)
def test_what_is_missing_is_what_is_to_be_installed(name: str, hint: str) -> None:
    document = makers.document("documents/rook/x.json", "rook", "strategic-patch", ("apps/v1", "Deployment", "r", name))
    (finding,) = plan((document, {"spec": {"replicas": 1}})).findings
    assert finding.hint.startswith(hint)


def test_missing_workload_may_be_skipped_where_the_document_says_so() -> None:
    target = ("apps/v1", "Deployment", "rook-ceph", "rook-ceph-tools")
    document = makers.document("documents/rook/tools.json", "rook", "strategic-patch", target, otherwise="skip")
    found = plan((document, {"spec": {"replicas": 1}}))
    assert (found.changes[0].action, found.findings) == ("skip", ())


@pytest.mark.parametrize(
    ("running", "fits"), [("v1.3.9", False), ("v1.4.0", True), ("v1.5.9-3-gab", True), ("v1.6.0", False)]
)
def test_rook_version_outside_the_range_names_both(running: str, fits: bool) -> None:
    found = plan(*makers.article(), cluster=makers.survey(rook=(running,)))
    assert (blockers(found) == "") is fits
    if not fits:
        assert f"for Rook >=v1.4.0 <v1.6.0, the cluster runs {running}" in blockers(found)
        assert change_of(found, "Deployment").action == "skip"


@pytest.mark.parametrize("rook", [(), ("master",)])
def test_rook_version_nobody_tells_is_no_reason(rook: tuple[str, ...]) -> None:
    assert blockers(plan(*makers.article(), cluster=makers.survey(rook=rook))) == ""


def test_mixed_rook_versions_block_when_one_is_outside() -> None:
    found = plan(makers.csi_patch(), cluster=makers.survey(rook=("v1.5.0", "v1.6.0")))
    assert "the cluster runs v1.6.0" in blockers(found)


def test_api_that_is_not_served_skips_or_refuses() -> None:
    api = "csi.ceph.io/v1/drivers"
    target = ("v1", "ConfigMap", "rook-ceph", "rook-ceph-operator-config")
    for otherwise, blocked in (("skip", ""), ("refuse", f"{api} is not served by this cluster")):
        document = makers.document("documents/rook/x.json", "rook", "merge-patch", target, api=api, otherwise=otherwise)
        found = plan((document, {"data": {"a": "b"}}))
        assert (found.changes[0].action, blockers(found)) == ("skip", blocked)


def test_patch_of_an_object_that_a_manifest_brings_is_folded_into_it() -> None:
    operator = (makers.document("documents/manifests/operator.json", "before-rook", "apply"), makers.deployment())
    found = plan(makers.operator_patch(), operator, at=())
    assert [(change.action, change.patch_type) for change in found.changes] == [
        ("create", "apply"),
        ("unchanged", "strategic"),
    ]
    body = found.changes[0].body
    assert body is not None
    assert body["spec"]["template"]["spec"]["containers"][0]["image"] == makers.OPERATOR_IMAGE
    assert blockers(found) == ""


def test_patch_that_is_skipped_is_not_folded() -> None:
    operator = (makers.document("documents/manifests/operator.json", "after-rook", "apply"), makers.deployment())
    found = plan(makers.operator_patch(), operator, at=(), cluster=makers.survey(rook=("v1.9.0",)))
    body = found.changes[1].body
    assert body is not None
    assert body["spec"] == makers.deployment()["spec"]


def test_crds_and_namespaces_of_a_list_come_first() -> None:
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "names": {"kind": "Widget"}},
    }
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "n"}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    found = plan(makers.manifests(widget, crd, namespace))
    assert [change.kind for change in found.changes] == ["CustomResourceDefinition", "Namespace", "Widget"]
    assert {change.action for change in found.changes} == {"create"}


def test_kind_that_is_not_served_is_a_blocker() -> None:
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "n"}}
    assert "example.com/v1 Widget is not served" in blockers(plan(makers.manifests(widget)))


def test_namespaced_object_without_namespace_is_refused() -> None:
    item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w"}}
    with pytest.raises(FormatError, match="names no namespace"):
        plan(makers.manifests(item))


def test_namespace_of_a_cluster_scoped_object_goes() -> None:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "r", "namespace": "n"},
    }
    change = plan(makers.manifests(role)).changes[0]
    assert change.namespace is None
    assert change.body is not None
    assert change.body["metadata"] == {"name": "r"}


def test_do_not_reconcile_is_a_warning() -> None:
    cluster = makers.ceph_cluster()
    cluster["metadata"]["labels"] = {"ceph.rook.io/do-not-reconcile": ""}
    assert "Rook ignores the patch" in plan(makers.ceph_patch(), at=(cluster,)).findings[0].text


def test_file_documents_make_no_change() -> None:
    assert plan(makers.node_file()).changes == ()


def bad(action: str, phase: str = "rook", target: Any = None) -> Any:
    return makers.document("documents/bad.json", phase, action, target)


CONFIG_MAP_TARGET = ("v1", "ConfigMap", "rook-ceph", "x")


@pytest.mark.parametrize(
    ("document", "parsed"),
    [
        (bad("apply"), {"kind": "List", "items": {}}),
        (bad("apply"), {"kind": "List", "items": ["x"]}),
        (bad("apply"), []),
        (bad("apply"), {"apiVersion": "v1", "kind": "ConfigMap"}),
        (bad("apply"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "--all"}}),
        (bad("apply"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a/b", "namespace": "n"}}),
        (bad("apply"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "n\nx"}}),
        (bad("apply"), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ["a"]}}),
        (bad("apply", target=CONFIG_MAP_TARGET), makers.config_map()),
        (bad("merge-patch"), {}),
        (bad("merge-patch", target=CONFIG_MAP_TARGET), []),
        (bad("merge-patch", target=("v1", "ConfigMap", "a b", "x")), {}),
        (bad("delete"), {}),
        (bad("apply", phase="later"), makers.config_map()),
        (
            bad("strategic-patch", target=("apps/v1", "Deployment", "rook-ceph", "rook-ceph-operator")),
            {"$patch": "delete"},
        ),
    ],
)
def test_document_that_does_not_fit_is_refused(document: Any, parsed: Any) -> None:
    with pytest.raises(FormatError):
        plan((document, parsed))


def test_key_of_a_target_is_exact() -> None:
    assert key_of(makers.deployment(), "x") == Key("apps/v1", "Deployment", "rook-ceph", "rook-ceph-operator")
