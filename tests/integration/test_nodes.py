"""What nodes will do and whether they can pull, read from a real API server with OpenShift's pools in it."""

from __future__ import annotations

import base64
import datetime
import gzip
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from loader.cluster.apply import apply_plan
from loader.cluster.imageconfig import login_in
from loader.cluster.kubectl import Kubectl
from loader.cluster.merge import items_in, merge
from loader.cluster.mirrorsets import MirrorWay
from loader.cluster.plan import Plan
from loader.cluster.prepare import Asked, prepare
from loader.cluster.process import ProcessRunner
from loader.cluster.registriestoml import Registries, render
from tests.support.apiserver import ApiServer
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.nodemakers import image, pulls

MIRRORS = "imagedigestmirrorsets,imagetagmirrorsets,imagecontentsourcepolicies"
POOLS = "machineconfigpools,machineconfigs"
R = makers.REGISTRY


def crd(kind: str) -> dict[str, Any]:
    """A kind of config.openshift.io that the tests have no CRD of: any content is taken."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower()}
    spec = {"group": "config.openshift.io", "scope": "Cluster", "names": names, "versions": [version]}
    name = f"{plural}.config.openshift.io"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": spec,
    }


EXTRA = [crd("ClusterVersion"), crd("Infrastructure")]


class OpenShift:
    """A cluster with pools at rest; ``render`` plays the Machine Config Operator once."""

    def __init__(self, server: ApiServer, home: Path) -> None:
        self.server = server
        run = ProcessRunner({"PATH": os.defpath, "HOME": str(home)})
        self.oc = Kubectl(str(server.program), run, kubeconfig=server.kubeconfig)
        self._rendered = 0

    def put(self, *items: dict[str, Any]) -> None:
        for item in items:
            self.server.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(item))
            if "status" in item:
                place = self.path(item)
                body = json.dumps({"status": item["status"]})
                flags = ["--subresource=status"] if item["kind"] == "MachineConfigPool" else []
                self.server.kubectl("patch", *place, *flags, "--type=merge", "-p", body)

    @staticmethod
    def path(item: dict[str, Any]) -> list[str]:
        group = item["apiVersion"].rpartition("/")[0]
        place = [f"{item['kind'].lower()}.{group}" if group else item["kind"].lower(), item["metadata"]["name"]]
        namespace = item["metadata"].get("namespace")
        return [*place, *(["-n", namespace] if namespace else [])]

    def get(self, *args: str) -> Any:
        return json.loads(self.server.kubectl("get", *args, "-o", "json"))

    def version(self, version: str) -> None:
        self.put(config("ClusterVersion", "version", status={"desired": {"version": version}}))

    def render(self, version: tuple[int, int, int], *, packed: bool = False, **states: Any) -> None:
        """Render registries.conf of all mirror objects into a new configuration of both pools."""
        objects = self.get(MIRRORS)["items"]
        conf = merge(items_in(objects), version=version).conf
        assert conf is not None
        self.pools(conf, packed=packed, **states)

    def pools(self, conf: Registries, *, packed: bool = False, **states: Any) -> None:
        self._rendered += 1
        for pool, count in (("master", 3), ("worker", 4)):
            name = f"rendered-{pool}-{self._rendered}"
            self.put(machine_config(name, render(conf), packed=packed))
            self.put(machine_config_pool(pool, name, count, **states))

    def plan(self, *, asked: Asked | None = None, pairs: Sequence[makers.Pair] | None = None) -> Plan:
        return prepare(self.oc, pairs or [makers.idms(), makers.icsp()], asked)[1]


def config(kind: str, name: str = "cluster", **rest: Any) -> dict[str, Any]:
    return {"apiVersion": "config.openshift.io/v1", "kind": kind, "metadata": {"name": name}, **rest}


def machine_config(name: str, conf: str, *, packed: bool) -> dict[str, Any]:
    data = gzip.compress(conf.encode()) if packed else conf.encode()
    contents = {"source": "data:;base64," + base64.b64encode(data).decode()}
    contents |= {"compression": "gzip"} if packed else {}
    files = [{"path": "/etc/containers/registries.conf", "contents": contents, "mode": 420}]
    spec = {"config": {"ignition": {"version": "3.2.0"}, "storage": {"files": files}}}
    api = "machineconfiguration.openshift.io/v1"
    return {"apiVersion": api, "kind": "MachineConfig", "metadata": {"name": name}, "spec": spec}


def machine_config_pool(
    name: str, rendered: str, count: int, *, paused: bool = False, degraded: str = ""
) -> dict[str, Any]:
    conditions = [{"type": "Updated", "status": "True"}, {"type": "Updating", "status": "False"}]
    conditions += [{"type": "NodeDegraded", "status": "True", "message": degraded}] if degraded else []
    return {
        "apiVersion": "machineconfiguration.openshift.io/v1",
        "kind": "MachineConfigPool",
        "metadata": {"name": name},
        "spec": {"configuration": {"name": rendered}, "paused": paused},
        "status": {"machineCount": count, "conditions": conditions},
    }


@pytest.fixture(scope="module")
def kinds(api_server: ApiServer) -> Iterator[None]:
    for item in EXTRA:
        api_server.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(item))
        api_server.kubectl("wait", "--for=condition=Established", f"crd/{item['metadata']['name']}", "--timeout=60s")
    yield
    for item in EXTRA:
        api_server.kubectl("delete", "crd", item["metadata"]["name"])


@pytest.fixture
def cluster(api_server: ApiServer, kinds: None, tmp_path: Path) -> Iterator[OpenShift]:
    found = OpenShift(api_server, tmp_path)
    found.version("4.14.8")
    found.put(config("Infrastructure", status={"controlPlaneTopology": "HighlyAvailable"}))
    found.pools(Registries())
    yield found
    api_server.kubectl("delete", "--all", MIRRORS)
    api_server.kubectl("delete", "--all", POOLS)
    api_server.kubectl("delete", "--all", "clusterversions,infrastructures,images.config.openshift.io")
    api_server.kubectl("delete", "--all", "nodes")


def effects(plan: Plan) -> dict[str, tuple[str, int]]:
    return {pool.pool: (pool.effect, pool.count) for pool in plan.nodes}


def blockers(plan: Plan) -> str:
    return " | ".join(finding.text for finding in plan.findings if finding.level == "blocker")


def warnings(plan: Plan) -> str:
    return " | ".join(finding.text for finding in plan.findings if finding.level == "warning")


@pytest.mark.parametrize(
    ("version", "effect"), [("4.6.9", "reboot"), ("4.7.1", "drain"), ("4.12.3", "reload"), ("4.14.8", "reload")]
)
def test_the_effect_is_told_per_pool_and_version(cluster: OpenShift, version: str, effect: str) -> None:
    cluster.version(version)
    plan = cluster.plan()
    assert effects(plan) == {"master": (effect, 3), "worker": (effect, 4)}
    assert plan.findings == ()


@pytest.mark.parametrize("packed", [False, True])
def test_a_second_load_does_nothing_to_nodes(cluster: OpenShift, packed: bool) -> None:
    apply_plan(cluster.oc, cluster.plan())
    assert effects(cluster.plan()) == {"master": ("none", 3), "worker": ("none", 4)}
    cluster.render((4, 14, 8), packed=packed)
    again = cluster.plan()
    assert (effects(again), again.writes, again.findings) == (
        {"master": ("none", 3), "worker": ("none", 4)},
        (),
        (),
    )


def test_pruning_drains_and_keeping_does_not(cluster: OpenShift) -> None:
    apply_plan(cluster.oc, cluster.plan())
    cluster.render((4, 14, 8))
    fewer = [makers.idms(sources=makers.SOURCES[:2])]
    assert effects(cluster.plan(pairs=fewer))["worker"] == ("none", 4)
    pruned = cluster.plan(pairs=fewer, asked=Asked(MirrorWay(prune=True)))
    assert effects(pruned)["worker"] == ("drain", 4)
    assert "k8s.gcr.io/sig-storage is removed" in pruned.nodes[0].why
    apply_plan(cluster.oc, pruned)
    stored = cluster.get("imagedigestmirrorsets", "rook-ceph-images")["spec"]["imageDigestMirrors"]
    assert [entry["source"] for entry in stored] == list(makers.SOURCES[:2])


def test_an_older_kind_of_ours_is_kept_and_turned_on_request_without_a_drain(cluster: OpenShift) -> None:
    apply_plan(cluster.oc, cluster.plan(pairs=[makers.icsp(sources=(*makers.SOURCES, "quay.io/old"))]))
    cluster.render((4, 14, 8))
    kept = cluster.plan()
    assert [(c.kind, c.action) for c in kept.changes] == [
        ("ImageDigestMirrorSet", "skip"),
        ("ImageContentSourcePolicy", "unchanged"),
    ]
    moved = cluster.plan(asked=Asked(MirrorWay(migrate=True)))
    assert [(c.kind, c.action) for c in moved.changes] == [
        ("ImageDigestMirrorSet", "create"),
        ("ImageContentSourcePolicy", "patch"),
    ]
    assert effects(moved) == {"master": ("none", 3), "worker": ("none", 4)}
    apply_plan(cluster.oc, moved)
    stored = cluster.get("imagedigestmirrorsets", "rook-ceph-images")["spec"]["imageDigestMirrors"]
    assert {entry["source"] for entry in stored} == {*makers.SOURCES, "quay.io/old"}
    assert cluster.get("imagecontentsourcepolicies", "rook-ceph-images")["spec"] == {"repositoryDigestMirrors": []}
    again = cluster.plan()
    assert again.writes == ()
    assert {c.kind for c in again.changes if c.action != "skip"} == {"ImageDigestMirrorSet"}


def test_a_version_that_refuses_both_kinds_gets_the_older_one(cluster: OpenShift) -> None:
    cluster.version("4.14.1")
    cluster.put(makers.icsp("theirs", ("quay.io/theirs",))[1])
    plan = cluster.plan(asked=Asked(MirrorWay(migrate=True)))
    assert [(c.kind, c.action) for c in plan.changes] == [
        ("ImageDigestMirrorSet", "skip"),
        ("ImageContentSourcePolicy", "create"),
    ]
    assert "--migrate-icsp does nothing here" in warnings(plan)


def test_an_object_the_operator_refuses_is_found_before_it_stops_everything(cluster: OpenShift) -> None:
    theirs = makers.idms("theirs", ("docker.io/ceph",))[1]
    theirs["spec"]["imageDigestMirrors"][0]["mirrorSourcePolicy"] = "NeverContactSource"
    cluster.put(theirs)
    plan = cluster.plan()
    assert "conflicting mirrorSourcePolicy is set for the same source 'docker.io/ceph'" in blockers(plan)
    assert "ImageDigestMirrorSet/theirs: NeverContactSource" in blockers(plan)


def test_pools_that_will_not_roll_out(cluster: OpenShift) -> None:
    cluster.pools(Registries(), paused=True, degraded="unexpected on-disk state")
    plan = cluster.plan()
    assert "MachineConfigPool/master is degraded: unexpected on-disk state" in blockers(plan)
    assert "MachineConfigPool/worker is paused" in warnings(plan)


def test_a_file_from_elsewhere_makes_the_prediction_unsure(cluster: OpenShift) -> None:
    cluster.pools(Registries(search=("quay.io",)))
    assert "registries.conf of pool worker is not what the cluster's mirror objects give" in warnings(cluster.plan())


def test_an_older_repository_scope_shadows_ours(cluster: OpenShift) -> None:
    theirs = makers.icsp("theirs", ("docker.io/ceph/ceph",))[1]
    theirs["spec"]["repositoryDigestMirrors"][0]["mirrors"] = ["old.local/ceph", f"{R}/ceph/ceph"]
    cluster.put(theirs)
    asked = Asked(pulls=pulls(image("docker.io/ceph/ceph")))
    found = cluster.plan(asked=asked)
    assert f"nodes would ask another registry before {R} for docker.io/ceph/ceph (old.local/ceph)" in warnings(found)
    theirs["spec"]["repositoryDigestMirrors"][0]["mirrors"] = ["old.local/ceph"]
    cluster.put(theirs)
    assert f"nodes would not ask {R} for docker.io/ceph/ceph (old.local/ceph, docker.io/ceph/ceph)" in blockers(
        cluster.plan(asked=asked)
    )


def test_hosted_control_planes_are_told_apart(cluster: OpenShift) -> None:
    cluster.put(config("Infrastructure", status={"controlPlaneTopology": "External"}))
    plan = cluster.plan()
    assert "this cluster is HyperShift" in blockers(plan)
    hints = [finding.hint for finding in plan.findings if finding.level == "blocker"]
    assert "documents/nodes/hypershift.yaml" in hints[0]
    assert blockers(cluster.plan(asked=Asked(MirrorWay("manual")))) == ""


def test_nodes_of_another_architecture(cluster: OpenShift) -> None:
    for name, arch in (("a", "amd64"), ("b", "s390x"), ("c", "s390x")):
        labels = {"kubernetes.io/arch": arch, "kubernetes.io/os": "linux"}
        cluster.put({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    plan = cluster.plan(asked=Asked(pulls=pulls(image("docker.io/ceph/ceph", "linux/amd64"))))
    assert "docker.io/ceph/ceph:v1 is there for amd64, and of the nodes are 2 s390x" in warnings(plan)
    plan = cluster.plan(asked=Asked(pulls=pulls(image("docker.io/ceph/ceph", "linux/arm64/v8"))))
    assert "is there for arm64, and of the nodes are 1 amd64, 2 s390x" in blockers(plan)


@pytest.mark.parametrize(("hours", "said"), [(0, False), (2, True)])
def test_the_clocks_are_compared(cluster: OpenShift, hours: int, said: bool) -> None:
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
    plan = cluster.plan(asked=Asked(clock=now))
    assert ("the API server says" in warnings(plan)) is said


@pytest.fixture
def trusted(cluster: OpenShift) -> Iterator[OpenShift]:
    """With a namespace openshift-config, a pull secret that has an entry of someone else's, and an image config."""
    secret = {"auths": {"cloud.openshift.com": {"auth": "Y2xvdWQ6c2VjcmV0", "email": "a@b"}}, "other": 1}
    packed = base64.b64encode(json.dumps(secret).encode()).decode()
    metadata = {"name": "pull-secret", "namespace": "openshift-config"}
    body = {"metadata": metadata, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": packed}}
    if not cluster.server.kubectl("get", "namespace", "openshift-config", "--ignore-not-found", "-o", "name"):
        cluster.server.kubectl("create", "namespace", "openshift-config")
    cluster.put({"apiVersion": "v1", "kind": "Secret", **body}, config("Image", spec={}))
    yield cluster
    cluster.server.kubectl("delete", "secrets,configmaps", "--all", "-n", "openshift-config")


def own(pem: str = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", auth: str = "dTpw") -> Asked:
    entry = login_in(json.dumps({"auths": {R: {"auth": auth}}}).encode(), "auth.json", R)
    return Asked(
        pulls=pulls(image("docker.io/ceph/ceph"), private_ca=True, anonymous=False), authority=pem, login=entry
    )


def test_missing_trust_and_login_are_found(trusted: OpenShift) -> None:
    asked = Asked(pulls=pulls(image("docker.io/ceph/ceph"), private_ca=True, anonymous=False))
    plan = trusted.plan(asked=asked)
    assert f"{R} wants a login, and openshift-config/pull-secret has none for {R}/ceph/ceph" in blockers(plan)
    assert "has no reg.airgap.local..5000" in warnings(plan)
    asked = Asked(pulls=pulls(image("docker.io/ceph/ceph"), scheme="http"))
    assert "speaks http and is not in insecureRegistries" in blockers(trusted.plan(asked=asked))
    trusted.put(config("Image", spec={"registrySources": {"insecureRegistries": [R]}}))
    assert blockers(trusted.plan(asked=asked)) == ""


def test_authority_and_login_are_added_beside_all_others(trusted: OpenShift) -> None:
    plan = trusted.plan(asked=own())
    assert blockers(plan) == ""
    shown = json.dumps([change.diff for change in plan.changes])
    assert "Y2xvdWQ" not in shown
    assert "dTpw" not in shown
    assert [(c.kind, c.action) for c in plan.changes][:3] == [
        ("ConfigMap", "create"),
        ("Image", "patch"),
        ("Secret", "patch"),
    ]
    apply_plan(trusted.oc, plan)
    stored = trusted.get("secret", "pull-secret", "-n", "openshift-config")["data"][".dockerconfigjson"]
    assert json.loads(base64.b64decode(stored)) == {
        "auths": {"cloud.openshift.com": {"auth": "Y2xvdWQ6c2VjcmV0", "email": "a@b"}, R: {"auth": "dTpw"}},
        "other": 1,
    }
    assert trusted.get("images.config.openshift.io", "cluster")["spec"]["additionalTrustedCA"] == {
        "name": "airgap-registry-cas"
    }
    again = trusted.plan(asked=own())
    assert again.writes == ()
    without = Asked(pulls=pulls(image("docker.io/ceph/ceph"), private_ca=True, anonymous=False))
    assert (blockers(trusted.plan(asked=without)), warnings(trusted.plan(asked=without))) == ("", "")


def test_an_authority_joins_the_map_that_is_there(trusted: OpenShift) -> None:
    metadata = {"name": "corporate", "namespace": "openshift-config"}
    trusted.put(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"other..443": "theirs"}},
        config("Image", spec={"additionalTrustedCA": {"name": "corporate"}}),
    )
    plan = trusted.plan(asked=own())
    assert [c.name for c in plan.changes if c.kind == "ConfigMap"] == ["corporate"]
    assert not [c for c in plan.changes if c.kind == "Image"]
    apply_plan(trusted.oc, plan)
    data = trusted.get("configmap", "corporate", "-n", "openshift-config")["data"]
    assert set(data) == {"other..443", "reg.airgap.local..5000"}
    assert data["other..443"] == "theirs"
