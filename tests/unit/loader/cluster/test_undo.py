from __future__ import annotations

import copy
from typing import Any

import pytest

from loader.bundle.errors import TrustError
from loader.cluster.mirrorsets import labelled
from loader.cluster.objects import POKE, Key, key_of
from loader.cluster.undo import Written, ceph_stays, check_ours, staying, undos
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.states import ceph, workload

Item = dict[str, Any]


def written(document: str, before: Item | None, after: Item | None, **more: Any) -> Written:
    key = key_of(after or before, "a test's object")
    return Written(document, key, before, after, more.get("uid"), more.get("ceph_version"))


def changed(item: Item, *path: str, value: Any) -> Item:
    """Return a copy of ``item`` with another value at ``path``; a number in it is a place in a list."""
    result = copy.deepcopy(item)
    inner: Any = result
    for name in path[:-1]:
        inner = inner[int(name)] if name.isdigit() else inner.setdefault(name, {})
    inner[path[-1]] = value
    return result


OPERATOR, CONFIG, CEPH = makers.deployment(), makers.config_map(), makers.ceph_cluster()
IMAGE = ("spec", "template", "spec", "containers", "0", "image")
IDMS = labelled(makers.idms()[1])
DRIVER: Item = {
    "apiVersion": "csi.ceph.io/v1",
    "kind": "Driver",
    "metadata": {"name": "rook-ceph.rbd.csi.ceph.com", "namespace": "rook-ceph"},
    "spec": {},
}
PULL_SECRET: Item = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "pull-secret", "namespace": "openshift-config"},
    "data": {".dockerconfigjson": "e30="},
}
OURS = {
    "mirror made": written("documents/mirrors/idms.yaml", None, IDMS),
    "mirror added to": written(
        "documents/mirrors/idms.yaml", IDMS, changed(IDMS, "spec", "imageDigestMirrors", value=[])
    ),
    "operator": written("documents/rook/operator.json", OPERATOR, changed(OPERATOR, *IMAGE, value="x@sha256:1")),
    "csi": written("documents/rook/csi.json", CONFIG, changed(CONFIG, "data", "ROOK_CSI_CEPH_IMAGE", value="x")),
    "csi made": written("documents/rook/csi.json", None, labelled({**CONFIG, "data": {"ROOK_CSI_CEPH_IMAGE": "x"}})),
    "ceph": written("documents/rook/cluster.json", CEPH, changed(CEPH, "spec", "cephVersion", "image", value="x")),
    "poke": written("documents/rook/csi.json", DRIVER, changed(DRIVER, "metadata", "annotations", value={POKE: "1"})),
    "manifest": written("documents/manifests/01-x.json", None, {**CONFIG, "kind": "Anything"}),
    "login": written("--cluster-auth", PULL_SECRET, changed(PULL_SECRET, "data", ".dockerconfigjson", value="e30")),
}


@pytest.mark.parametrize("name", OURS)
def test_what_our_documents_write_is_taken(name: str) -> None:
    check_ours(OURS[name])


