"""Whole loads whose writes are raced, refused, or never answered: from outside."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_waits import report_of
from tests.support.certificates import PrivateAuthority
from tests.support.cli import Cli
from tests.support.loopback import LoopbackServer, QuietHandler
from tests.support.site import REPORT, Site

WORDS = "Ceph may not be changed before Monday"
OPERATOR = "deployment/rook-ceph-operator"


def wrapped(site: Site, case: str) -> None:
    """Put a shell script with ``case`` before kubectl: ``$real`` is the real one, ``$*`` how it was called."""
    folder = site.cli.folder / "bin"
    folder.mkdir(exist_ok=True)
    script = folder / "kubectl"
    script.write_text(f'#!/bin/sh\nreal={site.cluster.program}\ncase "$*" in\n{case}\nesac\nexec $real "$@"\n')
    script.chmod(0o755)
    site.cli = Cli(site.cli.folder, path=f"{folder}:{site.cli.path}")


def racing(site: Site, *, always: bool) -> str:
    """Someone else writes the operator's Deployment just before our patch of it does, once or each time."""
    done = site.cli.folder / "raced"
    other = f"$real --kubeconfig={site.cluster.kubeconfig} -n rook-ceph annotate {OPERATOR} --overwrite"
    once = "" if always else f"[ -e {done} ] || "
    return f'*"patch deployment.apps"*) {once}{other} raced="$(date +%N)" > /dev/null; touch {done} ;;'


def test_a_lost_race_is_read_anew_and_never_forced(site: Site) -> None:
    wrapped(site, racing(site, always=False))
    ran = site.run("load", "-v").expect()
    operator = site.object(OPERATOR)
    assert "raced" in operator["metadata"]["annotations"]
    assert "@sha256:" in operator["spec"]["template"]["spec"]["containers"][0]["image"]
    # Controllers write as well, so that one race more may be lost.
    assert len([line for line in ran.err.splitlines() if "patch deployment.apps" in line]) >= 2
    assert "--force-conflicts" not in ran.err
    row = next(row for row in site.report["objects"] if row["kind"] == "Deployment")
    assert "raced" in row["before"]["metadata"]["annotations"]
    site.rollback().expect()
    assert site.object(OPERATOR)["metadata"]["annotations"]["raced"]


def test_someone_who_keeps_writing_is_named_with_the_way_back(site: Site) -> None:
    before = site.states()
    wrapped(site, racing(site, always=True))
    what, why, back = site.run("load").expect(7).three_lines
    assert "was changed by someone else each of 6 times" in what
    assert "Conflict" in why
    assert f"airgap-loader rollback reports/{REPORT}" in back
    site.rollback().expect()
    site.cluster.kubectl("annotate", OPERATOR, "-n", "rook-ceph", "raced-")
    assert site.states() == before


def test_a_client_that_hangs_in_a_write_ends_with_the_way_back_and_the_same_command_goes_on(site: Site) -> None:
    hanging = site.cli.folder / "hanging"
    hanging.touch()
    wrapped(site, f'*"patch deployment.apps"*) [ -e {hanging} ] && exec sleep 600 ;;')
    what, why, back = site.run("load", "--timeout", "10s").expect(7).three_lines
    assert "did not finish in time" in what
    assert "ImageDigestMirrorSet/rook-ceph-images (create)" in why
    assert f"airgap-loader rollback reports/{REPORT}" in back
    report = report_of(site)
    assert report["state"] == "failed"
    rows = {row["kind"]: row["confirmed"] for row in site.report["objects"]}
    assert rows["Deployment"] is False
    hanging.unlink()
    site.run("load").expect()
    assert [run["state"] for run in site.report["runs"]] == ["failed", "complete"]


