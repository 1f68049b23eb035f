from __future__ import annotations

import base64
import gzip
import json
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.kubectl import Kubectl
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.poolwait import RENDER_LIMIT, PoolWait, pool_verdict, pools_verdict
from loader.cluster.process import Finished
from loader.cluster.registriestoml import parse
from loader.cluster.rendered import logins_in, registries_conf
from loader.cluster.waits import DONE, FAILED, FAILING, PAUSED, WAITING
from tests.unit.loader.cluster.states import CONF, machine_config, pool

WANTED = {"docker.io/ceph": ("r:5000/ceph",)}


def mirrors_in(conf: str, *, tags: bool = False) -> dict[str, tuple[str, ...]]:
    return {entry.scope: entry.locations(tags=tags) for entry in parse(conf.encode(), "a test's file").entries}


def mirror_set(table: Mapping[str, tuple[str, ...]], policy: str = "", kind: str = "ImageDigestMirrorSet") -> Any:
    entries = [{"source": s, "mirrors": list(m), "mirrorSourcePolicy": policy} for s, m in table.items()]
    return {"metadata": {"name": "x"}, "spec": {MIRROR_LISTS[kind]: entries}}


class Server:
    """Answers raw reads from ``objects`` by path and reads of named objects; ``paths`` has each call."""

    def __init__(self, **objects: Any) -> None:
        self.objects = objects
        self.paths: list[str] = []
        self.log = ""
        self.refused: set[str] = set()

    def kubectl(self) -> Kubectl:
        return Kubectl("oc", self)

    def __call__(self, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        if "logs" in argv:
            return Finished(0, self.log.encode(), b"")
        if "-f" in argv:
            names = [item["metadata"]["name"] for item in json.loads(stdin)["items"]]
            self.paths.append(" ".join(names))
            here = [{**self.objects[name], "kind": "MachineConfig"} for name in names if name in self.objects]
            return Finished(0, json.dumps({"kind": "List", "items": here}).encode(), b"")
        path = argv[-1]
        self.paths.append(path)
        if path.rpartition("/")[2] in self.refused:
            return Finished(1, b"", b"Error from server (Forbidden): it is forbidden")
        found = self.objects.get(path.rpartition("/")[2])
        if found is None:
            return Finished(1, b"", b"Error from server (NotFound): not found")
        return Finished(0, json.dumps(found).encode(), b"")


def server(
    *pools: dict[str, Any], conf: str = CONF, sets: tuple[Any, ...] = (mirror_set(WANTED),), **more: Any
) -> Server:
    names = [f"rendered-{name}-2" for name in ("master", "worker")]
    configs = {name: {**machine_config(conf), "metadata": {"name": name}} for name in names}
    return Server(
        **{
            "machineconfigpools": {"items": list(pools)},
            "imagedigestmirrorsets": {"items": list(sets)},
            **configs,
            **more,
        }
    )


def test_nothing_to_wait_for_without_pools() -> None:
    for cluster in (Server(), server()):
        verdict = PoolWait("d", WANTED).look(cluster.kubectl(), {}, 0)
        assert verdict.state == DONE
        assert "no MachineConfigPool" in verdict.text


def test_updated_alone_is_not_believed() -> None:
    cluster = server(pool(), conf="")
    verdict = PoolWait("d", WANTED).look(cluster.kubectl(), {}, 10)
    assert verdict.state == WAITING
    assert "rendered configuration of worker" in verdict.text


def test_a_rendered_and_rolled_out_configuration_is_done_and_read_once() -> None:
    cluster = server(pool(), pool("master"))
    wait = PoolWait("d", WANTED)
    assert [wait.look(cluster.kubectl(), {}, n).text for n in range(3)] == ["master, worker updated"] * 3
    assert [path for path in cluster.paths if "rendered" in path] == ["rendered-worker-2 rendered-master-2"]


def test_a_configuration_that_never_comes_is_an_error_with_the_controllers_words() -> None:
    cluster = server(pool(), conf="")
    cluster.log = (
        'I0101 fine\nE0101 Error syncing image config openshift-config: invalid format for source "X"\nI0101 x\n'
    )
    verdict = PoolWait("d", WANTED).look(cluster.kubectl(), {}, RENDER_LIMIT)
    assert verdict.state == FAILED
    assert 'invalid format for source "X"' in verdict.text


BLOCKED = CONF.replace('ceph"\n', 'ceph"\n  blocked = true\n', 1)
TWO = {"docker.io/ceph": ("r:5000/ceph", "s:5000/ceph")}
TURNED = {"docker.io/ceph": ("s:5000/ceph", "r:5000/ceph")}
SECOND = """
  [[registry.mirror]]
    location = "s:5000/ceph"
    pull-from-mirror = "digest-only"
"""


@pytest.mark.parametrize(
    ("wanted", "former", "sets", "old", "new"),
    [
        ({}, WANTED, (), CONF, ""),
        (WANTED, WANTED, (mirror_set(WANTED, "NeverContactSource"),), CONF, BLOCKED),
        (WANTED, WANTED, (mirror_set(WANTED),), BLOCKED, CONF),
        (WANTED, TWO, (mirror_set(WANTED),), CONF + SECOND, CONF),
        (TWO, TURNED, (mirror_set(TWO),), CONF.replace("r:", "s:") + SECOND.replace("s:", "r:"), CONF + SECOND),
    ],
    ids=["a source leaves", "a source is blocked", "a source is open again", "a mirror leaves", "another order"],
)
def test_the_former_mirrors_must_leave_the_configuration(
    wanted: Any, former: Any, sets: tuple[Any, ...], old: str, new: str
) -> None:
    said = PoolWait("d", wanted, former).look(server(pool(), conf=old, sets=sets).kubectl(), {}, 10)
    assert (said.state, said.text) == (
        WAITING,
        "the former mirrors are still in the rendered configuration of worker",
    )
    assert PoolWait("d", wanted, former).look(server(pool(), conf=new, sets=sets).kubectl(), {}, 0).state == DONE
    late = PoolWait("d", wanted, former).look(server(pool(), conf=old, sets=sets).kubectl(), {}, RENDER_LIMIT)
    assert late.state == FAILED
    assert "s the former mirrors are still in" in late.text


def test_a_mirror_that_was_not_there_before_shows_by_itself_that_this_came_after_it() -> None:
    """However a later version of the operator writes the rest."""
    assert PoolWait("d", WANTED).look(server(pool(), conf=BLOCKED).kubectl(), {}, 0).state == DONE
    assert PoolWait("d", WANTED, WANTED).look(server(pool(), conf=BLOCKED).kubectl(), {}, 0).state == WAITING


def test_what_another_object_asks_for_as_well_stays() -> None:
    cluster = server(pool(), sets=(mirror_set(WANTED),))
    assert PoolWait("d", {}, WANTED).look(cluster.kubectl(), {}, 0).state == DONE


def test_where_nothing_would_be_rendered_nothing_is_done() -> None:
    cluster = server(pool(), sets=(mirror_set(WANTED), mirror_set({"docker.io/ceph": ("r:5000/../x",)})))
    assert PoolWait("d", WANTED).look(cluster.kubectl(), {}, 10).state == WAITING


def test_who_may_not_see_the_objects_of_others_waits_for_the_mirrors_alone() -> None:
    def looked(conf: str, waited: float) -> str:
        cluster = server(pool(), conf=conf)
        cluster.refused = {"imagecontentsourcepolicies"}
        return PoolWait("d", {}, WANTED).look(cluster.kubectl(), {}, waited).state

    assert [looked(CONF, 10), looked(CONF, RENDER_LIMIT), looked("", 10)] == [WAITING, DONE, DONE]


def test_a_degraded_pool_names_the_node_and_its_reason() -> None:
    degraded = pool(Updated="False", Degraded="True", Degraded_message="1 node is degraded")
    notes = {
        "machineconfiguration.openshift.io/state": "Degraded",
        "machineconfiguration.openshift.io/reason": "unexpected on-disk state",
    }
    nodes = {"items": [{"metadata": {"name": "w1", "annotations": notes}}, {"metadata": {"name": "w2"}}]}
    verdict = PoolWait("d", WANTED).look(server(degraded, nodes=nodes).kubectl(), {}, 10)
    assert verdict.state == FAILING
    assert verdict.text == "pool worker is Degraded: 1 node is degraded; node w1: unexpected on-disk state"


ROLLING: dict[str, Any] = {
    "Updated": "False",
    "Updating": "True",
    "updatedMachineCount": 1,
    "configuration": {"name": "rendered-worker-1"},
}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, DONE),
        (ROLLING, WAITING),
        ({"observedGeneration": 4}, WAITING),
        ({"configuration": {"name": "rendered-worker-1"}}, WAITING),
        ({"Updating": "True"}, WAITING),
        ({"readyMachineCount": 2}, WAITING),
        ({"updatedMachineCount": 2}, WAITING),
        ({"degradedMachineCount": 1}, WAITING),
        ({"machineCount": 0, "updatedMachineCount": 0, "readyMachineCount": 0}, DONE),
        ({"RenderDegraded": "True"}, FAILING),
        ({"NodeDegraded": "True"}, FAILING),
        ({**ROLLING, "Updating": "False", "paused": True}, PAUSED),
        ({"paused": True}, DONE),
    ],
)
def test_one_pool(changes: dict[str, Any], state: str) -> None:
    assert pool_verdict(pool(**changes)).state == state