OTHER_KEY = Key("v1", "ConfigMap", "kube-system", "rook-ceph-operator-config")
FOREIGN = {
    "another image field": written(
        "documents/rook/operator.json", OPERATOR, changed(OPERATOR, "spec", "replicas", value=9)
    ),
    "a command": written(
        "documents/rook/operator.json", OPERATOR, changed(OPERATOR, *IMAGE[:-1], "args", value=["sh"])
    ),
    "another key": written("documents/rook/csi.json", CONFIG, changed(CONFIG, "data", "ROOK_LOG_LEVEL", value="x")),
    "another map": written(
        "documents/rook/csi.json", None, changed(CONFIG, "metadata", "name", value="kube-root-ca.crt")
    ),
    "a made operator": written("documents/rook/operator.json", None, OPERATOR),
    "a made ceph": written("documents/rook/cluster.json", None, CEPH),
    "more annotations": written(
        "documents/rook/csi.json", DRIVER, changed(DRIVER, "metadata", "annotations", value={"a": "1"})
    ),
    "another kind": written("documents/rook/csi.json", None, {**CONFIG, "kind": "ClusterRoleBinding"}),
    "a mirror that is none": written("documents/mirrors/idms.yaml", None, CONFIG),
    "no folder of ours": written("elsewhere/x.json", None, IDMS),
    "a path out of the folder": written("documents/manifests/../x", None, CONFIG),
    "no after": written("documents/rook/csi.json", CONFIG, None),
    "states of another object": Written("documents/rook/csi.json", OTHER_KEY, CONFIG, CONFIG, None, None),
    "a name that no object has": Written(
        "documents/rook/csi.json", OTHER_KEY, changed(CONFIG, "metadata", "name", value="x?y"), CONFIG, None, None
    ),
    "another secret": written("documents/rook/csi.json", PULL_SECRET, changed(PULL_SECRET, "data", "x", value="e30")),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_document_writes_is_refused(name: str) -> None:
    with pytest.raises(TrustError, match="not one of this loader's"):
        check_ours(FOREIGN[name])


def test_the_last_write_goes_back_first_and_drivers_after_their_images() -> None:
    order = ["mirror made", "operator", "csi", "poke", "ceph"]
    found = undos([OURS[name] for name in order])
    assert [undo.key.kind for undo in found] == [
        "CephCluster",
        "ConfigMap",
        "Driver",
        "Deployment",
        "ImageDigestMirrorSet",
    ]


def test_two_documents_on_one_object_are_one_step_back() -> None:
    first = written("documents/manifests/01-x.json", None, OPERATOR, uid="5f0c")
    second = written("documents/rook/operator.json", OPERATOR, changed(OPERATOR, *IMAGE, value="x@sha256:1"))
    (undo,) = undos([first, second])
    assert undo.before is None
    assert undo.uid == "5f0c"
    assert undo.after == second.after


def of_ceph(ceph_version: str | None = "15.2.4-0") -> Any:
    before, after = makers.ceph_cluster(image="ceph:v15"), makers.ceph_cluster(image="ceph@sha256:1")
    return undos([written("documents/rook/cluster.json", before, after, ceph_version=ceph_version)])[0]


def overall(*versions: str) -> Item:
    return ceph(ceph={"versions": {"overall": dict.fromkeys((f"ceph version {v} (abc) x" for v in versions), 1)}})


@pytest.mark.parametrize(
    ("present", "before", "stays"),
    [
        (overall("15.2.4"), "15.2.4-0", False),
        (overall("15.2.4", "15.2.5"), "15.2.4-0", True),
        (overall("16.2.0"), "15.2.17-0", True),
        (overall("15.2.4"), "15.2.5-0", False),
        (overall("15.2.5"), None, True),
        (ceph("ceph:v15"), None, False),
        (ceph(ceph={}, version={"image": "ceph@sha256:1", "version": "15.2.10-0"}), "15.2.9-0", True),
        (ceph(version={}, ceph={}), "15.2.4-0", False),
        (None, "15.2.4-0", False),
    ],
)
def test_ceph_stays_where_a_daemon_is_newer(present: Item | None, before: str | None, stays: bool) -> None:
    assert bool(ceph_stays(of_ceph(before), present, [])) is stays


def test_one_daemon_is_enough() -> None:
    mds = workload(name="rook-ceph-mds-a")
    mds["metadata"]["labels"] = {"ceph-version": "15.2.5-0"}
    assert "daemons run Ceph 15.2.5" in ceph_stays(of_ceph(), overall("15.2.4"), [mds])


def test_what_stays_with_ceph() -> None:
    later = written("documents/manifests/02-after.json", None, {**CONFIG, "kind": "Anything"})
    earlier = written("documents/manifests/01-before.json", None, {**CONFIG, "kind": "Something"})
    found = undos([OURS["mirror made"], earlier, OURS["operator"], OURS["csi"], OURS["ceph"], later])
    stays = staying(found, next(undo for undo in found if undo.key.kind == "CephCluster"))
    assert {undo.key.kind for undo in found if undo.key not in stays} == {"Anything"}
