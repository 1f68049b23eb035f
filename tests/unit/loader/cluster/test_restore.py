from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from loader.cluster.objects import key_of
from loader.cluster.restore import Step, step_for, steps
from loader.cluster.undo import Undo
from loader.cluster.undowaits import needs_restart, waits_after
from tests.unit.loader.cluster import makers

Item = dict[str, Any]
BEFORE = makers.deployment()
AFTER = makers.deployment(image=makers.OPERATOR_IMAGE)
MADE = makers.config_map(ROOK_CSI_CEPH_IMAGE="x")


def undo(before: Item | None, after: Item, *documents: str, uid: str | None = None) -> Undo:
    return Undo(
        key_of(after, "a test's object"), documents or ("documents/rook/operator.json",), before, after, uid, None
    )


def there(item: Item, **metadata: Any) -> Item:
    found = makers.stored(item)
    found["metadata"] |= metadata
    found["status"] = {"replicas": 1}
    return found


@pytest.mark.parametrize(
    ("what", "present", "action", "conflicts"),
    [
        (undo(BEFORE, AFTER), there(AFTER), "restore", ()),
        (undo(BEFORE, AFTER), there(BEFORE), "none", ()),
        (undo(BEFORE, AFTER), there(makers.deployment(image="theirs:v1")), "restore", ("image",)),
        (undo(BEFORE, AFTER, uid="another"), there(AFTER), "restore", ("anew",)),
        (undo(BEFORE, AFTER, uid="another"), there(BEFORE), "none", ()),
        (undo(BEFORE, AFTER), None, "none", ("gone",)),
        (undo(None, MADE), there(MADE), "delete", ()),
        (undo(None, MADE), there(makers.config_map(ROOK_CSI_CEPH_IMAGE="x", more="y")), "delete", ()),
        (undo(None, MADE), there(makers.config_map(ROOK_CSI_CEPH_IMAGE="y")), "delete", ("ROOK_CSI_CEPH_IMAGE",)),
        (undo(None, MADE, uid="another"), there(MADE), "delete", ("anew",)),
        (undo(None, MADE, uid="5f0c"), there(MADE), "delete", ()),
        (undo(None, MADE), there(MADE, deletionTimestamp="2026-01-01T00:00:00Z"), "none", ()),
        (undo(None, MADE), None, "none", ()),
        (undo(None, makers.ceph_cluster()), there(makers.ceph_cluster()), "keep", ()),
    ],
)
def test_what_happens_to_an_object(what: Undo, present: Item | None, action: str, conflicts: tuple[str, ...]) -> None:
    step = step_for(what, present, force=False)
    assert step.action == action
    assert len(step.conflicts) == len(conflicts)
    assert all(word in said for word, said in zip(conflicts, step.conflicts))
    assert bool(step.diff) is step.writes


def test_only_what_we_changed_is_sent() -> None:
    present = there(AFTER)
    present["spec"]["replicas"] = 0
    step = step_for(undo(BEFORE, AFTER), present, force=False)
    assert step.body is not None
    assert list(step.body["spec"]) == ["template"]
    assert step.version == "100"


def test_what_is_gone_is_made_again_by_force_alone() -> None:
    step = step_for(undo(BEFORE, AFTER), None, force=True)
    assert (step.action, step.body) == ("create", BEFORE)


def test_what_stays_says_why_and_a_kind_that_is_gone_is_left_out() -> None:
    survey = makers.survey(resources=())
    stays = undo(BEFORE, AFTER)
    found = steps([stays, undo(makers.config_map(), MADE)], {}, survey, {stays.key: "Ceph stays"}, {}, force=False)
    assert [(step.action, step.reason) for step in found] == [("keep", "Ceph stays")]


def test_a_namespace_stays_with_what_is_kept_in_it() -> None:
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("rook-ceph", "rook-op")
    ]
    made = [undo(None, item, "documents/manifests/1.yaml") for item in (makers.ceph_cluster(), *spaces)]
    here = {each.key: there(each.after) for each in made}
    found = steps(made, here, makers.survey(), {}, {}, force=False)
    assert [step.action for step in found] == ["keep", "keep", "delete"]
    assert found[1].reason == "CephCluster/rook-ceph in rook-ceph is kept"


def test_what_another_load_has_too_is_not_deleted() -> None:
    made, changed = undo(None, MADE), undo(BEFORE, AFTER)
    others = {made.key: "stwo 1", changed.key: "stwo 1"}
    here = {each.key: there(each.after) for each in (made, changed)}
    found = steps([made, changed], here, makers.survey(), {}, others, force=False)
    assert [step.action for step in found] == ["keep", "restore"]
    assert found[0].reason == "stwo 1 has it too: roll that back first"


