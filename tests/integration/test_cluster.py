"""The article's documents against a real API server with the CRDs of OpenShift and Rook."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.apply import Applied, apply_plan, rehearse
from loader.cluster.kubectl import Call, Kubectl
from loader.cluster.oclines import oc_lines
from loader.cluster.prepare import prepare
from loader.cluster.process import ProcessRunner
from tests.support.apiserver import CRDS, ApiServer, install_crds
from tests.support.fakebin import fake_bin
from tests.unit.loader.cluster import makers

IDMS_CRD = "imagedigestmirrorsets.config.openshift.io"


class Site:
    """One Rook v1.5 install in a namespace of its own, and the loader's client for it."""

    def __init__(self, server: ApiServer, namespace: str, home: Path) -> None:
        self.server = server
        self.namespace = namespace
        self.mirror = f"{namespace}-images"
        self.calls: list[Call] = []
        self.oc = self.client(server.kubeconfig, home)
        self.home = home

    def client(self, kubeconfig: Path, home: Path, **options: Any) -> Kubectl:
        run = ProcessRunner({"PATH": os.defpath, "HOME": str(home)})
        return Kubectl(str(self.server.program), run, kubeconfig=kubeconfig, trace=self.calls.append, **options)

    def install(self, *items: dict[str, Any]) -> None:
        for item in items:
            self.server.kubectl("create", "-f", "-", input=json.dumps(item))

    def object(self, kind: str, name: str) -> dict[str, Any]:
        found = self.server.kubectl("get", kind, name, "-n", self.namespace, "-o", "json", "--show-managed-fields")
        result: dict[str, Any] = json.loads(found)
        return result

    def exists(self, kind: str, name: str) -> bool:
        return bool(self.server.kubectl("get", kind, name, "-n", self.namespace, "--ignore-not-found", "-o", "name"))

    def article(self) -> list[makers.Pair]:
        return makers.article(self.namespace, self.mirror)

    def load(self, pairs: list[makers.Pair] | None = None) -> tuple[Applied, ...]:
        _, plan = prepare(self.oc, pairs or self.article())
        return apply_plan(self.oc, plan)

    def versions(self) -> dict[str, str]:
        kinds = "deployments,configmaps,cephclusters,secrets"
        items = json.loads(self.server.kubectl("get", kinds, "-n", self.namespace, "-o", "json"))["items"]
        items += json.loads(self.server.kubectl("get", f"{IDMS_CRD},imagecontentsourcepolicies", "-o", "json"))["items"]
        return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}


