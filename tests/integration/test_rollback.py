"""The way back, from outside: loads ended early or carried out, then taken back on a real API server."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.support import article
from tests.support.cli import Cli
from tests.support.controllers import Controllers
from tests.support.registry import RegistryServer
from tests.support.site import IDMS, REPORT, Site
from tests.unit.loader.cluster import makers


def kill_at(site: Site, line: str, sent: int = signal.SIGKILL) -> str:
    """Run a load and send it a signal as soon as it has printed a line that begins so; return all it printed."""
    process = site.start("load")
    assert process.stdout is not None
    said = []
    with process.stdout:
        for printed in process.stdout:
            said.append(printed)
            if printed.startswith(line):
                process.send_signal(sent)
                break
        said += process.stdout
    status = process.wait(60)
    assert status == (-sent if sent == signal.SIGKILL else 130), "".join(said)
    return "".join(said)


def test_rollback_puts_back_what_was_there(site: Site) -> None:
    before = site.states()
    site.run("load").expect()
    assert site.states() != before
    shown = site.rollback("--dry-run").expect()
    assert "ImageDigestMirrorSet/rook-ceph-images delete" in shown.out
    assert "docker.io/rook/ceph@sha256:" in shown.out
    assert site.states() != before
    effect = site.rollback("--dry-run", "--json").expect().json
    assert [(item["kind"], item["action"]) for item in effect["objects"]] == [
        ("CephCluster", "restore"),
        ("ConfigMap", "restore"),
        ("Deployment", "restore"),
        ("ImageDigestMirrorSet", "delete"),
    ]
    assert {item["result"] for item in effect["objects"]} == {None}
    assert effect["rook"][0]["text"] == "Ceph 15.2.4 -> 15.2.3: 6 daemons one by one"
    assert (effect["dryRun"], effect["trusted"]) == (True, True)
    done = site.rollback().expect()
    assert site.states() == before
    order = [line.split()[1] for line in done.out.splitlines() if line.startswith("rollback ")]
    assert order == [
        "CephCluster/rook-ceph",
        "ConfigMap/rook-ceph-operator-config",
        "Deployment/rook-ceph-operator",
        "ImageDigestMirrorSet/rook-ceph-images",
    ]
    report = site.report
    assert report["state"] == "rolled-back"
    assert [run["verb"] for run in report["runs"]] == ["load", "rollback"]
    again = site.rollback(yes=False).expect()
    assert "nothing to put back" in again.out
    # What was rolled back can be loaded again, and taken back again.
    site.run("load").expect()
    site.rollback().expect()
    assert site.states() == before


# Where a write is made, test_killed.py ends the load before and after it.
@pytest.mark.parametrize("line", ["push ", "wait      pools"])
def test_a_killed_load_goes_on_and_can_be_taken_back(site: Site, line: str) -> None:
    before = site.states()
    kill_at(site, line)
    assert site.report["state"] == "interrupted"
    site.run("load").expect()
    after = site.states()
    assert [run["state"] for run in site.report["runs"]] == ["interrupted", "complete"]
    site.rollback().expect()
    assert site.states() == before
    kill_at(site, line)
    site.rollback().expect()
    assert site.states() == before
    assert after != before


def test_a_run_from_another_folder_leaves_the_first_report_trusted(site: Site) -> None:
    before = site.states()
    site.run("load").expect()
    ran = site.run("load", "--report", "elsewhere").expect()
    assert "nothing to change" in ran.out
    site.rollback().expect()
    assert site.states() == before


def test_someone_elses_change_is_named_and_kept(site: Site) -> None:
    site.run("load").expect()
    body = json.dumps(
        {"data": {"ROOK_CSI_CEPH_IMAGE": "example.com/theirs@sha256:" + "7" * 64, "ROOK_LOG_LEVEL": "DEBUG"}}
    )
    site.cluster.kubectl("patch", "configmap/rook-ceph-operator-config", "-n", "rook-ceph", "--type=merge", "-p", body)
    states = site.states()
    ran = site.rollback().expect(7)
    assert "data.ROOK_CSI_CEPH_IMAGE" in " ".join(ran.three_lines)
    ours = [name for name in states if "csi-rbdplugin" not in name]
    assert [site.states()[name] for name in ours] == [states[name] for name in ours]
    site.rollback("--force").expect()
    assert site.object("configmap/rook-ceph-operator-config")["data"] == {"ROOK_LOG_LEVEL": "DEBUG"}


def test_an_operator_that_was_made_anew_goes_back_to_what_it_was_then(site: Site) -> None:
    site.run("load").expect()
    site.cluster.kubectl("delete", "deployment/rook-ceph-operator", "-n", "rook-ceph")
    site.cluster.kubectl("create", "-f", "-", input=json.dumps(makers.deployment(image="rook/ceph:v1.5.9")))
    assert "someone made it anew" in " ".join(site.rollback().expect(7).three_lines)
    site.run("load").expect()
    site.rollback().expect()
    containers = site.object("deployment/rook-ceph-operator")["spec"]["template"]["spec"]["containers"]
    assert containers[0]["image"] == "rook/ceph:v1.5.9"


def test_ceph_is_never_downgraded(site: Site, controllers: Controllers) -> None:
    controllers.ceph = ("15.2.4", "15.2.5")
    before = site.states()
    site.run("load").expect()
    loaded = site.states()
    ran = site.rollback("--json").expect(7)
    assert "daemons run Ceph 15.2.5, before it was 15.2.4" in " ".join(ran.three_lines)
    assert {item["action"] for item in ran.json["objects"]} == {"keep"}
    assert "kept (daemons run Ceph 15.2.5" in ran.json["objects"][0]["result"]
    assert site.states() == loaded
    assert (site.report["runs"][-1]["state"], site.report["error"]["code"]) == ("failed", 7)
    site.rollback("--force-ceph-downgrade").expect()
    assert site.states() == before
    assert site.report["runs"][-1]["verb"] == "rollback --force-ceph-downgrade"


def test_a_rollback_that_ran_out_of_time_goes_on_waiting(site: Site, controllers: Controllers) -> None:
    before = site.states()
    site.run("load").expect()
    controllers.ignoring.add("ceph")
    ran = site.rollback("--timeout", "2s").expect(8)
    assert "CephCluster/rook-ceph" in ran.three_lines[0]
    loaded = site.object("deployment/rook-ceph-operator")["spec"]
    ran = site.rollback("--timeout", "2s").expect(8)
    assert "CephCluster/rook-ceph" in ran.three_lines[0], "it is as before, and Rook has not taken it yet"
    assert site.object("deployment/rook-ceph-operator")["spec"] == loaded
    controllers.ignoring.clear()
    site.rollback().expect()
    assert site.states() == before
    assert [run["state"] for run in site.report["runs"]] == ["complete", "pending", "pending", "rolled-back"]


def test_mirrors_that_another_load_found_right_stay_with_it(site: Site) -> None:
    site.run("load", "--only", "mirrors").expect()
    first, reports = site.archive, site.cli.folder / "reports"
    with RegistryServer() as source:
        article.put_images(source.store)
        folder = site.cli.folder / "other"
        folder.mkdir()
        for name in ("builder.key", "builder.pub"):
            (folder / name).write_bytes((first.parent.parent / name).read_bytes())
        site.archive = article.build(Cli(folder), source.host, article.config().replace("rook-ceph\n", "stwo\n", 1))
    assert "ImageDigestMirrorSet/rook-ceph-images unchanged" in site.run("load", "--only", "mirrors").expect().out
    kept = site.rollback().expect()
    assert "ImageDigestMirrorSet/rook-ceph-images kept (stwo 2020.10 has it too: roll that back first)" in kept.out
    assert site.cluster.kubectl("get", IDMS, "-o", "name")
    options = ("--kubeconfig", site.cluster.kubeconfig, "--yes")
    site.cli.loader("rollback", reports / "stwo-2020.10.load.json", *options).expect()
    site.rollback().expect()
    assert not site.cluster.kubectl("get", IDMS, "-o", "name")


def test_mirrors_can_be_kept(site: Site) -> None:
    before = site.states()
    site.run("load").expect()
    site.rollback("--keep-mirrors").expect()
    assert site.states().pop("ImageDigestMirrorSet/rook-ceph-images")
    assert {k: v for k, v in site.states().items() if not k.startswith("ImageDigest")} == before
    assert site.report["state"] == "complete"
    site.rollback().expect()
    assert site.states() == before


def test_a_report_that_this_state_folder_did_not_see_is_asked_for_one_by_one(site: Site, tmp_path: Path) -> None:
    site.run("load").expect()
    loaded = site.states()
    ran = site.rollback(state=tmp_path / "other").expect(2)
    assert "each object" in ran.three_lines[0]
    path = site.cli.folder / "reports" / REPORT
    data = path.read_text()
    path.write_text(data.replace('"ROOK_LOG_LEVEL": "INFO"', '"ROOK_LOG_LEVEL": "DEBUG"'))
    assert site.rollback().expect(2)
    for old, new, status in (
        ('"rook-ceph-operator-config"', '"kube-root-ca.crt"', 3),
        ('"dataDirHostPath"', '"dataDirHostpath"', 3),
        ('"INFO"', "INFO", 2),
        ('"waits"', '"waites"', 2),
    ):
        path.write_text(data.replace(old, new, 1))
        ran = site.rollback().expect(status)
        assert len(ran.three_lines) == 3
    assert site.states() == loaded
    path.write_text(data)
    site.rollback().expect()


def test_an_apply_that_fails_halfway_prints_the_line_that_takes_it_back(site: Site) -> None:
    before = site.states()
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-ceph"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["ceph.rook.io"],
                        "apiVersions": ["v1"],
                        "operations": ["UPDATE"],
                        "resources": ["cephclusters"],
                    }
                ]
            },
            "validations": [
                {"expression": "!object.spec.cephVersion.image.contains('@')", "message": "no new Ceph on Mondays"}
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-ceph"},
        "spec": {"policyName": "no-ceph", "validationActions": ["Deny"]},
    }
    for item in (policy, binding):
        site.cluster.kubectl("create", "-f", "-", input=json.dumps(item))
    try:
        while "Mondays" not in _refused(site):
            pass
        ran = site.run("load").expect(7)
        error = ran.three_lines
        assert "no new Ceph on Mondays" in error[1]
        line = error[-1].partition("  next: ")[2].partition(" (log:")[0]
        assert line == f"airgap-loader rollback reports/{REPORT} --kubeconfig {site.cluster.kubeconfig}"
        assert site.report["error"]["hint"] == line
        site.cli.loader(*line.split()[1:], "--yes").expect()
    finally:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            site.cluster.kubectl("delete", kind, "no-ceph")
    assert site.states() == before
    assert not site.cluster.kubectl("get", IDMS, "-o", "name")


def _refused(site: Site) -> str:
    """Return what the API server says to a new image; the policy is in force a moment after it was made."""
    body = '{"spec":{"cephVersion":{"image":"a@b"}}}'
    target = ("cephcluster/rook-ceph", "-n", "rook-ceph", "--type=merge", "-p", body, "--dry-run=server")
    try:
        return site.cluster.kubectl("patch", *target)
    except RuntimeError as error:
        return str(error)


def test_a_report_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    assert "no such file" in cli.loader("rollback", "none.load.json", "--yes").expect(2).three_lines[1]
    assert "report of a load" in cli.loader("rollback", tmp_path, "--yes").expect(2).three_lines[0]