def changing(before: Item, after: Item, document: str) -> Step:
    return step_for(undo(before, after, document), there(after), force=False)


def test_csi_images_and_operator_go_back_together() -> None:
    data = {"ROOK_CSI_CEPH_IMAGE": "x@sha256:1"}
    ceph = changing(makers.ceph_cluster(), makers.ceph_cluster(image="y"), "documents/rook/cluster.json")
    csi = changing(makers.config_map(**data), makers.config_map(ROOK_CSI_CEPH_IMAGE="z"), "documents/rook/csi.json")
    operator = changing(BEFORE, AFTER, "documents/rook/operator.json")
    idms = step_for(undo(None, makers.idms()[1], "documents/mirrors/idms.yaml"), there(makers.idms()[1]), force=False)
    order = [ceph, csi, operator, idms]
    found = [waits_after(order[: n + 1], order[n + 1 :]) for n in range(len(order))]
    names = [[type(wait).__name__ for wait in waits] for waits in found]
    assert names == [["CephWait"], [], ["RolloutWait", "CsiWait"], ["PoolWait"]]


def secret(**logins: Any) -> Item:
    packed = base64.b64encode(json.dumps({"auths": logins}).encode()).decode()
    metadata = {"name": "pull-secret", "namespace": "openshift-config"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {".dockerconfigjson": packed}}


def logins_after(step: Step) -> Any:
    assert step.body is not None
    return json.loads(base64.b64decode(step.body["data"][".dockerconfigjson"]))["auths"]


def test_of_the_pull_secret_our_entry_alone_goes_back() -> None:
    what = undo(secret(cloud="old", quay="a"), secret(cloud="old", quay="a", site="ours"), "--cluster-auth")
    for force in (False, True):
        step = step_for(what, there(secret(cloud="new", quay="a", site="ours", third="x")), force=force)
        assert (step.action, step.conflicts) == ("restore", ())
        assert logins_after(step) == {"cloud": "new", "quay": "a", "third": "x"}
    changed = step_for(what, there(secret(cloud="new", site="theirs")), force=True)
    assert changed.conflicts == ("data..dockerconfigjson.auths.site",)
    assert logins_after(changed) == {"cloud": "new"}
    assert step_for(what, there(secret(cloud="new")), force=False).action == "none"


def test_a_pull_secret_that_nobody_else_changed_gets_its_old_bytes_back() -> None:
    before = secret(quay="a")
    before["data"][".dockerconfigjson"] = base64.b64encode(b'{ "auths": {"quay": "a"} }').decode()
    after = secret(quay="a", site="ours")
    step = step_for(undo(before, after, "--cluster-auth"), there(after), force=False)
    assert step.body is not None
    assert step.body["data"] == before["data"]
    for broken in ("!", base64.b64encode(b"[]").decode(), base64.b64encode(b"{").decode()):
        after["data"][".dockerconfigjson"] = broken
        step = step_for(undo(before, secret(quay="a", site="x"), "--cluster-auth"), there(after), force=True)
        assert (len(step.conflicts), step.body and step.body["data"]) == (1, before["data"])


def authorities(**entries: str) -> Item:
    metadata = {"name": "cas", "namespace": "openshift-config"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": entries}


def test_all_that_nodes_have_goes_back_in_one_roll_out() -> None:
    idms = step_for(undo(None, makers.idms()[1], "documents/mirrors/idms.yaml"), there(makers.idms()[1]), force=False)
    login = changing(secret(quay="a"), secret(quay="a", site="b"), "--cluster-auth")
    trust = changing(authorities(a="x"), authorities(a="x", b="y"), "--cluster-ca")
    order = [idms, login, trust]
    found = [waits_after(order[: n + 1], order[n + 1 :]) for n in range(len(order))]
    names = [[type(wait).__name__ for wait in waits] for waits in found]
    assert names == [[], [], ["AuthorityWait", "PoolWait", "PoolWait"]]


def test_the_diff_of_what_goes_back_is_against_what_was_before() -> None:
    step = changing(BEFORE, AFTER, "documents/rook/operator.json")
    assert step.diff.splitlines()[1].startswith("+++ before the load ")
    made = step_for(undo(None, MADE), there(MADE), force=False)
    assert not [line for line in made.diff.splitlines()[3:] if line.startswith("+")]


def test_keys_that_fall_away_need_a_new_operator() -> None:
    csi = changing(makers.config_map(), MADE, "documents/rook/csi.json")
    assert needs_restart([csi])
    assert not needs_restart([csi, changing(BEFORE, AFTER, "documents/rook/operator.json")])
    other = copy.deepcopy(MADE)
    other["data"]["ROOK_CSI_CEPH_IMAGE"] = "y"
    assert not needs_restart([changing(MADE, other, "documents/rook/csi.json")])