@pytest.fixture
def site(api_server: ApiServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    home = tmp_path / "home"
    home.mkdir()
    api_server.kubectl("create", "namespace", name)
    found = Site(api_server, name, home)
    found.install(makers.deployment(name), makers.config_map(name), makers.ceph_cluster(name))
    yield found
    if api_server.kubectl("get", "crd", IDMS_CRD, "--ignore-not-found", "-o", "name"):
        api_server.kubectl("delete", IDMS_CRD, "--all")
    api_server.kubectl("delete", "imagecontentsourcepolicies.operator.openshift.io", "--all")


@pytest.fixture
def without_idms(site: Site) -> Iterator[Site]:
    """The cluster before OpenShift 4.13: the kind is not served."""
    site.server.kubectl("delete", "crd", IDMS_CRD)
    site.server.kubectl("wait", "--for=delete", f"crd/{IDMS_CRD}", "--timeout=60s")
    yield site
    install_crds(site.server, [CRDS / f"{IDMS_CRD}.yaml"])


def pod(item: dict[str, Any]) -> Any:
    return item["spec"]["template"]["spec"]["containers"][0]


def test_article_is_accepted_and_a_second_run_changes_nothing(site: Site) -> None:
    started = time.monotonic()
    done = site.load()
    seconds = time.monotonic() - started
    assert [(applied.kind, applied.action) for applied in done] == [
        ("ImageDigestMirrorSet", "create"),
        ("ImageContentSourcePolicy", "skip"),
        ("Deployment", "patch"),
        ("ConfigMap", "patch"),
        ("CephCluster", "patch"),
    ]
    assert seconds < 10, site.calls
    assert len(site.calls) <= 28, [call.line for call in site.calls]  # each is a process: reads go together
    operator = pod(site.object("deployment", "rook-ceph-operator"))
    assert (operator["image"], operator["args"]) == (makers.OPERATOR_IMAGE, ["ceph", "operator"])
    assert site.object("configmap", "rook-ceph-operator-config")["data"] == {
        "ROOK_LOG_LEVEL": "INFO",
        "ROOK_CSI_CEPH_IMAGE": makers.CEPHCSI_IMAGE,
    }
    assert site.object("cephcluster", "rook-ceph")["spec"]["cephVersion"]["image"] == makers.CEPH_IMAGE
    mirrors = site.object(IDMS_CRD, site.mirror)
    assert mirrors["spec"] == makers.idms()[1]["spec"]
    assert mirrors["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "airgap-loader"}
    assert not site.exists("imagecontentsourcepolicies", site.mirror)
    managers = {field["manager"] for field in mirrors["metadata"]["managedFields"]}
    assert managers == {"airgap-loader"}

    versions = site.versions()
    again = site.load()
    assert {applied.action for applied in again} == {"unchanged", "skip"}
    assert all(applied.version_before == applied.version_after for applied in again)
    assert site.versions() == versions


def test_preparing_and_rehearsing_write_nothing(site: Site) -> None:
    versions = site.versions()
    extra = makers.manifests(makers.config_map(site.namespace, NEW="1"))
    found, plan = prepare(site.oc, [*site.article(), extra])
    rehearse(site.oc, plan)
    assert site.versions() == versions
    assert found.user == "admin"
    assert found.server == site.server.url
    assert found.kubernetes.startswith("v1.")
    assert [change.action for change in plan.changes] == ["create", "skip", "patch", "patch", "patch", "patch"]


def test_icsp_is_used_where_idms_is_not_served(without_idms: Site) -> None:
    done = without_idms.load()
    assert [(a.kind, a.action) for a in done[:2]] == [
        ("ImageDigestMirrorSet", "skip"),
        ("ImageContentSourcePolicy", "create"),
    ]
    assert without_idms.object("imagecontentsourcepolicies", without_idms.mirror)["spec"] == makers.icsp()[1]["spec"]
    assert {applied.action for applied in without_idms.load()} == {"unchanged", "skip"}


def test_entries_of_an_earlier_bundle_stay(site: Site) -> None:
    site.load([makers.idms(site.mirror, ("docker.io/ceph", "quay.io/old"))])
    done = site.load([makers.idms(site.mirror)])
    assert done[0].action == "patch"
    entries = site.object(IDMS_CRD, site.mirror)["spec"]["imageDigestMirrors"]
    assert [entry["source"] for entry in entries] == sorted([*makers.SOURCES, "quay.io/old"])


def test_foreign_mirror_object_is_not_touched(site: Site) -> None:
    site.install(makers.idms(site.mirror, ("quay.io/other",))[1])
    versions = site.versions()
    with pytest.raises(ClusterError, match="blocker") as caught:
        site.load()
    assert f"ImageDigestMirrorSet/{site.mirror} is there already" in caught.value.why
    assert site.versions() == versions


def test_restricted_login_gets_every_missing_permission_at_once(site: Site) -> None:
    oc = site.client(site.server.restricted_kubeconfig, site.home)
    _, plan = prepare(oc, site.article())
    (finding,) = plan.findings
    assert "restricted may not make 4 of the requests" in finding.text
    for words in (
        "create imagedigestmirrorsets.config.openshift.io",
        f"patch deployments.apps/rook-ceph-operator in {site.namespace}",
        f"patch configmaps/rook-ceph-operator-config in {site.namespace}",
        f"patch cephclusters.ceph.rook.io/rook-ceph in {site.namespace}",
    ):
        assert words in finding.text


def test_missing_config_map_is_created_and_a_missing_deployment_is_named(site: Site) -> None:
    site.server.kubectl("delete", "configmap", "rook-ceph-operator-config", "-n", site.namespace)
    assert site.load([makers.csi_patch(site.namespace)])[0].action == "create"
    assert {applied.action for applied in site.load([makers.csi_patch(site.namespace)])} == {"unchanged"}
    site.server.kubectl("delete", "deployment", "rook-ceph-operator", "-n", site.namespace)
    with pytest.raises(ClusterError) as caught:
        site.load()
    assert f"Deployment/rook-ceph-operator in {site.namespace} is not on this cluster" in caught.value.why


def test_rook_version_of_the_daemons_decides(site: Site) -> None:
    mon = makers.deployment(site.namespace)
    labels = {"rook_cluster": site.namespace, "rook-version": "v1.6.3"}
    mon["metadata"] = {"name": "rook-ceph-mon-a", "namespace": site.namespace, "labels": labels}
    site.install(mon)
    with pytest.raises(ClusterError) as caught:
        site.load()
    assert "for Rook >=v1.4.0 <v1.6.0, the cluster runs v1.6.3" in caught.value.why


def test_schema_refusal_stops_and_names_what_was_applied(site: Site) -> None:
    document, body = makers.ceph_patch(site.namespace)
    wrong = (document, {"spec": {"mon": {"count": "three"}}})
    pairs = [makers.idms(site.mirror), makers.operator_patch(site.namespace), wrong]
    _, plan = prepare(site.oc, pairs)
    with pytest.raises(ClusterError, match="CephCluster/rook-ceph"):
        rehearse(site.oc, plan)
    assert not site.exists(IDMS_CRD, site.mirror)
    with pytest.raises(ClusterError) as caught:
        apply_plan(site.oc, plan)
    assert "spec.mon.count" in caught.value.why
    assert f"applied before it: ImageDigestMirrorSet/{site.mirror} (create)" in caught.value.why
    assert [applied.action for applied in site.load([*pairs[:2], (document, body)])] == [
        "unchanged",
        "unchanged",
        "patch",
    ]


def test_field_the_schema_does_not_know_does_not_hold(site: Site) -> None:
    document, _ = makers.ceph_patch(site.namespace)
    with pytest.raises(ClusterError, match="accepted but does not hold"):
        site.load([(document, {"spec": {"cephVersions": {"image": makers.CEPH_IMAGE}}})])


def test_other_writer_between_plan_and_patch_is_kept(site: Site) -> None:
    _, plan = prepare(site.oc, site.article())
    site.server.kubectl("scale", "deployment/rook-ceph-operator", "-n", site.namespace, "--replicas=0")
    done = apply_plan(site.oc, plan)
    assert done[2].action == "patch"
    operator = site.object("deployment", "rook-ceph-operator")
    assert (operator["spec"]["replicas"], pod(operator)["image"]) == (0, makers.OPERATOR_IMAGE)
    assert any("ended" not in call.line and call.status == 1 and " patch " in call.line for call in site.calls)


def test_manifests_with_new_namespace_and_new_kind(site: Site) -> None:
    other = f"{site.namespace[:40]}-new"
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.tests.example.com"},
        "spec": {
            "group": "tests.example.com",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": _anything()}}],
        },
    }
    widget = {"apiVersion": "tests.example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": other}}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": other}}
    tools = makers.deployment(other)
    tools["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000m"}}
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": other, "namespace": other},
        "rules": [],
    }
    pair = makers.manifests(widget, tools, role, crd, namespace, phase="before-rook")
    patch = makers.operator_patch(other)
    _, plan = prepare(site.oc, [pair, patch])
    rehearse(site.oc, plan)
    assert {applied.action for applied in apply_plan(site.oc, plan)} == {"create", "unchanged"}
    operator = json.loads(site.server.kubectl("get", "deployment", "-n", other, "-o", "json"))["items"][0]
    assert pod(operator)["image"] == makers.OPERATOR_IMAGE
    assert {applied.action for applied in site.load([pair, patch])} == {"unchanged"}


