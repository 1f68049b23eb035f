"""Whole loads against a cluster that refuses, goes away, or is not the one that was meant: from outside."""

from __future__ import annotations

import contextlib
import json
import signal
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_rollback import kill_at
from tests.integration.test_waits import report_of
from tests.support import article
from tests.support.apiserver import CRDS, install_crds
from tests.support.cli import Cli
from tests.support.controllers import POOLS, Controllers
from tests.support.fakebin import fake_bin
from tests.support.registry import RegistryServer
from tests.support.site import IDMS, REPORT, Site
from tests.support.tcpline import TcpLine

WORDS = "Ceph may not be changed before Monday"


@contextmanager
def forbidden(site: Site, group: str, resource: str) -> Iterator[None]:
    """A policy of the cluster that lets nobody update a resource, in force when the block begins."""
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": [resource]}
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "false", "message": WORDS}],
    }
    api = "admissionregistration.k8s.io/v1"
    name = {"name": "not-before-monday"}
    policy = {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": name, "spec": spec}
    bound = {"policyName": name["name"], "validationActions": ["Deny"]}
    binding = {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": name, "spec": bound}
    for item in (policy, binding):
        site.cluster.kubectl("create", "-f", "-", input=json.dumps(item))
    try:
        _await_refusal(site, f"{resource}.{group}")
        yield
    finally:
        kinds = "validatingadmissionpolicybinding,validatingadmissionpolicy"
        site.cluster.kubectl("delete", kinds, name["name"])


def _await_refusal(site: Site, resource: str) -> None:
    """Try until the policy refuses: the API server takes a moment to load it."""
    probe = ["label", resource, "rook-ceph", "-n", "rook-ceph", "probe=1", "--overwrite", "--dry-run=server"]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(RuntimeError):
            site.cluster.kubectl(*probe)
            time.sleep(0.5)
            continue
        return
    raise AssertionError("the policy never refused")


def test_a_policy_that_refuses_is_shown_in_its_own_words_with_the_way_back(site: Site) -> None:
    before = site.states()
    with forbidden(site, "ceph.rook.io", "cephclusters"):
        shown = site.run("load", "--dry-run").expect(7)
        assert WORDS in shown.three_lines[1]
        assert site.states() == before
        ran = site.run("load").expect(7)
    what, why, back = ran.three_lines
    assert "CephCluster/rook-ceph" in what
    assert WORDS in why
    assert f"airgap-loader rollback reports/{REPORT}" in back
    report = report_of(site)
    assert report["state"] == "failed"
    assert WORDS in json.dumps(report["error"])
    site.run("load").expect()
    assert [run["state"] for run in site.report["runs"]] == ["failed", "complete"]


def kubeconfig_at(site: Site, **changes: Any) -> Path:
    """The admin's kubeconfig with another server, token or context in it."""
    config = json.loads(site.cluster.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = changes.get("server", site.cluster.url)
    config["users"][0]["user"]["token"] = changes.get("token", config["users"][0]["user"]["token"])
    config["current-context"] = changes.get("context", config["current-context"])
    path = site.cli.folder / "other.kubeconfig"
    path.write_text(json.dumps(config))
    return path


def test_an_api_server_that_goes_away_while_nodes_restart_is_waited_for(site: Site, controllers: Controllers) -> None:
    controllers.takes = 6.0
    where = urllib.parse.urlsplit(site.cluster.url)
    with TcpLine((str(where.hostname), int(where.port or 0))) as line:
        kubeconfig = kubeconfig_at(site, server=f"https://127.0.0.1:{line.port}")
        process = site.start("load", kubeconfig=kubeconfig)
        assert process.stdout is not None
        said = []
        with process.stdout:
            for printed in process.stdout:
                said.append(printed)
                if printed.startswith("wait      pools: pool") and "updated" in printed:
                    break
            line.cut()
            for printed in process.stdout:
                said.append(printed)
                if "the API server does not answer" in printed:
                    break
            line.mend()
            said += process.stdout
        assert process.wait(120) == 0, "".join(said)
    assert "one version 15.2.4" in "".join(said)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token": "expired"}, "oc login"),
        ({"context": "elsewhere"}, "--context"),
        ({"server": "https://127.0.0.1:1"}, "is up and reachable"),
    ],
    ids=["expired login", "wrong context", "no server"],
)
def test_a_cluster_that_does_not_let_us_in_gets_no_push_and_leaves_a_report(
    quiet_site: Site, changes: dict[str, str], words: str
) -> None:
    ran = quiet_site.run("load", kubeconfig=kubeconfig_at(quiet_site, **changes)).expect(7)
    assert words in ran.three_lines[-1]
    assert not quiet_site.tags("ceph/ceph")
    report = report_of(quiet_site)
    assert (report["state"], report["objects"], report["images"]) == ("failed", [], [])


def test_a_kind_that_is_not_served_is_a_blocker(quiet_site: Site) -> None:
    name = "cephclusters.ceph.rook.io"
    quiet_site.cluster.kubectl("delete", name, "--all", "-n", "rook-ceph")
    quiet_site.cluster.kubectl("delete", "crd", name)
    quiet_site.cluster.kubectl("wait", "--for=delete", f"crd/{name}", "--timeout=60s")
    try:
        ran = quiet_site.run("load").expect(7)
        found = quiet_site.run("load", "--dry-run", "--json", "--only", "rook").expect().json["findings"]
    finally:
        install_crds(quiet_site.cluster, [CRDS / "rook-crds.yaml"])
    assert "ceph.rook.io/v1 CephCluster is not served" in ran.three_lines[1]
    assert not quiet_site.tags("ceph/ceph")
    assert "ceph.rook.io/v1 CephCluster is not served" in json.dumps(found)


@pytest.fixture
def hosted(quiet_site: Site) -> Iterator[Site]:
    """A cluster of HyperShift: its control plane runs elsewhere."""
    api, name = "config.openshift.io", "infrastructures.config.openshift.io"
    names = {"kind": "Infrastructure", "listKind": "InfrastructureList", "plural": "infrastructures"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": api, "scope": "Cluster", "names": {**names, "singular": "infrastructure"}, "versions": [version]}
    metadata = {"name": name, "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"}}
    crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": metadata}
    quiet_site.cluster.kubectl("create", "-f", "-", input=json.dumps({**crd, "spec": spec}))
    quiet_site.cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}", "--timeout=60s")
    item = {"apiVersion": f"{api}/v1", "kind": "Infrastructure", "metadata": {"name": "cluster"}}
    external = {**item, "status": {"controlPlaneTopology": "External"}}
    quiet_site.cluster.kubectl("create", "-f", "-", input=json.dumps(external))
    yield quiet_site
    quiet_site.cluster.kubectl("delete", "crd", name)


