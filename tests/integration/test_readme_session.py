"""The README's session, typed again: every command ends well and answers what the README says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import article
from tests.support.apiserver import ApiServer
from tests.support.certificates import PrivateAuthority
from tests.support.cli import ROOT
from tests.support.controllers import Api, Controllers, running
from tests.support.registry import RegistryServer
from tests.support.transcripts import Typed, agree, fenced, normalised, section, typed
from tests.unit.loader.cluster import makers

SESSION = section((ROOT / "README.md").read_text(encoding="utf-8"), "A session, from bundle.yaml to a loaded cluster")
# The size of the images that the README's session was made with.
LAYER = 400_000


class Desk:
    """The folder the session is typed in, with the two registries and the cluster around it."""

    def __init__(self, folder: Path, source: str, target: str, cluster: ApiServer) -> None:
        self.folder = folder
        self._target = target
        self._environment = {
            "HOME": str(folder / "home"),
            "PATH": f"{Path(sys.executable).parent}:{cluster.program.parent}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf"),
            "KUBECONFIG": str(cluster.kubeconfig),
        }
        ((_, config),) = fenced(SESSION, "yaml")
        (folder / "bundle.yaml").write_text(config.replace(article.REGISTRY, target))
        (folder / "registries.conf").write_text(article.registries_conf(source))
        ((_, policy),) = fenced(SESSION, "toml")
        (folder / "trust").mkdir()
        (folder / "trust" / "policy.toml").write_text(policy)

    def type(self, command: str) -> str:
        """Run one line and return its results, the registry called by the README's name.

        What goes to stderr, as the states of a wait, depends on the moment.
        """
        for public in self.folder.glob("*.pub"):
            shutil.copy(public, self.folder / "trust")
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"exit {done.returncode}: {command}\n{done.stdout}{done.stderr}"
        return done.stdout.replace(self._target, article.REGISTRY)


@pytest.fixture
def desk(api_server: ApiServer, tmp_path: Path) -> Iterator[Desk]:
    api_server.kubectl("create", "namespace", "rook-ceph")
    for item in (makers.deployment(), makers.config_map(), makers.ceph_cluster()):
        api_server.kubectl("create", "-f", "-", input=json.dumps(item))
    authority = PrivateAuthority(tmp_path)
    with RegistryServer() as source, RegistryServer(tls=authority.server_context()) as target:
        article.put_images(source.store, LAYER)
        with running(Controllers(Api(api_server), "rook-ceph", ceph=("15.2.3", "15.2.4"))):
            yield Desk(tmp_path, source.host, target.host, api_server)
    api_server.kubectl("delete", "imagedigestmirrorsets.config.openshift.io", "--all")
    for name in ("deployment/rook-ceph-operator", "configmap/rook-ceph-operator-config", "cephcluster/rook-ceph"):
        api_server.kubectl("delete", name, "-n", "rook-ceph", "--wait=false")
    # Nobody runs the namespace controller here: other tests make a namespace of this name.
    api_server.kubectl("delete", "namespace", "rook-ceph", "--wait=false")
    body = json.loads(api_server.kubectl("get", "namespace", "rook-ceph", "-o", "json"))
    body["spec"]["finalizers"] = []
    api_server.kubectl("replace", "--raw", "/api/v1/namespaces/rook-ceph/finalize", "-f", "-", input=json.dumps(body))


def test_the_session_runs_as_it_is_written(desk: Desk) -> None:
    commands = list(typed(SESSION))
    assert len(commands) > 10
    differences = [difference(one, desk.type(one.command)) for one in commands]
    assert not any(differences), "\n".join(differences)


def difference(wanted: Typed, found: str) -> str:
    if agree(wanted.output, without_further_waits(wanted.output, found)):
        return ""
    return (
        f"$ {wanted.command}\n--- README\n{normalised(wanted.output)}\n--- now\n{normalised(found)}\n--- raw\n{found}"
    )


def without_further_waits(wanted: str, found: str) -> str:
    """``found`` without the waits that a slow machine tells of and a fast one does not: for what was there already."""
    told = {line.partition(" (")[0] for line in wanted.splitlines()}
    kept = (line for line in found.splitlines() if not line.startswith("wait ") or line.partition(" (")[0] in told)
    return "\n".join(kept)