def test_manifest_after_a_patch_of_ours_takes_its_field_over(site: Site) -> None:
    """The API server keeps what was patched and what was applied apart, although both were ours."""
    newer = "docker.io/rook/ceph@sha256:" + "1" * 64
    site.load([makers.operator_patch(site.namespace)])
    operator = makers.deployment(site.namespace)
    pairs = [makers.manifests(operator, phase="before-rook"), makers.operator_patch(site.namespace, newer)]
    assert [applied.action for applied in site.load(pairs)] == ["patch", "unchanged"]
    assert pod(site.object("deployment", "rook-ceph-operator"))["image"] == newer
    assert {applied.action for applied in site.load(pairs)} == {"unchanged"}


def _anything() -> dict[str, Any]:
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_applied_config_map_loses_the_keys_its_next_version_drops(site: Site) -> None:
    def manifest(**data: str) -> makers.Pair:
        item = makers.config_map(site.namespace) | {"data": data}
        item["metadata"]["name"] = "from-manifest"
        return makers.manifests(item)

    site.load([manifest(KEEP="1", DROP="1")])
    _, plan = prepare(site.oc, [manifest(KEEP="1")])
    assert '-    "DROP": "1"' in plan.changes[0].diff
    assert apply_plan(site.oc, plan)[0].action == "patch"
    assert site.object("configmap", "from-manifest")["data"] == {"KEEP": "1"}