def test_a_hosted_cluster_is_named_and_gets_its_snippet(hosted: Site) -> None:
    ran = hosted.run("load").expect(7)
    assert "this cluster is HyperShift" in ran.three_lines[1]
    assert "documents/nodes/hypershift.yaml" in ran.three_lines[2]
    folder = hosted.cli.folder / f"reports/{REPORT.replace('.load.json', '.documents')}"
    assert f'- "{hosted.registry.host}/ceph"' in (folder / "documents/nodes/hypershift.yaml").read_text()
    assert not hosted.tags("ceph/ceph")
    assert "resolves to" not in ran.out, "no object of ours will be there"
    snippet = folder / "documents/nodes/hypershift.yaml"
    snippet.unlink()
    hosted.run("load", "--only", "mirrors").expect(7)
    assert snippet.exists(), "the file that the error names"
    hosted.run("load", "--mirrors", "manual", "--only", "mirrors").expect()
    assert not hosted.cluster.kubectl("get", IDMS, "-o", "name")


def test_microshift_is_told_by_its_own_config_map(quiet_site: Site) -> None:
    quiet_site.cluster.kubectl("create", "configmap", "microshift-version", "-n", "kube-public")
    try:
        ran = quiet_site.run("load").expect(7)
    finally:
        quiet_site.cluster.kubectl("delete", "configmap", "microshift-version", "-n", "kube-public")
    assert "this cluster is MicroShift" in ran.three_lines[1]
    assert "documents/nodes/microshift.conf" in ran.three_lines[2]


