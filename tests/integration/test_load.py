"""The one command, from outside: the article's bundle into a registry and a real API server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import article
from tests.support.apiserver import CRDS, ApiServer, install_crds
from tests.support.cli import Cli, Ran, tree
from tests.support.controllers import Api, Controllers, running
from tests.support.registry import RegistryServer
from tests.unit.loader.cluster import makers

IDMS = "imagedigestmirrorsets.config.openshift.io"
ICSP = "imagecontentsourcepolicies.operator.openshift.io"
ROOK = ("deployment/rook-ceph-operator", "configmap/rook-ceph-operator-config", "cephcluster/rook-ceph")
OBJECTS = f"{IDMS},{ICSP},deployments,configmaps,cephclusters"


class Site:
    """One bundle, an empty registry and a cluster with a Rook v1.5 install in ``rook-ceph``."""

    def __init__(self, cli: Cli, archive: Path, registry: RegistryServer, cluster: ApiServer) -> None:
        self.cli = cli
        self.archive = archive
        self.registry = registry
        self.cluster = cluster

    def run(self, verb: str, *args: object, yes: bool = True, kubeconfig: Path | None = None) -> Ran:
        access = ["--trust", "builder.pub", "--registry", self.registry.host, "--plain-http"]
        where = ["--kubeconfig", kubeconfig or self.cluster.kubeconfig] if verb != "push" else []
        answer = ["--yes"] if yes and verb != "push" else []
        return self.cli.loader(verb, self.archive, *access, *where, *answer, "--report", "reports", *args)

    def object(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cluster.kubectl("get", name, "-n", "rook-ceph", "-o", "json"))
        return found

    def versions(self) -> dict[str, str]:
        items = json.loads(self.cluster.kubectl("get", OBJECTS, "-n", "rook-ceph", "-o", "json"))["items"]
        return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}

    def tags(self, repository: str) -> dict[str, str]:
        return {tag: digest for (name, tag), digest in self.registry.store.tags.items() if name == repository}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The archive, and the digest of each image by name."""
    folder = tmp_path_factory.mktemp("bundle")
    with RegistryServer() as source:
        made = article.put_images(source.store)
        archive = article.build(Cli(folder), source.host)
    return archive, {name: image.digest for name, image in made.items()}


@pytest.fixture
def quiet_site(api_server: ApiServer, bundle: tuple[Path, dict[str, str]], tmp_path: Path) -> Iterator[Site]:
    archive, _ = bundle
    (tmp_path / "builder.pub").write_bytes((archive.parent.parent / "builder.pub").read_bytes())
    path = f"{api_server.program.parent}:{os.defpath}"
    api_server.kubectl("create", "namespace", "rook-ceph")
    for item in (makers.deployment(), makers.config_map(), makers.ceph_cluster()):
        api_server.kubectl("create", "-f", "-", input=json.dumps(item))
    with RegistryServer() as registry:
        yield Site(Cli(tmp_path, path=path), archive, registry, api_server)
    for name in ROOK:
        api_server.kubectl("delete", name, "-n", "rook-ceph", "--wait=false")
    for kind in (IDMS, ICSP):
        if api_server.kubectl("get", "crd", kind, "--ignore-not-found", "-o", "name"):
            api_server.kubectl("delete", kind, "--all")
    # Nobody runs the namespace controller here: the next test finds the namespace as it was made.
    api_server.kubectl("delete", "namespace", "rook-ceph", "--wait=false")
    body = json.loads(api_server.kubectl("get", "namespace", "rook-ceph", "-o", "json"))
    body["spec"]["finalizers"] = []
    api_server.kubectl("replace", "--raw", "/api/v1/namespaces/rook-ceph/finalize", "-f", "-", input=json.dumps(body))


@pytest.fixture
def site(quiet_site: Site) -> Iterator[Site]:
    """The same with the controllers of OpenShift and Rook at work."""
    with running(Controllers(Api(quiet_site.cluster), "rook-ceph")):
        yield quiet_site


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
    assert "<script" not in (site.cli.folder / "reports/rook-ceph-2020.10.load.html").read_text()


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


def test_no_apply_writes_the_documents_for_this_registry(site: Site) -> None:
    ran = site.run("load", "--no-apply").expect()
    folder = site.cli.folder / "reports/rook-ceph-2020.10.documents/documents"
    assert f"{site.registry.host}/ceph" in (folder / "mirrors/idms.yaml").read_text()
    assert article.REGISTRY not in (folder / "mirrors/icsp.yaml").read_text()
    assert "oc apply --server-side -f documents/mirrors/idms.yaml" in ran.out
    assert not site.cluster.kubectl("get", IDMS, "-o", "name")


def test_apply_alone_wants_the_images_first(site: Site) -> None:
    ran = site.run("apply").expect(6)
    assert "push" in ran.three_lines[-1]
    assert not site.cluster.kubectl("get", IDMS, "-o", "name")
    site.run("push").expect()
    site.run("apply").expect()
    assert site.cluster.kubectl("get", IDMS, "-o", "name").strip().endswith("rook-ceph-images")


def test_only_mirrors(site: Site) -> None:
    before = site.versions()
    site.run("load", "--only", "mirrors").expect()
    after = site.versions()
    assert after.pop("ImageDigestMirrorSet/rook-ceph-images")
    assert after == before
    site.run("load", "--only", "mirror").expect(2)


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
