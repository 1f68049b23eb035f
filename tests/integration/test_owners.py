"""A Rook that Helm or ODF owns: not patched, and the person is told what to type."""

from __future__ import annotations

import json
import shlex

import yaml

from tests.support.controllers import Controllers
from tests.support.site import REPORT, Site

HELM = {
    "annotations": {"meta.helm.sh/release-name": "rook", "meta.helm.sh/release-namespace": "rook-ceph"},
    "labels": {"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "rook-ceph-v1.4.9"},
}
OPERATOR = ("deployment/rook-ceph-operator", "-n", "rook-ceph")


def image_of(site: Site) -> str:
    containers = site.object(OPERATOR[0])["spec"]["template"]["spec"]["containers"]
    return str(containers[0]["image"])


def test_helm_is_left_its_rook_and_the_same_command_goes_on(site: Site) -> None:
    site.cluster.kubectl("patch", *OPERATOR, "--type=merge", "-p", json.dumps({"metadata": HELM}))
    before = {name: state for name, state in site.states().items() if "Mirror" not in name}
    effect = site.run("load", "--dry-run", "--json").expect().json
    assert {item["kind"] for item in effect["objects"] if item["action"] in {"patch", "create"}} == {
        "ImageDigestMirrorSet"
    }
    (finding,) = [each for each in effect["findings"] if "Helm" in each["text"]]
    assert "helm upgrade rook rook-ceph-v1.5.0.tgz --namespace rook-ceph" in finding["hint"]
    ran = site.run("load").expect(8)
    assert {name: state for name, state in site.states().items() if "Mirror" not in name} == before
    assert site.tags("ceph/ceph"), "the images are there for helm to use"
    (line,) = [line for line in ran.out.splitlines() if line.startswith("helm ")]
    words = shlex.split(line)[1:]
    assert words[:4] == ["helm", "upgrade", "rook", "rook-ceph-v1.5.0.tgz"]
    assert " ".join(words) in ran.three_lines[-1]
    assert site.report["state"] == "pending"
    values = yaml.safe_load((site.cli.folder / words[-1]).read_text())
    # What that helm upgrade makes of the Deployment.
    image = f"{values['image']['repository']}:{values['image']['tag']}"
    container = {"name": "rook-ceph-operator", "image": image}
    body = {"spec": {"template": {"spec": {"containers": [container]}}}}
    site.cluster.kubectl("patch", *OPERATOR, "--type=strategic", "-p", json.dumps(body))
    done = site.run("load").expect()
    assert "Deployment/rook-ceph-operator in rook-ceph unchanged" in done.out
    # The chart of v1.5.0 has the CSI images in the operator's environment, and makes no ConfigMap; this one is ours.
    assert "ConfigMap/rook-ceph-operator-config in rook-ceph patched" in done.out
    assert "CephCluster/rook-ceph in rook-ceph patched" in done.out
    assert (site.cli.folder / "reports" / REPORT).exists()


def test_an_owner_that_hides_and_puts_the_image_back_is_found_out(site: Site, controllers: Controllers) -> None:
    controllers.ignoring.add("reverting")
    before = site.states()
    # 7 where it is put back at once, 8 where the wait for the roll-out sees it.
    ran = site.run("load", "--timeout", "5s")
    assert ran.status in {7, 8}
    assert any(word in " ".join(ran.three_lines) for word in ("puts it back", "changes it back"))
    assert "@" not in image_of(site)
    assert site.report["state"] in {"failed", "pending"}
    ceph = site.object("cephcluster/rook-ceph")["spec"]["cephVersion"]["image"]
    assert "@" not in ceph, "Ceph waits for an operator that holds"
    site.rollback("--timeout", "60s").expect()
    assert site.states() == before


def test_odf_is_updated_by_its_catalog(site: Site) -> None:
    owner = {"apiVersion": "operators.coreos.com/v1alpha1", "kind": "ClusterServiceVersion", "name": "odf", "uid": "1"}
    body = {"metadata": {"ownerReferences": [owner]}}
    site.cluster.kubectl("patch", *OPERATOR, "--type=merge", "-p", json.dumps(body))
    before = image_of(site)
    ran = site.run("load").expect(7)
    assert "ClusterServiceVersion/odf" in ran.three_lines[1]
    assert "ODF is updated by its catalog: `load --only mirrors`" in ran.three_lines[2]
    assert not site.tags("ceph/ceph")
    assert image_of(site) == before
    site.run("load", "--only", "mirrors").expect()
    assert site.tags("ceph/ceph")
    assert image_of(site) == before