def test_a_paused_pool_counts_when_all_others_are_through() -> None:
    paused = pool("infra", **{**ROLLING, "Updating": "False", "paused": True})
    assert pools_verdict([paused, pool(**ROLLING)]).state == WAITING
    verdict = pools_verdict([paused, pool()])
    assert verdict.state == PAUSED
    assert "pool infra is paused" in verdict.text


def test_more_nodes_get_more_time() -> None:
    wait = PoolWait("d", WANTED)
    assert wait.limit() == 1200
    wait.look(server(pool(machineCount=20)).kubectl(), {}, 0)
    assert wait.limit() == 20 * 900


def encoded(text: str, *, squeeze: bool = False) -> dict[str, str]:
    data = gzip.compress(text.encode()) if squeeze else text.encode()
    return {"source": "data:text/plain;charset=utf-8;base64," + base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    "contents",
    [{}, encoded(CONF), {**encoded(CONF, squeeze=True), "compression": "gzip"}],
    ids=["plain", "base64", "gzip"],
)
def test_every_spelling_of_a_file_is_read(contents: dict[str, str]) -> None:
    assert mirrors_in(registries_conf(machine_config(**contents))) == WANTED


def test_a_wildcard_is_known_by_its_prefix() -> None:
    conf = '[[registry]]\nprefix = "*.redhat.io"\n[[registry.mirror]]\nlocation = "r:5000/redhat"\n'
    assert mirrors_in(conf) == {"*.redhat.io": ("r:5000/redhat",)}