def test_field_that_someone_else_applied_is_never_forced(site: Site) -> None:
    item = makers.config_map(site.namespace) | {"data": {"A": "theirs"}}
    item["metadata"]["name"] = "contested"
    site.server.kubectl("apply", "--server-side", "--field-manager=gitops", "-f", "-", input=json.dumps(item))
    with pytest.raises(ClusterError) as caught:
        site.load([makers.manifests(item | {"data": {"A": "ours"}})])
    assert 'conflict with "gitops"' in caught.value.why
    assert site.object("configmap", "contested")["data"] == {"A": "theirs"}


def test_secret_stays_out_of_lines_diffs_and_errors(site: Site) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "namespace": site.namespace},
        "stringData": {"password": "correct-horse"},
    }
    _, plan = prepare(site.oc, [makers.manifests(secret)])
    apply_plan(site.oc, plan)
    assert site.exists("secret", "login")
    assert site.load([makers.manifests(secret)])[0].action == "unchanged"
    told = "".join(change.diff for change in plan.changes) + "".join(call.line for call in site.calls)
    assert "correct-horse" not in told
    assert "(hidden, changed)" in told


def test_policy_of_the_cluster_is_shown_in_its_own_words(site: Site) -> None:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-quay"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["config.openshift.io"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["imagedigestmirrorsets"],
                    }
                ]
            },
            "validations": [{"expression": "false", "message": "quay.io may not be mirrored here"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-quay"},
        "spec": {"policyName": "no-quay", "validationActions": ["Deny"]},
    }
    site.install(policy, binding)
    try:
        _, plan = prepare(site.oc, site.article())
        error = _refusal(site.oc, plan)
    finally:
        site.server.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "no-quay")
    assert "quay.io may not be mirrored here" in error.why
    assert "policy of this cluster" in error.hint