@pytest.mark.parametrize("made", [True, False], ids=["answer lost", "never arrived"])
def test_an_api_server_that_goes_away_in_a_write_is_asked_again(site: Site, made: bool) -> None:
    before = site.states()
    tried = site.cli.folder / "tried"
    tried.mkdir()
    call = '$real "$@" > /dev/null;' if made else ""
    fault = f'{call} echo "The connection to the server was refused" >&2; exit 1'
    # Once for each write; a dry run and a review name no manager.
    once = f'file={tried}/$(echo "$*" | cksum | cut -c1-9)\n[ -e $file ] || {{ touch $file; {fault}; }}'
    wrapped(site, f'*"--field-manager=airgap-loader"*) {once} ;;')
    ran = site.run("load", "-v").expect()
    assert ran.err.count("trying again") == 4
    rows = {row["kind"]: (row["action"], row["confirmed"]) for row in site.report["objects"] if row["action"] != "skip"}
    kinds = ("ImageDigestMirrorSet", "Deployment", "ConfigMap", "CephCluster")
    assert rows == {kind: ("create" if kind == kinds[0] else "patch", True) for kind in kinds}
    assert "nothing to change" in site.run("load", yes=False).expect().out
    site.rollback().expect()
    assert site.states() == before


class Webhook(LoopbackServer):
    """An admission webhook on loopback that refuses every update of a CephCluster; ``with`` puts it in force."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site = site
        authority = PrivateAuthority(folder)
        self._bundle = base64.b64encode(authority.certificate.read_bytes()).decode()
        super().__init__(_Refusal, tls=authority.server_context())

    def __enter__(self) -> Webhook:
        super().__enter__()
        rule = {
            "apiGroups": ["ceph.rook.io"],
            "apiVersions": ["*"],
            "operations": ["UPDATE"],
            "resources": ["cephclusters"],
        }
        hook = {
            "name": "monday.example.com",
            "clientConfig": {
                "url": f"https://{self.host}/refuse",
                "caBundle": self._bundle,
            },
            "rules": [rule],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "failurePolicy": "Fail",
        }
        api, kind = "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"
        item = {"apiVersion": api, "kind": kind, "metadata": {"name": "monday"}, "webhooks": [hook]}
        self._site.cluster.kubectl("create", "-f", "-", input=json.dumps(item))
        self._await()
        return self

    def _await(self) -> None:
        probe = ["label", "cephcluster", "rook-ceph", "-n", "rook-ceph", "probe=1", "--overwrite", "--dry-run=server"]
        for _ in range(120):
            try:
                self._site.cluster.kubectl(*probe)
            except RuntimeError:
                return
            time.sleep(0.5)
        raise AssertionError("the webhook was never asked")

    def stop(self) -> None:
        """Let the server go away while the cluster goes on asking it."""
        super().__exit__()

    def __exit__(self, *_: object) -> None:
        self._site.cluster.kubectl("delete", "validatingwebhookconfiguration", "monday")
        with contextlib.suppress(OSError):
            self.stop()


class _Refusal(QuietHandler):
    protocol_version = "HTTP/1.0"  # a connection that is kept would answer on when the server is gone

    def do_POST(self) -> None:  # noqa: N802 - the base class looks for it
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status: dict[str, Any] = {"code": 403, "message": WORDS}
        response = {"uid": asked["request"]["uid"], "allowed": False, "status": status}
        body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def webhook(site: Site, tmp_path: Path) -> Iterator[Webhook]:
    with Webhook(site, tmp_path / "authority") as hook:
        yield hook


def test_a_webhook_that_refuses_is_shown_in_its_own_words(site: Site, webhook: Webhook) -> None:
    assert WORDS in site.run("load", "--dry-run").expect(7).three_lines[1]
    assert not site.tags("ceph/ceph")
    what, why, back = site.run("load").expect(7).three_lines
    assert "CephCluster/rook-ceph" in what
    assert "monday.example.com" in why
    assert WORDS in why
    assert f"airgap-loader rollback reports/{REPORT}" in back
    assert report_of(site)["state"] == "failed"
    webhook.stop()
    # Nobody answers it now: that may pass, so it is asked again before it is given up.
    ran = site.run("load", "--timeout", "8s").expect(7)
    assert "failed calling webhook" in ran.three_lines[1]
    assert "trying again" in ran.err