def test_where_the_report_cannot_be_written_nothing_is_pushed(quiet_site: Site) -> None:
    (quiet_site.cli.folder / "reports").write_text("a file")
    before = quiet_site.states()
    ran = quiet_site.run("load").expect(1)
    assert "cannot write reports/rook-ceph-2020.10.load.json" in ran.three_lines[0]
    assert not quiet_site.tags("ceph/ceph")
    assert quiet_site.states() == before
    assert not (quiet_site.cli.home / ".local/state/airgap-loader/sequences.json").exists()


def test_an_older_mirror_of_a_repository_shadows_ours(quiet_site: Site) -> None:
    spec = {"repositoryDigestMirrors": [{"source": "quay.io/cephcsi/cephcsi", "mirrors": ["10.0.0.1:5000/cephcsi"]}]}
    item = {"apiVersion": "operator.openshift.io/v1alpha1", "kind": "ImageContentSourcePolicy", "spec": spec}
    quiet_site.cluster.kubectl("create", "-f", "-", input=json.dumps({**item, "metadata": {"name": "older"}}))
    ran = quiet_site.run("load").expect(7)
    assert "would not ask" in ran.three_lines[1]
    assert "quay.io/cephcsi/cephcsi (10.0.0.1:5000/cephcsi, quay.io/cephcsi/cephcsi)" in ran.three_lines[1]
    assert "--mirror-scope repository" in ran.three_lines[2]
    found = quiet_site.run("load", "--dry-run", "--json", "--mirror-scope", "repository").expect().json
    assert [finding["level"] for finding in found["findings"]] == ["warning"]
    assert "another registry before" in found["findings"][0]["text"]
    asked = {image["repository"]: image["endpoints"] for image in found["images"]}
    assert asked["cephcsi/cephcsi"] == [
        "10.0.0.1:5000/cephcsi",
        f"{quiet_site.registry.host}/cephcsi/cephcsi",
        "quay.io/cephcsi/cephcsi",
    ]


def test_a_site_takes_no_other_cluster(quiet_site: Site) -> None:
    site = quiet_site
    before, file = site.states(), site.cli.folder / "site.toml"
    file.write_text('server = "https://api.site7.example:6443"\n')
    ran = site.run("load", "--site", "site.toml").expect(2)
    assert "not to this site's cluster" in ran.three_lines[0]
    assert "https://api.site7.example:6443" in ran.three_lines[1]
    assert site.states() == before
    assert not site.tags("ceph/ceph")
    server = site.cluster.kubectl("config", "view", "-o", "jsonpath={.clusters[0].cluster.server}")
    file.write_text(f'server = "{server}"\n')
    site.run("load", "--site", "site.toml", "--dry-run").expect()


def test_a_ceph_that_is_ill_is_not_touched_and_all_else_is_told_at_once(quiet_site: Site) -> None:
    place = ["cephcluster/rook-ceph", "-n", "rook-ceph"]
    status = json.dumps({"status": {"ceph": {"health": "HEALTH_ERR"}}})
    quiet_site.cluster.kubectl("patch", *place, "--subresource=status", "--type=merge", "-p", status)
    quiet_site.cluster.kubectl("label", *place, "ceph.rook.io/do-not-reconcile=true")
    viewer = quiet_site.cluster.restricted_kubeconfig
    found = quiet_site.run("load", "--dry-run", "--json", kubeconfig=viewer).expect().json["findings"]
    told = [(finding["level"], finding["text"]) for finding in found]
    assert [level for level, text in told if "restricted may not make 4 of the requests" in text] == ["blocker"]
    assert [level for level, text in told if "reports HEALTH_ERR" in text] == ["blocker"]
    assert [level for level, text in told if "do-not-reconcile" in text] == ["warning"]
    ran = quiet_site.run("load").expect(7)
    assert "HEALTH_ERR" in ran.three_lines[1]
    assert not quiet_site.tags("ceph/ceph")
    quiet_site.run("load", "--only", "mirrors").expect()