def _refusal(oc: Kubectl, plan: Any) -> ClusterError:
    """Rehearse until the policy refuses: the API server takes a moment to load it."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            rehearse(oc, plan)
        except ClusterError as error:
            return error
        time.sleep(0.5)
    raise AssertionError("the policy never refused")


EMPTY = "apiVersion: v1\nkind: Config\n"
CLOSED_PORT = """apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {token: t}}]
"""
NO_LOGIN = CLOSED_PORT.replace("token: t", "")


@pytest.mark.parametrize(
    ("content", "hint"), [(EMPTY, "oc login"), (CLOSED_PORT, "--no-apply"), (NO_LOGIN, "oc login")]
)
def test_no_cluster_in_reach(site: Site, content: str, hint: str) -> None:
    kubeconfig = site.home / "kubeconfig"
    kubeconfig.write_text(content)
    with pytest.raises(ClusterError) as caught:
        prepare(site.client(kubeconfig, site.home), site.article())
    assert hint in caught.value.hint


def test_expired_login_and_wrong_context(site: Site) -> None:
    kubeconfig = site.home / "kubeconfig"
    config = json.loads(site.server.kubectl("config", "view", "--raw", "-o", "json"))
    config["users"][0]["user"] = {"token": "expired"}
    kubeconfig.write_text(json.dumps(config))
    with pytest.raises(ClusterError) as caught:
        prepare(site.client(kubeconfig, site.home), site.article())
    assert "oc login" in caught.value.hint
    with pytest.raises(ClusterError) as second:
        prepare(site.client(kubeconfig, site.home, context="nowhere"), site.article())
    assert "--context" in second.value.hint


def test_login_elsewhere_between_question_and_apply_does_not_move_the_writes(site: Site) -> None:
    kubeconfig = site.home / "kubeconfig"
    config = json.loads(site.server.kubectl("config", "view", "--raw", "-o", "json"))
    config["clusters"].append({"name": "other", "cluster": {"server": "https://127.0.0.1:1"}})
    user = config["users"][0]["name"]
    config["contexts"].append({"name": "other", "context": {"cluster": "other", "user": user}})
    kubeconfig.write_text(json.dumps(config))
    oc = site.client(kubeconfig, site.home)
    _, plan = prepare(oc, [makers.operator_patch(site.namespace)])
    kubeconfig.write_text(json.dumps(config | {"current-context": "other"}))
    assert apply_plan(oc, plan)[0].action == "patch"
    assert pod(site.object("deployment", "rook-ceph-operator"))["image"] == makers.OPERATOR_IMAGE


def test_lines_for_a_person_do_the_same(site: Site, tmp_path: Path) -> None:
    """``--no-apply``: the printed lines, run by a shell, leave the cluster as ``load`` would."""
    site.server.kubectl("delete", "configmap", "rook-ceph-operator-config", "-n", site.namespace)
    pairs = [pair for pair in site.article() if pair[0].path != "documents/mirrors/icsp.yaml"]
    for document, parsed in pairs:
        path = tmp_path / document.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(parsed))
    lines = oc_lines([document for document, _ in pairs], program=str(site.server.program))
    script = "set -e\n" + "\n".join(lines)
    environment = {"PATH": os.defpath, "HOME": str(site.home), "KUBECONFIG": str(site.server.kubeconfig)}
    finished = ProcessRunner(environment)(["/bin/sh", "-c", f"cd '{tmp_path}'\n{script}"], stdin=b"", timeout=60)
    assert finished.status == 0, finished.stderr
    rook = [pair for pair in pairs if pair[0].phase == "rook"]
    assert {applied.action for applied in site.load(rook)} == {"unchanged"}


def test_client_without_patch_file_still_patches(site: Site, tmp_path: Path) -> None:
    """oc 4.6 and older: a wrapper that refuses the flag in their words."""
    wrapper = fake_bin(tmp_path / "bin", "oc").path
    wrapper.write_text(
        '#!/bin/sh\nfor a in "$@"; do case "$a" in --patch-file*) '
        f'echo "Error: unknown flag: --patch-file" >&2; exit 1;; esac; done\nexec {site.server.program} "$@"\n'
    )
    run = ProcessRunner({"PATH": os.defpath, "HOME": str(site.home)})
    oc = Kubectl(str(wrapper), run, kubeconfig=site.server.kubeconfig)
    _, plan = prepare(oc, [makers.operator_patch(site.namespace), makers.ceph_patch(site.namespace)])
    assert [applied.action for applied in apply_plan(oc, plan)] == ["patch", "patch"]
    assert pod(site.object("deployment", "rook-ceph-operator"))["image"] == makers.OPERATOR_IMAGE
