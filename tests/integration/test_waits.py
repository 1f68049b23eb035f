"""Loads that wait, from outside: controllers that are late, paused, broken or not there, and Ctrl-C."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import jsonschema

from loader.record import decode
from tests.integration.test_rollback import kill_at
from tests.support import article
from tests.support.cli import ROOT, Cli
from tests.support.controllers import POOLS, Controllers
from tests.support.registry import RegistryServer
from tests.support.site import REPORT, Site


def report_of(site: Site) -> dict[str, object]:
    """The report, after types and schema have both agreed to it."""
    path = site.cli.folder / "reports" / REPORT
    decode(path.read_bytes(), REPORT)
    schema = json.loads((ROOT / "schemas/load-report.v1.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(path.read_text()))
    return site.report


def test_a_fresh_load_waits_for_all_and_a_second_for_nothing(site: Site, controllers: Controllers) -> None:
    controllers.late = 1.0  # until then the pools go on saying that they are updated
    ran = site.run("load").expect()
    said = [line for line in ran.out.splitlines() if line.startswith(("apply", "wait"))]
    names = [line.split("(")[0].split()[1].rstrip(":") for line in said]
    assert names == [
        "ImageDigestMirrorSet/rook-ceph-images",
        "ImageContentSourcePolicy/rook-ceph-images",
        "pools",
        "Deployment/rook-ceph-operator",
        "ConfigMap/rook-ceph-operator-config",
        "rollout",
        "CSI",
        "CephCluster/rook-ceph",
        "CephCluster/rook-ceph",
    ]
    assert "master, worker updated" in ran.out
    assert "one version 15.2.4" in ran.out
    waits = report_of(site)["waits"]
    assert isinstance(waits, list)
    assert [wait["state"] for wait in waits] == ["done"] * 4
    controllers.settle()
    before = site.versions()
    again = site.run("load", "--json", yes=False).expect().json
    assert site.versions() == before
    second = [wait for wait in again["waits"] if wait["run"] == 1]
    assert [wait["state"] for wait in second] == ["done"] * 4
    assert max(wait["seconds"] for wait in second) < 5  # one look each, however busy the machine is
    assert [run["state"] for run in again["runs"]] == ["complete"] * 2


def test_an_upgrade_changes_the_images_and_waits_anew(site: Site) -> None:
    site.run("load").expect()
    with RegistryServer() as source:
        newer = article.put_images(source.store, layer_size=3000)
        folder = site.cli.folder / "newer"
        folder.mkdir()
        for name in ("builder.key", "builder.pub"):
            (folder / name).write_bytes((site.archive.parent.parent / name).read_bytes())
        site.archive = article.build(
            Cli(folder), source.host, article.config("2020.11", extra="sequence: 9999999999\n")
        )
    ran = site.run("load").expect()
    assert "ImageDigestMirrorSet/rook-ceph-images unchanged" in ran.out
    assert "CephCluster/rook-ceph in rook-ceph patched" in ran.out
    image = site.object("cephcluster/rook-ceph")["status"]["version"]["image"]
    assert image.endswith(newer["docker.io/ceph/ceph:v15.2.4"].digest)
    assert {path.name for path in (site.cli.folder / "reports").glob("*.json")} == {
        "rook-ceph-2020.10.load.json",
        "rook-ceph-2020.11.load.json",
    }


def test_what_nobody_ever_looked_after_is_not_waited_for(quiet_site: Site) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
    quiet_site.cluster.kubectl("create", "-f", "-", input=json.dumps(account))
    try:
        # A controller manager has been here: it is merely slow, however long it takes.
        ran = quiet_site.run("load", "--timeout", "12s").expect(8)
    finally:
        quiet_site.cluster.kubectl("delete", "serviceaccount", "default", "-n", "default")
    assert "the same command goes on" in ran.three_lines[-1]
    assert "no MachineConfigPool is here" in ran.out
    assert report_of(quiet_site)["state"] == "pending"
    quiet_site.run("load").expect()
    texts = " ".join(wait["text"] for wait in quiet_site.report["waits"] if wait["run"] == 1)
    assert "no controller ever wrote its status" in texts
    assert "no operator ever wrote its status" in texts
    assert [run["state"] for run in quiet_site.report["runs"]] == ["pending", "complete"]
    quiet_site.run("load", "--timeout", "soon").expect(2)


def test_the_articles_documents_take_few_calls_where_nobody_acts(quiet_site: Site) -> None:
    quiet_site.run("push").expect()
    folder, log = quiet_site.cli.folder / "bin", quiet_site.cli.folder / "calls"
    folder.mkdir()
    script = f'#!/bin/sh\necho "$@" >> {log}\nexec {quiet_site.cluster.program} "$@"\n'
    (folder / "kubectl").write_text(script)
    (folder / "kubectl").chmod(0o755)
    quiet_site.cli = Cli(quiet_site.cli.folder, path=f"{folder}:{quiet_site.cli.path}")
    quiet_site.run("apply").expect()
    calls = log.read_text().splitlines()
    # Four of them look again, for some seconds, whether anybody acts.
    assert len(calls) <= 26, "\n".join(calls)
    log.unlink()
    quiet_site.run("apply").expect()
    assert len(log.read_text().splitlines()) <= 21


def test_a_paused_pool_is_pending_and_the_same_command_goes_on(site: Site, controllers: Controllers) -> None:
    controllers.api("PATCH", f"{POOLS}/worker", {"spec": {"paused": True}})
    controllers.settle()
    ran = site.run("load").expect(8)
    assert "pool worker is paused" in ran.three_lines[1]
    operator = site.object("deployment/rook-ceph-operator")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert "@" not in operator, "Rook must not be given images that nodes cannot pull yet"
    assert report_of(site)["state"] == "pending"
    assert any("MachineConfigPool/worker is paused" in warning for warning in site.report["warnings"])
    controllers.api("PATCH", f"{POOLS}/worker", {"spec": {"paused": False}})
    site.run("load").expect()
    assert site.report["waits"][0]["state"] == "paused"
    assert not any("paused" in warning for warning in site.report["warnings"])


def test_a_degraded_node_is_named_while_it_is_waited_for(site: Site, controllers: Controllers) -> None:
    controllers.degraded["worker"] = "Node w1 is reporting: unexpected on-disk state"
    ran = site.run("load", "--timeout", "4s").expect(7)
    assert "unexpected on-disk state" in ran.three_lines[1]
    assert "rollback" in ran.three_lines[2]
    assert report_of(site)["waits"][-1]["state"] == "failed"  # type: ignore[index] # a list, the schema says
    controllers.degraded.clear()
    site.run("load").expect()


def test_an_operator_that_does_nothing_is_pending_with_its_last_state(site: Site, controllers: Controllers) -> None:
    controllers.ignoring.add("mco")
    ran = site.run("load", "--timeout", "3s").expect(8)
    assert "not in the rendered configuration of master, worker" in ran.three_lines[1]
    controllers.ignoring = {"ceph"}
    ran = site.run("load", "--timeout", "3s").expect(8)
    assert "Rook has not detected the version of the new image" in ran.three_lines[1]
    last = report_of(site)["waits"]
    assert isinstance(last, list)
    assert (last[-1]["name"], last[-1]["state"]) == ("CephCluster/rook-ceph in rook-ceph", "timeout")
    controllers.ignoring.clear()
    site.run("load").expect()


def test_ctrl_c_in_a_wait_leaves_a_report_that_says_so(site: Site, controllers: Controllers) -> None:
    controllers.stuck.add("rook-ceph-operator")
    said = kill_at(site, "wait      rollout of", signal.SIGINT)
    assert "error: interrupted" in said
    report = report_of(site)
    assert report["state"] == "interrupted"
    waits = report["waits"]
    assert isinstance(waits, list)
    assert waits[-1]["state"] == "interrupted"
    assert "of 1 updated" in waits[-1]["text"] or "has not seen" in waits[-1]["text"]
    page = (site.cli.folder / "reports" / Path(REPORT).with_suffix(".html")).read_text()
    assert "load interrupted" in page
    controllers.stuck.clear()
    site.run("load").expect()
