"""A login that starts with nothing: what it is told to ask for is all that a load needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.site import IDMS, Site

RBAC = "rbac.authorization.k8s.io"
_ACCESS = re.compile(r"(\w+) ([a-z.-]+\w)(?:/([^ ]+))?(?: in ([a-z-]+))?")


@pytest.fixture
def jane(site: Site) -> Iterator[Path]:
    """The kubeconfig of somebody who has no role at all yet."""
    config = json.loads(site.cluster.kubeconfig.read_text())
    config["users"][0]["user"]["as"] = "jane"
    path = site.cli.folder / "jane.kubeconfig"
    path.write_text(json.dumps(config))
    yield path
    site.cluster.kubectl("delete", "clusterrole,clusterrolebinding", "jane", "--ignore-not-found")


def grant(site: Site, listed: str) -> None:
    """Make a role of exactly what ``listed`` names, as an administrator would who was sent that line."""
    rules: list[dict[str, Any]] = []
    for one in listed.split("; "):
        match = _ACCESS.fullmatch(one)
        assert match is not None, one
        plural, _, group = match[2].partition(".")
        names = {"resourceNames": [match[3]]} if match[3] else {}
        rules.append({"apiGroups": [group], "resources": [plural], "verbs": [match[1]], **names})
    name = {"name": "jane"}
    role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": name, "rules": rules}
    user = {"apiGroup": RBAC, "kind": "User", **name}
    ref = {"apiGroup": RBAC, "kind": "ClusterRole", **name}
    bound = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRoleBinding", "metadata": name, "roleRef": ref}
    for item in (role, {**bound, "subjects": [user]}):
        site.cluster.kubectl("create", "-f", "-", input=json.dumps(item))


def test_one_list_has_all_that_is_missing(site: Site, jane: Path) -> None:
    ran = site.run("load", kubeconfig=jane).expect(7)
    assert not site.tags("ceph/ceph")
    grant(site, ran.three_lines[1].partition("not allowed: ")[2])
    ran = site.run("load", kubeconfig=jane).expect()
    assert site.cluster.kubectl("get", IDMS, "-o", "name")
    assert any("listing nodes failed" in warning for warning in site.report["warnings"])
    # What nodes will do cannot be told without their mirror objects, and that is said.
    shown = site.rollback("--kubeconfig", jane, "--dry-run").expect()
    assert "warning   listing imagedigestmirrorsets.config.openshift.io failed" in shown.out
