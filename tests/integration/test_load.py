"""The one command, from outside: the article's bundle into a registry and a real API server."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import article
from tests.support.apiserver import CRDS, install_crds
from tests.support.cli import Cli, tree
from tests.support.registry import RegistryServer
from tests.support.site import ICSP, IDMS, REPORT, Site


def test_load_brings_images_and_documents(site: Site, bundle: tuple[Path, dict[str, str]]) -> None:
    ran = site.run("load", "--json").expect()
    digests = bundle[1]
    operator = site.object("deployment/rook-ceph-operator")
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"docker.io/rook/ceph@{digests['docker.io/rook/ceph:master']}"
    data = site.object("configmap/rook-ceph-operator-config")["data"]
    assert data["ROOK_CSI_CEPH_IMAGE"] == f"quay.io/cephcsi/cephcsi@{digests['quay.io/cephcsi/cephcsi:v3.1.1']}"
    assert len([key for key in data if key.startswith("ROOK_CSI_") and key.endswith("_IMAGE")]) == 6
    ceph = site.object("cephcluster/rook-ceph")["spec"]["cephVersion"]["image"]
    assert ceph == f"docker.io/ceph/ceph@{digests['docker.io/ceph/ceph:v15.2.4']}"
    mirrors = site.object(f"{IDMS}/rook-ceph-images")["spec"]["imageDigestMirrors"]
    assert {row["source"]: row["mirrors"] for row in mirrors}["docker.io/ceph"] == [f"{site.registry.host}/ceph"]
    assert not site.cluster.kubectl("get", ICSP, "-o", "name")
    for name, digest in digests.items():
        repository, _, tag = name.partition("/")[2].rpartition(":")
        assert site.tags(repository)[tag] == digest
    report = json.loads((site.cli.folder / "reports/rook-ceph-2020.10.load.json").read_text())
    assert report == ran.json
    assert report["state"] == "complete"
    assert [item["action"] for item in report["objects"] if item["kind"] == "CephCluster"] == ["patch"]
    page = (site.cli.folder / "reports/rook-ceph-2020.10.load.html").read_text()
    assert "<script" not in page
    assert "+++ after deployment.apps/rook-ceph-operator" in page
    assert page.count("rook/ceph:v1.5.0") == 1, "what the operator was before"
    assert page.count("confirmed, tag moved") == len(digests)


def test_a_second_load_changes_nothing_and_says_so(site: Site) -> None:
    site.run("load").expect()
    before = site.versions()
    writes = len([r for r in site.registry.requests if r.method in {"PUT", "POST", "PATCH"}])
    again = site.run("load", yes=False).expect()
    assert site.versions() == before
    assert len([r for r in site.registry.requests if r.method in {"PUT", "POST", "PATCH"}]) == writes
    assert "nothing to change" in again.out
    assert "0 blobs sent" in again.out


def test_a_dry_run_writes_nothing_anywhere(site: Site) -> None:
    site.cli.home.mkdir()
    files, objects = tree(site.cli.folder), site.versions()
    effect = site.run("load", "--dry-run", "--json").expect().json
    assert tree(site.cli.folder) == files
    assert site.versions() == objects
    assert not [r for r in site.registry.requests if r.method in {"PUT", "POST", "PATCH", "DELETE"}]
    assert effect["blobs"]["send"] > 0
    assert effect["blobs"]["skip"] == 0
    assert len(effect["images"]) == 8
    assert {item["from"] for item in effect["tags"]} == {None}
    actions = {(item["kind"], item["action"]) for item in effect["objects"]}
    assert ("ImageDigestMirrorSet", "create") in actions
    assert ("CephCluster", "patch") in actions
    assert all(item["diff"] for item in effect["objects"] if item["action"] in {"create", "patch"})


def test_without_a_terminal_and_yes_nothing_is_pushed(site: Site) -> None:
    ran = site.run("load", yes=False).expect(2)
    assert "--yes" in ran.three_lines[-1]
    assert not site.tags("ceph/ceph")


def test_where_only_icsp_is_served_it_is_taken(site: Site) -> None:
    site.cluster.kubectl("delete", "crd", IDMS, "imagetagmirrorsets.config.openshift.io")
    try:
        site.run("load").expect()
        rows = site.object(f"{ICSP}/rook-ceph-images")["spec"]["repositoryDigestMirrors"]
        assert [row["source"] for row in rows] == [
            "docker.io/ceph",
            "docker.io/rook",
            "k8s.gcr.io/sig-storage",
            "quay.io/cephcsi",
        ]
    finally:
        install_crds(site.cluster, sorted(CRDS.glob("image*mirrorsets.*.yaml")))


def test_missing_permissions_are_listed_before_anything_is_pushed(site: Site) -> None:
    ran = site.run("load", kubeconfig=site.cluster.restricted_kubeconfig).expect(7)
    text = " ".join(ran.three_lines)
    assert "cephclusters" in text
    assert "deployments" in text
    assert not site.tags("ceph/ceph")


def test_without_a_cluster_nothing_is_pushed(site: Site) -> None:
    broken = site.cli.folder / "kubeconfig"
    broken.write_text(site.cluster.kubeconfig.read_text().replace(site.cluster.url, "https://127.0.0.1:1"))
    site.run("load", kubeconfig=broken).expect(7).three_lines  # noqa: B018 - the property checks the form
    assert not site.tags("ceph/ceph")
    report = site.report
    assert (report["state"], report["cluster"], report["error"]["code"]) == ("failed", None, 7)
    hashed = (site.archive.parent / f"{site.archive.name}.sha256").read_text().split()[0]
    assert report["archive"] == {
        "name": site.archive.name,
        "sha256": hashed,
        "size": site.archive.stat().st_size,
    }
    assert hashed in (site.cli.folder / "reports/rook-ceph-2020.10.load.html").read_text()
    # The next run goes on with it, now that the cluster is known.
    site.run("load", "--only", "mirrors").expect()
    assert [run["state"] for run in site.report["runs"]] == ["failed", "complete"]
    assert site.report["cluster"]["server"] == site.cluster.url


def test_no_apply_writes_the_documents_for_this_registry(site: Site) -> None:
    ran = site.run("load", "--no-apply").expect()
    folder = site.cli.folder / "reports/rook-ceph-2020.10.documents/documents"
    assert f"{site.registry.host}/ceph" in (folder / "mirrors/idms.yaml").read_text()
    assert article.REGISTRY not in (folder / "mirrors/icsp.yaml").read_text()
    assert "oc apply --server-side --field-manager=airgap-loader -f documents/mirrors/idms.yaml" in ran.out
    assert not site.cluster.kubectl("get", IDMS, "-o", "name")
    manual = site.run("load", "--no-apply", "--mirrors", "manual").expect()
    assert "mirrors/idms.yaml" not in manual.out
    assert "oc -n rook-ceph patch cephcluster" in manual.out
    shown = site.run("load", "--no-apply", "--dry-run", "--report", "nowhere").expect()
    assert "once a run has written it" in shown.out
    assert not (site.cli.folder / "nowhere").exists()


def test_apply_alone_wants_the_images_first(site: Site) -> None:
    ran = site.run("apply").expect(6)
    assert "push" in ran.three_lines[-1]
    assert not site.cluster.kubectl("get", IDMS, "-o", "name")
    site.run("push").expect()
    pushed = site.report["images"]
    (site.cli.folder / "reports" / REPORT).unlink()
    site.run("apply").expect()
    assert site.cluster.kubectl("get", IDMS, "-o", "name").strip().endswith("rook-ceph-images")
    assert [run["verb"] for run in site.report["runs"]] == ["apply"]
    assert site.report["images"] == [{**image, "tagMoved": False} for image in pushed]


def test_only_mirrors(site: Site) -> None:
    before = site.versions()
    site.run("load", "--only", "mirrors").expect()
    after = site.versions()
    assert after.pop("ImageDigestMirrorSet/rook-ceph-images")
    assert after == before
    site.run("load", "--only", "mirror").expect(2)
    ran = site.run("load", "--only", "").expect(2)  # a variable that was never set is no wish for everything
    assert "--only '' is not known" in ran.three_lines[0]
    assert "'' is not a registry" in site.run("load", "--registry", "").expect(2).three_lines[0]


def test_one_image_that_fails_keeps_the_cluster_as_it_is(site: Site) -> None:
    site.registry.fail("status", method="PUT", path=r"/v2/cephcsi/cephcsi/manifests/", status=403, times=99)
    before = site.versions()
    ran = site.run("load").expect(6)
    assert "cephcsi/cephcsi" in " ".join(ran.three_lines)
    assert site.versions() == before
    assert site.tags("ceph/ceph")
    assert not site.tags("cephcsi/cephcsi")
    report = json.loads((site.cli.folder / "reports/rook-ceph-2020.10.load.json").read_text())
    assert report["state"] == "failed"
    assert report["error"]["code"] == 6


def test_an_older_bundle_is_refused_by_load_and_taken_with_a_reason(site: Site) -> None:
    site.run("push").expect()
    with RegistryServer() as source:
        article.put_images(source.store)
        folder = site.cli.folder / "older"
        folder.mkdir()
        for name in ("builder.key", "builder.pub"):
            (folder / name).write_bytes((site.archive.parent.parent / name).read_bytes())
        older = article.build(Cli(folder), source.host, article.config("2020.9", extra="sequence: 1\n"))
    newest, site.archive = site.archive, older
    ran = site.run("push").expect(3)
    assert "--allow-older" in ran.three_lines[-1]
    assert site.cli.loader("verify", older, "--trust", "builder.pub").expect().out.count("OLDER") == 1
    site.run("push", "--allow-older").expect(2)
    site.run("push", "--allow-older", "--reason", "the newer one is broken").expect()
    history = (site.cli.home / ".local/state/airgap-loader/sequences.json").read_text()
    assert "the newer one is broken" in history
    assert newest != older
