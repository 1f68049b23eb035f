"""Objects that a load made, taken away on a real API server; nothing of others goes with them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.diff import essence
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import key_of
from loader.cluster.process import ProcessRunner
from loader.cluster.restore import Restored, put_back, step_for
from loader.cluster.survey import survey
from loader.cluster.undo import Undo
from loader.cluster.waits import Clock, Patience
from tests.support.apiserver import ApiServer

Item = dict[str, Any]
PLACE = "taken-back"


@pytest.fixture
def oc(api_server: ApiServer, tmp_path: Path) -> Kubectl:
    run = ProcessRunner({"PATH": os.defpath, "HOME": str(tmp_path)})
    return Kubectl(str(api_server.program), run, kubeconfig=api_server.kubeconfig)


def made(api_server: ApiServer, item: Item) -> Item:
    found: Item = json.loads(api_server.kubectl("create", "-f", "-", "-o", "json", input=json.dumps(item)))
    return found


def take_back(oc: Kubectl, stored: Item) -> Restored:
    key = key_of(stored, "an object of the test")
    undo = Undo(key, ("documents/manifests/01-x.json",), None, essence(stored), stored["metadata"]["uid"], None)
    step = step_for(undo, oc.read([key]).get(key), force=False)
    return put_back(oc, step, survey(oc, {key.api_version}), force=False, patience=Patience(Clock()))


def config_map(name: str, namespace: str = PLACE) -> Item:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}


def crd(name: str) -> Item:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{name}s.back.example.com"},
        "spec": {
            "group": "back.example.com",
            "scope": "Cluster",
            "names": {"kind": name.capitalize(), "plural": f"{name}s"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def test_what_was_made_is_deleted_and_only_that(api_server: ApiServer, oc: Kubectl) -> None:
    api_server.kubectl("create", "namespace", PLACE)
    first = made(api_server, config_map("one"))
    assert str(take_back(oc, first)) == "ConfigMap/one in taken-back deleted"
    assert str(take_back(oc, first)) == "ConfigMap/one in taken-back unchanged (it is gone already)"
    made(api_server, config_map("one"))
    # Between the look and the deletion someone made it anew: the API server itself refuses.
    key = key_of(first, "it")
    undo = Undo(key, ("documents/manifests/01-x.json",), None, essence(first), first["metadata"]["uid"], None)
    step = step_for(undo, first, force=False)
    with pytest.raises(ClusterError, match="deleting ConfigMap/one in taken-back failed"):
        put_back(oc, step, survey(oc, {"v1"}), force=False, patience=Patience(Clock()))
    assert api_server.kubectl("get", "configmap", "one", "-n", PLACE, "-o", "name")


def test_a_namespace_goes_when_it_is_empty(api_server: ApiServer, oc: Kubectl) -> None:
    place = made(api_server, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{PLACE}-whole"}})
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": f"{PLACE}-whole"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    made(api_server, claim)
    kept = take_back(oc, place)
    assert (kept.text, kept.done) == ("kept (PersistentVolumeClaim/data in it)", False)
    patch = '{"metadata":{"finalizers":null}}'
    api_server.kubectl("patch", "pvc", "data", "-n", f"{PLACE}-whole", "--type=merge", "-p", patch)
    api_server.kubectl("delete", "pvc", "data", "-n", f"{PLACE}-whole")
    assert take_back(oc, place).text == "deleted"


def test_a_namespace_stays_with_what_others_have_in_it(api_server: ApiServer, oc: Kubectl) -> None:
    name = f"{PLACE}-shared"
    place = made(api_server, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    made(api_server, config_map("kube-root-ca.crt", name))
    made(api_server, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}})
    secret = {**config_map("made-by-hand", name), "kind": "Secret"}
    pool = {**config_map("theirs", name), "apiVersion": "ceph.rook.io/v1", "kind": "CephBlockPool", "spec": {}}
    for theirs in (config_map("settings", name), secret, pool):
        made(api_server, theirs)
        what = f"{theirs['kind']}/{theirs['metadata']['name']}"
        assert take_back(oc, place).text == f"kept ({what} in it)"
        api_server.kubectl("delete", theirs["kind"], theirs["metadata"]["name"], "-n", name)
    assert take_back(oc, place).text == "deleted"


def test_a_kind_goes_when_nothing_of_it_is_left(api_server: ApiServer, oc: Kubectl) -> None:
    stored = made(api_server, crd("thing"))
    api_server.kubectl("wait", "--for=condition=Established", "crd/things.back.example.com")
    thing = {"apiVersion": "back.example.com/v1", "kind": "Thing", "metadata": {"name": "theirs"}}
    made(api_server, thing)
    assert take_back(oc, stored).text == "kept (there are things on this cluster)"
    api_server.kubectl("delete", "things.back.example.com", "theirs")
    assert take_back(oc, stored).text == "deleted"