def test_an_object_over_the_api_servers_limit_is_named(quiet_site: Site) -> None:
    with RegistryServer() as source:
        article.put_images(source.store)
        folder = quiet_site.cli.folder / "large"
        folder.mkdir()
        for name in ("builder.key", "builder.pub"):
            (folder / name).write_bytes((quiet_site.archive.parent.parent / name).read_bytes())
        metadata = {"name": "too-large", "namespace": "rook-ceph"}
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": "q" * 1_300_000}}
        (folder / "large.yaml").write_text(json.dumps(item))
        extra = "manifests:\n- {path: large.yaml, phase: before-rook}\n"
        quiet_site.archive = article.build(Cli(folder), source.host, article.config(extra=extra))
    ran = quiet_site.run("load").expect(7)
    assert "ConfigMap/too-large in rook-ceph" in ran.three_lines[0]
    assert "Too long" in ran.three_lines[1]
    assert "larger than the API server stores" in ran.three_lines[1]
    assert "airgap-loader rollback" in ran.three_lines[2]  # the mirrors were there before it


def test_a_client_that_warns_on_stdout_is_understood(site: Site) -> None:
    fake = fake_bin(site.cli.folder / "bin", "oc").path
    fake.write_text(f'#!/bin/sh\necho "Warning: this wrapper is old"\nexec {site.cluster.program} "$@"\n')
    site.cli = Cli(site.cli.folder, path=f"{fake.parent}:{site.cli.path}")
    site.run("load", "--only", "mirrors").expect()
    assert site.object(f"{IDMS}/rook-ceph-images")


@pytest.mark.parametrize(
    ("fault", "line"),
    [("paused", "wait      pools"), ("csi", "wait      CSI"), ("ceph", "wait      CephCluster")],
)
def test_ctrl_c_in_a_wait_is_in_the_report_and_the_same_command_goes_on(
    site: Site, controllers: Controllers, fault: str, line: str
) -> None:
    if fault == "paused":
        controllers.takes = 30.0
    elif fault == "csi":
        controllers.ignoring.add("rook")
    else:
        controllers.ignoring.add("ceph")
    assert "error: interrupted" in kill_at(site, line, signal.SIGINT)
    report = report_of(site)
    waits = report["waits"]
    assert isinstance(waits, list)
    assert (report["state"], waits[-1]["state"]) == ("interrupted", "interrupted")
    assert line.split()[1] in waits[-1]["name"]
    controllers.ignoring.clear()
    controllers.takes = 0.3
    site.run("load").expect()
    assert [run["state"] for run in site.report["runs"]] == ["interrupted", "complete"]


def test_a_degraded_pool_is_refused_before_anything_is_pushed(site: Site, controllers: Controllers) -> None:
    status = {"conditions": [_degraded("Node w1 is reporting: unexpected on-disk state")]}
    controllers.ignoring.add("mco")
    controllers.api("PATCH", f"{POOLS}/worker/status", {"status": status})
    ran = site.run("load").expect(7)
    assert "MachineConfigPool/worker is degraded: Node w1 is reporting: unexpected on-disk state" in ran.three_lines[1]
    assert not site.tags("ceph/ceph")
    controllers.ignoring.clear()


def _degraded(message: str) -> dict[str, str]:
    now = "2026-01-01T00:00:00Z"
    return {"type": "Degraded", "status": "True", "message": message, "reason": "", "lastTransitionTime": now}
