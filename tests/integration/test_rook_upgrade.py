"""From Rook v1.19 to v1.20, where the CSI images move to the csi-operator's ConfigMap, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import article, csioperator
from tests.support.apiserver import ApiServer
from tests.support.cli import Cli
from tests.support.controllers import Api, running
from tests.support.csioperator import DRIVER, CsiOperatorControllers
from tests.support.images import make_image, make_layer
from tests.support.killer import Killer
from tests.support.registry import RegistryServer
from tests.support.site import Site, made_site

WATCHED = "deployments,daemonsets,configmaps,cephclusters,drivers.csi.ceph.io,imagedigestmirrorsets"


def config(version: str) -> str:
    images = "".join(f"- {name}\n" for name in csioperator.IMAGES)
    return (
        f'name: rook-ceph\nversion: "2020.10"\nregistry: {article.REGISTRY}\nimages:\n{images}'
        f"mirrors:\n  name: rook-ceph-images\nrook:\n  version: {version}\n"
    )


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cli, str]]:
    """A folder to build in, and a registry with the images of v1.20.6 behind the public names."""
    with RegistryServer() as source:
        base = [make_layer("base", 2000)]
        for name in csioperator.IMAGES:
            repository, _, tag = name.rpartition(":")
            image = make_image(layers=base, name=repository.rpartition("/")[2], layer_size=500)
            image.put(source.store, repository, tag)
        yield Cli(tmp_path_factory.mktemp("upgrade")), source.host


def built(builder: tuple[Cli, str], version: str) -> Path:
    cli, host = builder
    folder = cli.folder / version
    folder.mkdir(exist_ok=True)
    for name in ("builder.key", "builder.pub"):
        if (cli.folder / name).exists():
            (folder / name).write_bytes((cli.folder / name).read_bytes())
    return article.build(Cli(folder), host, config(version))


@pytest.fixture(scope="module")
def archive(builder: tuple[Cli, str]) -> Path:
    return built(builder, "v1.20.6")


@pytest.fixture
def rook(api_server: ApiServer, archive: Path, tmp_path: Path) -> Iterator[Site]:
    with made_site(api_server, archive, tmp_path, csioperator.installed()) as site:
        yield site


@pytest.fixture
def playing(rook: Site) -> Iterator[CsiOperatorControllers]:
    made = CsiOperatorControllers(Api(rook.cluster), "rook-ceph", ceph=("20.2.4", "20.2.4"))
    with running(made):
        yield made


def states(site: Site) -> dict[str, object]:
    items = json.loads(site.cluster.kubectl("get", WATCHED, "-n", "rook-ceph", "-o", "json"))["items"]
    for item in items:
        # The API server counts the templates of a DaemonSet here.
        item["metadata"].get("annotations", {}).pop("deprecated.daemonset.template.generation", None)
    return {
        f"{item['kind']}/{item['metadata']['name']}": [
            item["metadata"].get("labels"),
            item["metadata"].get("annotations"),
            item.get("spec"),
            item.get("data"),
        ]
        for item in items
    }


def test_the_image_set_is_written_after_the_old_operator_and_the_driver_is_poked(
    rook: Site, playing: CsiOperatorControllers
) -> None:
    playing.settle()
    before = states(rook)
    ran = rook.run("load", "--timeout", "60s").expect()
    said = [line.split("(")[0].split() for line in ran.out.splitlines() if line.startswith(("apply", "wait"))]
    order = [words[1].rstrip(":") for words in said if "unchanged" not in words and "skipped" not in words]
    assert order == [
        "ImageDigestMirrorSet/rook-ceph-images",
        "pools",
        "Deployment/rook-ceph-operator",
        "Deployment/ceph-csi-controller-manager",
        "rollout",
        "rollout",
        "ConfigMap/rook-csi-operator-image-set-configmap",
        "CSI",  # image set
        f"Driver/{DRIVER}",
        "CSI",
        "CephCluster/rook-ceph",
        "CephCluster/rook-ceph",
    ]
    assert "CSI plugins on 2 nodes" in ran.out
    plugin = rook.object(f"daemonset/{DRIVER}-nodeplugin")["spec"]["template"]["spec"]["containers"]
    assert all("@sha256:" in container["image"] for container in plugin)
    playing.settle()
    versions = rook.versions()
    rook.run("load", yes=False).expect()
    assert rook.versions() == versions
    rook.rollback("--timeout", "60s").expect()
    playing.settle()
    assert states(rook) == before


def test_a_csi_operator_that_does_not_look_is_waited_for(rook: Site, playing: CsiOperatorControllers) -> None:
    playing.ignoring.add("csi-operator")
    ran = rook.run("load", "--timeout", "4s").expect(8)
    assert "without the new image yet" in ran.three_lines[1]
    playing.ignoring.clear()
    rook.run("load", "--timeout", "60s").expect()


def test_daemons_that_stay_on_the_old_rook_are_waited_for(rook: Site, playing: CsiOperatorControllers) -> None:
    playing.settle()
    playing.ignoring.add("daemons")
    ran = rook.run("load", "--timeout", "15s").expect(8)
    assert "daemons with rook-version v1.19.5, the new one is v1.20.6" in ran.three_lines[1]
    playing.ignoring.clear()
    rook.run("load", "--timeout", "60s").expect()


WRITES = ("mirrors", "operator", "csi-operator", "image-set", "driver", "cluster")


@pytest.mark.parametrize("number", range(1, len(WRITES) + 1), ids=WRITES)
def test_an_upgrade_killed_at_a_write(rook: Site, playing: CsiOperatorControllers, tmp_path: Path, number: int) -> None:
    playing.settle()
    before = states(rook)
    killer = Killer(tmp_path / "killer", rook.cluster.program)
    killer.before(rook)
    killer.at(number, "before")
    rook.run("load", "--timeout", "60s").expect(killer.status)
    killer.never()
    rook.rollback("--timeout", "60s").expect()
    playing.settle()
    assert states(rook) == before
    killer.at(number, "after")
    rook.run("load", "--timeout", "60s").expect(killer.status)
    assert rook.report["state"] == "interrupted"
    killer.never()
    rook.run("load", "--timeout", "60s").expect()
    assert killer.writes == len(WRITES) - number
    rook.rollback("--timeout", "60s").expect()
    playing.settle()
    assert states(rook) == before


@pytest.mark.parametrize(("bundle", "cluster"), [("v1.19.5", "v1.20.0"), ("v1.20.6", "v1.18.9")])
def test_a_bundle_of_the_other_side_of_v1_20_is_refused(
    api_server: ApiServer, builder: tuple[Cli, str], tmp_path: Path, bundle: str, cluster: str
) -> None:
    with made_site(api_server, built(builder, bundle), tmp_path, csioperator.installed(cluster)) as site:
        versions = site.versions()
        ran = site.run("load").expect(7)
        assert f"the cluster runs {cluster}" in ran.three_lines[1]
        assert site.versions() == versions
        assert not site.tags("ceph/ceph")
