"""What the one command says of nodes, and gives them on request: through the command line, pools at work."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_nodes import crd
from tests.support import article
from tests.support.cli import Cli
from tests.support.controllers import NOTED, Controllers
from tests.support.registry import RegistryServer
from tests.support.site import Site

SECRET = "a-very-secret-word"
OLD = base64.b64encode(json.dumps({"auths": {"quay.io": {"auth": "eDp5"}}}).encode()).decode()
IDMS = "imagedigestmirrorsets.config.openshift.io/rook-ceph-images"


def test_a_dry_run_tells_what_each_pool_will_do(site: Site) -> None:
    found = site.run("load", "--dry-run", "--json").expect().json
    assert found["nodes"] == [
        {"pool": "master", "effect": "reload", "count": 3},
        {"pool": "worker", "effect": "reload", "count": 3},
    ]
    assert found["findings"] == []
    shown = site.run("load", "--dry-run").expect().out
    assert "CRI-O reload on 6 nodes (master 3, worker 3)" in shown
    assert "nodes     worker: reload of 3" in shown


def test_after_a_load_no_node_does_anything(site: Site) -> None:
    site.run("load").expect()
    found = site.run("load", "--dry-run", "--json").expect().json
    assert [pool["effect"] for pool in found["nodes"]] == ["none", "none"]
    shown = site.run("load", "--dry-run").expect().out
    assert "nodes     worker: nothing on 3" in shown
    assert "ImageContentSourcePolicy/rook-ceph-images: skip (ImageDigestMirrorSet is served and preferred)" in shown
    again = site.run("load", yes=False).expect()
    assert "no node does anything" in again.out


def test_a_rollback_tells_that_nodes_drain(site: Site) -> None:
    site.run("load").expect()
    shown = site.rollback("--dry-run").expect().out
    assert "drain and CRI-O reload of 6 nodes (master 3, worker 3): docker.io/ceph is removed" in shown
    kept = site.rollback("--dry-run", "--keep-mirrors").expect().out
    assert "drain" not in kept


def on_workers(site: Site) -> str:
    """The configuration that the workers have."""
    pool = site.object("machineconfigpool/worker")
    return json.dumps(site.object(f"machineconfig/{pool['status']['configuration']['name']}"))


def test_what_leaves_the_nodes_is_waited_for(site: Site, controllers: Controllers) -> None:
    entries = [{"source": "quay.io/old", "mirrors": [f"{site.registry.host}/old"]}]
    site.run("load").expect()
    more = [*site.object(IDMS)["spec"]["imageDigestMirrors"], *entries]
    body = json.dumps({"spec": {"imageDigestMirrors": more}})
    site.cluster.kubectl("patch", IDMS, "--type=merge", "-p", body)
    controllers.settle()
    assert "quay.io/old" in on_workers(site)
    controllers.late = 2.0
    site.run("load", "--prune-mirrors").expect()
    assert "quay.io/old" not in on_workers(site)


def test_mirrors_that_another_object_has_too_are_not_waited_for(site: Site) -> None:
    site.run("load").expect()
    found = site.object(IDMS)
    twin = {**found, "metadata": {"name": "twin"}}
    site.cluster.kubectl("create", "-f", "-", input=json.dumps(twin))
    ran = site.rollback("--timeout", "20s").expect()
    assert "pools: master, worker updated" in ran.out
    assert "docker.io/ceph" in on_workers(site)


def test_pruning_is_said_to_drain_and_needs_its_option(site: Site) -> None:
    site.run("load").expect()
    entries = site.object(IDMS)["spec"]["imageDigestMirrors"]
    more = [*entries, {"source": "quay.io/old", "mirrors": [f"{site.registry.host}/old"]}]
    body = json.dumps({"spec": {"imageDigestMirrors": more}})
    site.cluster.kubectl("patch", *IDMS.split("/"), "--type=merge", "-p", body)
    kept = site.run("load", "--dry-run", "--json").expect().json
    assert [o["action"] for o in kept["objects"] if o["kind"] == "ImageDigestMirrorSet"] == ["unchanged"]
    pruned = site.run("load", "--dry-run", "--json", "--prune-mirrors").expect().json
    assert [o["action"] for o in pruned["objects"] if o["kind"] == "ImageDigestMirrorSet"] == ["patch"]
    assert '"source": "quay.io/old"' in str(pruned["objects"])


@pytest.fixture
def openshift(site: Site) -> Iterator[Site]:
    """With an image config that lets nodes speak http to the registry, and a pull secret with someone else's login."""
    sources = {"registrySources": {"insecureRegistries": [site.registry.host]}}
    image = {"apiVersion": "config.openshift.io/v1", "kind": "Image", "metadata": {"name": "cluster"}, "spec": sources}
    metadata = {"name": "pull-secret", "namespace": "openshift-config"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/dockerconfigjson"}
    if not site.cluster.kubectl("get", "namespace", "openshift-config", "--ignore-not-found", "-o", "name"):
        site.cluster.kubectl("create", "namespace", "openshift-config")
    for item in (image, {**secret, "data": {".dockerconfigjson": OLD}}):
        site.cluster.kubectl("create", "-f", "-", input=json.dumps(item))
    yield site
    site.cluster.kubectl("delete", "images.config.openshift.io", "cluster")
    site.cluster.kubectl("delete", "secrets,configmaps", "--all", "-n", "openshift-config")


def files_for(site: Site) -> tuple[Path, Path]:
    authority, login = site.cli.folder / "ca.pem", site.cli.folder / "login.json"
    authority.write_bytes((site.cluster.logs / "server.pem").read_bytes())
    packed = base64.b64encode(f"user:{SECRET}".encode()).decode()
    login.write_text(
        json.dumps({"auths": {site.registry.host: {"auth": packed}, "other.io": {"auth": "b3RoZXI6eA=="}}})
    )
    return authority, login


def test_authority_and_login_reach_the_cluster_and_nothing_else_is_told(openshift: Site) -> None:
    authority, login = files_for(openshift)
    options = ["--cluster-ca", authority, "--cluster-auth", login, "--only", "mirrors"]
    shown = openshift.run("load", "--dry-run", *options).expect()
    ran = openshift.run("load", *options).expect()
    packed = openshift.cluster.kubectl("get", "secret", "pull-secret", "-n", "openshift-config", "-o", "json")
    stored = json.loads(base64.b64decode(json.loads(packed)["data"][".dockerconfigjson"]))
    assert set(stored["auths"]) == {"quay.io", openshift.registry.host}
    assert stored["auths"]["quay.io"] == {"auth": "eDp5"}
    data = openshift.cluster.kubectl("get", "configmap", "airgap-registry-cas", "-n", "openshift-config", "-o", "json")
    assert list(json.loads(data)["data"]) == [openshift.registry.host.replace(":", "..")]
    new = json.loads(packed)["data"][".dockerconfigjson"]
    hidden = [SECRET, "eDp5", OLD, new, stored["auths"][openshift.registry.host]["auth"]]
    told = [shown.out, shown.err, ran.out, ran.err, *texts(openshift.cli.folder / "reports")]
    told += texts(openshift.cli.home / ".local/state/airgap-loader/logs")
    assert len(told) > 5
    assert [word for word in hidden for text in told if word in text] == []
    assert "nothing to change" in openshift.run("load", *options, yes=False).expect().out


def test_a_login_alone_is_waited_for_too(openshift: Site, controllers: Controllers) -> None:
    openshift.run("load", "--only", "mirrors").expect()
    controllers.settle()
    controllers.late = 1.5
    _, login = files_for(openshift)
    ran = openshift.run("load", "--cluster-auth", login, "--only", "mirrors").expect()
    assert "Secret/pull-secret in openshift-config patched" in ran.out
    assert all(openshift.registry.host in logins for logins in logins_of(openshift))
    back = openshift.rollback().expect()
    assert "Secret/pull-secret in openshift-config restored" in back.out
    assert back.out.count("wait ") == 2, "mirrors and login go back in one roll-out"
    assert [set(logins) for logins in logins_of(openshift)] == [{"quay.io"}] * 2


def logins_of(site: Site) -> list[dict[str, Any]]:
    """The logins in the file that each pool's nodes have."""
    where = "jsonpath={.items[*].status.configuration.name}"
    found = []
    for name in site.cluster.kubectl("get", "machineconfigpools", "-o", where).split():
        config = json.loads(site.cluster.kubectl("get", "machineconfig", name, "-o", "json"))
        files = {file["path"]: file["contents"]["source"] for file in config["spec"]["config"]["storage"]["files"]}
        packed = files["/var/lib/kubelet/config.json"].partition(",")[2]
        found.append(json.loads(base64.b64decode(packed))["auths"])
    return found


@pytest.fixture
def handing_out(openshift: Site) -> Iterator[Site]:
    """With the machine-config operator's own configuration, two nodes of it and one that is none of its."""
    api = "machineconfiguration.openshift.io"
    kind = crd("ControllerConfig")
    kind["metadata"]["name"], kind["spec"]["group"] = f"controllerconfigs.{api}", api
    name = {"name": "machine-config-controller"}
    config = {"apiVersion": f"{api}/v1", "kind": "ControllerConfig", "metadata": name, "spec": {}}
    kubectl = openshift.cluster.kubectl
    kubectl("create", "-f", "-", input=json.dumps(kind))
    kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/controllerconfigs.{api}")
    kubectl("create", "-f", "-", input=json.dumps(config))
    for node, noted in (("m1", {NOTED: "1"}), ("w1", {NOTED: "1"}), ("other", {})):
        metadata = {"name": node, "annotations": noted}
        kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": metadata}))
    yield openshift
    kubectl("delete", "nodes", "--all")
    kubectl("delete", "crd", f"controllerconfigs.{api}")


def test_an_authority_is_waited_for_until_every_node_has_it(handing_out: Site, controllers: Controllers) -> None:
    handing_out.run("load", "--only", "mirrors").expect()
    controllers.settle()
    controllers.late = controllers.takes = 1.5
    authority, _ = files_for(handing_out)
    ran = handing_out.run("load", "--cluster-ca", authority, "--only", "mirrors").expect()
    assert "has not taken the CA yet" in ran.err
    assert "registry CA on nodes: 3 nodes up to date" in ran.out
    noted = "jsonpath={.items[*].metadata.annotations}"
    version = handing_out.cluster.kubectl(
        "get", "controllerconfigs", "-o", "jsonpath={.items[0].metadata.resourceVersion}"
    )
    assert handing_out.cluster.kubectl("get", "nodes", "-o", noted).count(f'"{version}"') == 2
    controllers.ignoring.add("mco")
    handing_out.rollback("--timeout", "3s").expect(8)
    controllers.ignoring.clear()
    handing_out.run("load", "--cluster-ca", authority, "--only", "mirrors", yes=True).expect()


def test_a_bundle_that_asks_for_it_mirrors_tags_in_the_same_roll_out(site: Site, controllers: Controllers) -> None:
    with RegistryServer() as source:
        article.put_images(source.store)
        folder = site.cli.folder / "tags"
        folder.mkdir()
        for name in ("builder.key", "builder.pub"):
            (folder / name).write_bytes((site.archive.parent.parent / name).read_bytes())
        text = article.config().replace("  name: rook-ceph-images", "  name: rook-ceph-images\n  tags: true")
        site.archive = article.build(Cli(folder), source.host, text)
    found = site.run("load", "--dry-run", "--json").expect().json
    assert [pool["effect"] for pool in found["nodes"]] == ["drain", "drain"]
    ran = site.run("load", "--only", "mirrors").expect()
    said = [line.split()[1].split("/")[0] for line in ran.out.splitlines() if line.startswith(("apply", "wait"))]
    assert said[:4] == ["ImageDigestMirrorSet", "ImageContentSourcePolicy", "ImageTagMirrorSet", "pools:"]
    tags = site.object("imagetagmirrorsets.config.openshift.io/rook-ceph-images")["spec"]["imageTagMirrors"]
    digests = site.object(IDMS)["spec"]["imageDigestMirrors"]
    assert [row["source"] for row in tags] == [row["source"] for row in digests]
    assert "nothing to change" in site.run("load", "--only", "mirrors", yes=False).expect().out
    site.rollback().expect()
    assert not site.cluster.kubectl("get", "imagetagmirrorsets.config.openshift.io", "-o", "name")


def texts(folder: Path) -> list[str]:
    return [path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()]


@pytest.mark.parametrize("option", ["--cluster-ca", "--cluster-auth"])
def test_a_file_that_is_none_is_refused_before_anything_is_pushed(openshift: Site, option: str) -> None:
    wrong = openshift.cli.folder / "wrong"
    wrong.write_text(SECRET)
    ran = openshift.run("load", option, wrong).expect(2)
    assert option in ran.three_lines[0]
    assert SECRET not in ran.err
    openshift.run("load", option, openshift.cli.folder / "absent").expect(2)
    assert not openshift.tags("ceph/ceph")


def test_nodes_that_would_ask_by_https_are_a_blocker(openshift: Site) -> None:
    body: dict[str, Any] = {"spec": {"registrySources": {"insecureRegistries": []}}}
    openshift.cluster.kubectl("patch", "images.config.openshift.io", "cluster", "--type=merge", "-p", json.dumps(body))
    ran = openshift.run("load").expect(7)
    assert "speaks http and is not in insecureRegistries" in " ".join(ran.three_lines)
    assert not openshift.tags("ceph/ceph")