@pytest.mark.parametrize(
    "contents",
    [
        {"source": "https://elsewhere/x"},
        {"source": "data:;base64,%%%"},
        {"source": "data:,x", "compression": "gzip"},
        {"source": "data:,%ff"},
        {"source": "data:," + urllib.parse.quote(gzip.compress(b"x" * 2**25)[:40]), "compression": "gzip"},
        {"source": "data:," + urllib.parse.quote(gzip.compress(b"x" * 2**25)), "compression": "gzip"},
    ],
)
def test_a_file_that_cannot_be_read_is_named(contents: dict[str, str]) -> None:
    with pytest.raises(ClusterError, match="MachineConfig/rendered"):
        registries_conf(machine_config(**contents))


def test_text_that_is_no_toml_is_an_error() -> None:
    with pytest.raises(ClusterError, match=r"no registries\.conf"):
        mirrors_in("[[registry]")


def test_a_machine_config_without_the_file_has_no_mirrors() -> None:
    assert mirrors_in(registries_conf({"metadata": {"name": "x"}, "spec": {}})) == {}


BOTH = """[[registry]]
location = "q.io/a"
[[registry.mirror]]
location = "r/digests"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "r/tags"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "r/all"
[[registry]]
location = "q.io/old"
mirror-by-digest-only = true
[[registry.mirror]]
location = "r/old"
"""


def test_mirrors_for_tags_and_for_digests_are_told_apart() -> None:
    assert mirrors_in(BOTH) == {"q.io/a": ("r/digests", "r/all"), "q.io/old": ("r/old",)}
    assert mirrors_in(BOTH, tags=True) == {"q.io/a": ("r/tags", "r/all"), "q.io/old": ()}
    tags = {"items": [mirror_set(WANTED, kind="ImageTagMirrorSet")]}
    cluster = server(pool(), imagetagmirrorsets=tags)
    assert PoolWait("d", WANTED, tags=True).look(cluster.kubectl(), {}, 10).state == WAITING


@pytest.mark.parametrize(
    ("file", "found"),
    [
        (None, None),
        ('{"auths": {"r": {"auth": "x"}}}', {"r": {"auth": "x"}}),
        ("{}", None),
        ("[", None),
        ('{"auths": 1}', None),
    ],
)
def test_logins_of_a_configuration(file: str | None, found: dict[str, Any] | None) -> None:
    entry = {"path": "/var/lib/kubelet/config.json", "contents": encoded(file or "")}
    files = [entry] if file is not None else []
    assert logins_in({"metadata": {"name": "x"}, "spec": {"config": {"storage": {"files": files}}}}) == found


def test_a_login_must_be_in_the_rendered_configuration_first() -> None:
    wanted = {"r:5000": {"auth": "bmV3"}}
    cluster = server(pool())
    config = cluster.objects["rendered-worker-2"]
    entry = {"path": "/var/lib/kubelet/config.json", "contents": encoded('{"auths": {"r:5000": {"auth": "b2xk"}}}')}
    config["spec"]["config"]["storage"]["files"].append(entry)
    verdict = PoolWait("d", {}, logins=wanted).look(cluster.kubectl(), {}, 10)
    assert (verdict.state, verdict.text) == (
        WAITING,
        "the login is not in the rendered configuration of worker yet",
    )
    entry["contents"] = encoded(json.dumps({"auths": wanted}))
    assert PoolWait("d", {}, logins=wanted).look(cluster.kubectl(), {}, 10).state == DONE
    config["spec"]["config"]["storage"]["files"].remove(entry)  # an operator that shows no logins cannot tell
    assert PoolWait("d", {}, logins=wanted).look(cluster.kubectl(), {}, 10).state == DONE
