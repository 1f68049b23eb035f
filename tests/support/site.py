"""A bundle, an empty registry and a cluster with Rook in it: where whole loads are tested."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.apiserver import ApiServer
from tests.support.cli import Cli, Ran
from tests.support.registry import RegistryServer
from tests.unit.loader.cluster import makers

IDMS = "imagedigestmirrorsets.config.openshift.io"
ICSP = "imagecontentsourcepolicies.operator.openshift.io"
ROOK = ("deployment/rook-ceph-operator", "configmap/rook-ceph-operator-config", "cephcluster/rook-ceph")
OBJECTS = f"{IDMS},{ICSP},deployments,configmaps,cephclusters"
REPORT = "rook-ceph-2020.10.load.json"


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

    def rollback(self, *args: object, yes: bool = True, state: Path | None = None) -> Ran:
        answer = ["--yes"] if yes else []
        where = ["--state", state] if state else []
        report = f"reports/{REPORT}"
        return self.cli.loader("rollback", report, "--kubeconfig", self.cluster.kubeconfig, *answer, *where, *args)

    def command(self, verb: str, *args: object, kubeconfig: Path | None = None) -> list[str]:
        """The same as ``run --yes``, for a test that ends it before its time."""
        access = ["--trust", "builder.pub", "--registry", self.registry.host, "--plain-http"]
        cluster = ["--kubeconfig", kubeconfig or self.cluster.kubeconfig, "--yes", "--report", "reports"]
        return self.cli.command("airgap-loader", verb, self.archive, *access, *cluster, *args)

    def start(self, verb: str, *args: object, kubeconfig: Path | None = None) -> subprocess.Popen[str]:
        """Start it and return the process, all it prints on its stdout."""
        return subprocess.Popen(
            self.command(verb, *args, kubeconfig=kubeconfig),
            cwd=self.cli.folder,
            env=self.cli.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.cli.folder / "reports" / REPORT).read_text())
        return found

    def states(self) -> dict[str, Any]:
        """What people and loaders write into each object; nothing that only servers and controllers do."""
        items = json.loads(self.cluster.kubectl("get", OBJECTS, "-n", "rook-ceph", "-o", "json"))["items"]
        return {
            f"{i['kind']}/{i['metadata']['name']}": [
                i["metadata"].get("labels"),
                i["metadata"].get("annotations"),
                i.get("spec"),
                i.get("data"),
            ]
            for i in items
        }

    def object(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cluster.kubectl("get", name, "-n", "rook-ceph", "-o", "json"))
        return found

    def versions(self) -> dict[str, str]:
        items = json.loads(self.cluster.kubectl("get", OBJECTS, "-n", "rook-ceph", "-o", "json"))["items"]
        return {f"{i['kind']}/{i['metadata']['name']}": i["metadata"]["resourceVersion"] for i in items}

    def tags(self, repository: str) -> dict[str, str]:
        return {tag: digest for (name, tag), digest in self.registry.store.tags.items() if name == repository}


@contextmanager
def made_site(
    api_server: ApiServer, archive: Path, folder: Path, installed: Sequence[dict[str, Any]] = ()
) -> Iterator[Site]:
    """Install Rook in ``rook-ceph``, v1.5 or ``installed``, with nobody to act on it, and clean up at the end."""
    (folder / "builder.pub").write_bytes((archive.parent.parent / "builder.pub").read_bytes())
    path = f"{api_server.program.parent}:{os.defpath}"
    api_server.kubectl("create", "namespace", "rook-ceph")
    items = installed or (makers.deployment(), makers.config_map(), makers.ceph_cluster())
    for item in items:
        api_server.kubectl("create", "-f", "-", input=json.dumps(item))
    try:
        with RegistryServer() as registry:
            yield Site(Cli(folder, path=path), archive, registry, api_server)
    finally:
        for item in installed:
            api_server.kubectl("delete", "-f", "-", "--wait=false", "--ignore-not-found", input=json.dumps(item))
        _clean(api_server)


def _clean(api_server: ApiServer) -> None:
    api_server.kubectl("delete", *ROOK, "-n", "rook-ceph", "--wait=false", "--ignore-not-found")
    for kind in (IDMS, ICSP):
        if api_server.kubectl("get", "crd", kind, "--ignore-not-found", "-o", "name"):
            api_server.kubectl("delete", kind, "--all")
    # Nobody runs the namespace controller here: the next test finds the namespace as it was made.
    api_server.kubectl("delete", "namespace", "rook-ceph", "--wait=false")
    body = json.loads(api_server.kubectl("get", "namespace", "rook-ceph", "-o", "json"))
    body["spec"]["finalizers"] = []
    api_server.kubectl("replace", "--raw", "/api/v1/namespaces/rook-ceph/finalize", "-f", "-", input=json.dumps(body))
