from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from loader.bundle.manifest import Target
from loader.cluster.mirrorsets import MirrorWay
from loader.cluster.nodeeffect import PoolEffect
from loader.cluster.nodeside import NodeSide, Pool, read_nodes
from loader.cluster.objects import key_of
from loader.cluster.plan import make_plan
from loader.cluster.platforms import Platform, platform_of, rosa_refuses
from loader.cluster.prediction import effect_words
from loader.cluster.preflight import Grants, Names, PullChecks, Pulls, client_findings, clock_findings, endpoints_of
from loader.cluster.prepare import Asked, prepare, with_nodes
from loader.cluster.registriestoml import Registries
from loader.cluster.survey import Resource, survey
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.fakecluster import FakeCluster
from tests.unit.loader.cluster.nodemakers import image, pulls
from tests.unit.loader.cluster.test_merge import conf_of, idms

R = makers.REGISTRY
CEPH = image("docker.io/ceph/ceph", "linux/amd64")
CONF = conf_of(idms(("docker.io/ceph", f"{R}/ceph")))


def found(side: NodeSide, wanted: Pulls, grants: Grants | None = None, conf: Registries = CONF) -> list[str]:
    checks = PullChecks(side, conf, wanted, grants or Grants(), names=Names((conf,)))
    return [f"{finding.level}: {finding.text}" for finding in checks.findings]


def opened(logins: frozenset[str] | None = frozenset(), **spec: Any) -> NodeSide:
    return NodeSide(image_config={"spec": spec}, logins=logins)


def test_nothing_is_said_where_all_is_well() -> None:
    assert found(opened(), pulls(CEPH)) == []


def test_an_unmirrored_image_is_a_blocker() -> None:
    assert found(opened(), pulls(image("quay.io/x/y"))) == [
        f"blocker: nodes would not ask {R} for quay.io/x/y (quay.io/x/y)"
    ]


def test_a_broken_name_is_a_blocker() -> None:
    conf = conf_of(idms(("example.com", f"{R}/ex")))
    (said,) = found(opened(), pulls(image("example.com:5000/x/y")), conf=conf)
    assert said.startswith("blocker: nodes cannot pull example.com:5000/x/y")


@pytest.mark.parametrize(
    ("keys", "lets_in"),
    [
        ({R}, True),
        ({f"https://{R}/v1/"}, True),
        ({f"https://{R}/v2/"}, True),
        ({f"{R}/ceph"}, True),
        ({f"{R}/ceph/ceph"}, True),
        ({f"{R}/other"}, False),
        ({f"{R}/cep"}, False),
        ({"reg.airgap.local"}, False),
        (set(), False),
    ],
)
def test_logins_are_found_by_host_and_path(keys: set[str], lets_in: bool) -> None:
    said = found(opened(logins=frozenset(keys)), pulls(CEPH, anonymous=False))
    assert bool(said) is not lets_in
    assert not said or said[0].startswith(f"blocker: {R} wants a login")


def test_an_unreadable_pull_secret_is_a_warning() -> None:
    (said,) = found(opened(logins=None), pulls(CEPH, anonymous=False))
    assert said.startswith("warning: whether nodes can log in")


def test_what_this_load_grants_is_not_missed() -> None:
    wanted = pulls(CEPH, anonymous=False, private_ca=True)
    assert len(found(opened(), wanted)) == 2
    assert found(opened(), wanted, Grants(authority=True, login=True)) == []


def test_allowed_registries_are_judged_by_the_source() -> None:
    side = opened(registrySources={"allowedRegistries": ["quay.io", R]})
    assert found(side, pulls(CEPH)) == [
        "blocker: allowedRegistries of image.config/cluster lets nodes pull nothing named docker.io/ceph/ceph"
    ]
    side = opened(registrySources={"allowedRegistries": ["docker.io/ceph"]})
    assert [said.partition(":")[0] for said in found(side, pulls(CEPH))] == ["warning"]


def test_many_images_are_counted_not_listed() -> None:
    wanted = pulls(*(image(f"quay.io/x/y{n}") for n in range(9)))
    assert found(opened(), wanted)[0].endswith("and 6 more")


@pytest.mark.parametrize(("minutes", "count"), [(0, 0), (4, 0), (-6, 1), (60, 1)])
def test_clocks(minutes: int, count: int) -> None:
    here = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    said = list(clock_findings(here, "the registry", here + datetime.timedelta(minutes=minutes)))
    assert len(said) == count
    assert all("host clock reads 2026-01-01T00:00:00Z, the registry says" in finding.text for finding in said)
    assert list(clock_findings(here, "the registry", None)) == []


@pytest.mark.parametrize(
    ("client", "levels"),
    [
        ("kubectl 1.17.9", ["blocker"]),
        ("kubectl 1.18.0", []),
        ("kubectl 1.34.4", []),
        ("oc 4.4.0-202004", ["blocker"]),
        ("oc 4.5.0", []),
        ("oc 3.11.0", ["blocker"]),
        ("oc 1.32.4", []),
        ("oc 1.17.0", ["blocker"]),
        ("kubectl-old 1.16.1", ["blocker"]),
        ("", []),
    ],
)
def test_a_client_that_is_too_old_is_a_blocker(client: str, levels: list[str]) -> None:
    assert [finding.level for finding in client_findings(client)] == levels


@pytest.mark.parametrize(("mode", "told"), [("cluster", 1), ("none", 1), ("manual", 0)])
def test_where_nodes_were_set_by_hand_nothing_is_told_of_their_names(mode: str, told: int) -> None:
    way = MirrorWay(mode)
    plan = with_nodes(make_plan([], makers.survey(), {}, way=way), opened(), Asked(way=way, pulls=pulls(CEPH)))
    assert len(plan.endpoints) == told


WORKER = Pool("worker", 3, conf_of(idms(("docker.io/other", f"{R}/other"))))


@pytest.mark.parametrize(
    ("mode", "pool", "levels"),
    [
        ("cluster", WORKER, ["blocker"]),
        ("none", WORKER, ["warning"]),
        ("manual", WORKER, []),
        ("cluster", dataclasses.replace(WORKER, conf=CONF), []),
        ("cluster", dataclasses.replace(WORKER, conf=None), []),
    ],
)
def test_rook_without_mirrors_of_its_own_needs_those_of_the_nodes(mode: str, pool: Pool, levels: list[str]) -> None:
    there = makers.stored(makers.ceph_cluster())
    way, side = MirrorWay(mode), dataclasses.replace(opened(), pools=(pool,))
    plan = make_plan([makers.ceph_patch()], makers.survey(), {key_of(there, "an object"): there}, way=way)
    plan = with_nodes(plan, side, Asked(way=way, pulls=pulls(CEPH)))
    found = [finding for finding in plan.findings if "would not ask" in finding.text]
    assert [finding.level for finding in found] == levels
    assert all("--only mirrors" in finding.hint for finding in found)
    assert any("resolves to" in line for line in plan.portrait) is (pool.conf is CONF)


def test_endpoints_are_told_in_the_order_nodes_ask() -> None:
    here = pulls(CEPH, image("quay.io/x/y"))
    assert list(endpoints_of(CONF, here).values()) == [(f"{R}/ceph/ceph", "docker.io/ceph/ceph"), ("quay.io/x/y",)]
    broken = conf_of(idms(("example.com", f"{R}/ex")))
    assert list(endpoints_of(broken, pulls(image("example.com:5000/x/y"))).values()) == [()]


def test_a_check_that_cannot_be_made_is_none() -> None:
    checks = PullChecks(NodeSide(), None, pulls(CEPH), Grants(), names=Names(()))
    assert (checks.resolved, checks.trust, checks.allowed, checks.login) == (None, None, None, None)
    assert checks.findings == ()


def test_effect_words_group_pools() -> None:
    pools = [PoolEffect("master", "reload", 3), PoolEffect("worker", "reload", 1), PoolEffect("gpu", "none", 9)]
    assert effect_words(pools) == "CRI-O reload on 4 nodes (master 3, worker 1)"
    assert effect_words([PoolEffect("w", "drain", 1, "x is removed")]) == (
        "drain and CRI-O reload of 1 node (w 1): x is removed"
    )
    assert effect_words([]) == ""


EXTERNAL = {"status": {"controlPlaneTopology": "External"}}


def node(runtime: str) -> dict[str, Any]:
    return {"status": {"nodeInfo": {"containerRuntimeVersion": runtime}}}


@pytest.mark.parametrize(
    ("platform", "name", "step"),
    [
        (platform_of("v1.30.1+k3s1", None, None, []), "k3s", "registries.yaml"),
        (platform_of("v1.30.1+rke2r1", None, None, []), "RKE2", "registries.yaml"),
        (platform_of("v1.30.1", None, None, [node("containerd://1.7.2")]), "Kubernetes", "containerd"),
        (platform_of("v1.30.1", None, None, [node("cri-o://1.30")]), "Kubernetes", "registries.conf"),
        (platform_of("v1.30.1", None, {"data": {}}, []), "MicroShift", "microshift.conf"),
        (
            platform_of("v1.30.1", EXTERNAL, None, []),
            "HyperShift",
            "hypershift",
        ),
    ],
)
def test_platforms_name_their_node_file(platform: Platform, name: str, step: str) -> None:
    assert platform.name == name
    assert step in platform.by_hand
    assert "--mirrors manual" in platform.by_hand
    found = make_plan([makers.idms()], makers.survey(resources=makers.RESOURCES), {}, side=NodeSide(platform=platform))
    assert [finding.hint for finding in found.findings] == [platform.by_hand]


def rosa(topology: str) -> Platform:
    tags = [{"key": "red-hat-clustertype", "value": "rosa"}]
    status = {"controlPlaneTopology": topology, "platformStatus": {"aws": {"resourceTags": tags}}}
    return platform_of("v1.30.1", {"status": status}, None, [])


def test_images_that_lack_the_same_nodes_are_one_finding() -> None:
    side = NodeSide(architectures={"amd64": 2, "s390x": 1})
    images = [image(f"quay.io/a/b{number}", "linux/amd64") for number in range(5)]
    images += [image("quay.io/a/all", "linux/amd64", "linux/s390x"), image("quay.io/a/z", "linux/s390x")]
    checks = PullChecks(side, None, pulls(*images), Grants(), names=Names(()))
    some = "quay.io/a/b0:v1, quay.io/a/b1:v1, quay.io/a/b2:v1 and 2 more"
    assert [finding.text for finding in checks.architectures] == [
        f"{some} are there for amd64, and of the nodes are 1 s390x",
        "quay.io/a/z:v1 is there for s390x, and of the nodes are 2 amd64",
    ]


def test_rosa_refuses_the_articles_sources() -> None:
    side = NodeSide(platform=rosa("HighlyAvailable"))
    plan = make_plan([makers.idms()], makers.survey(), {}, side=side)
    assert [f.text for f in plan.findings] == [
        "ROSA's webhook imagecontentpolicies-validation refuses mirrors of quay.io/cephcsi"
    ]
    assert "repository" not in plan.findings[0].hint, "it refuses every name of quay.io"
    bare = make_plan([makers.idms(sources=("registry.redhat.io",))], makers.survey(), {}, side=side)
    assert "mirrors.scope: repository" in bare.findings[0].hint
    assert "rosa create image-mirror" in rosa("External").by_hand
    names = ("quay.io", "quay.io.x/a", "registry.redhat.io/a", "registry.redhat.io")
    assert [rosa_refuses(name) for name in names] == [True, False, False, True]


def test_never_contact_source_needs_the_newer_kind() -> None:
    document, body = makers.idms()
    body["spec"]["imageDigestMirrors"][0]["mirrorSourcePolicy"] = "NeverContactSource"
    pairs = [(document, body), makers.icsp()]
    only_icsp = makers.survey(resources=(*makers.RESOURCES, makers.ICSP))
    plan = make_plan(pairs, only_icsp, {})
    assert "NeverContactSource, which ImageContentSourcePolicy cannot" in plan.findings[0].text
    assert make_plan(pairs, only_icsp, {}, way=MirrorWay("manual")).findings == ()
    assert make_plan(pairs, makers.survey(), {}).findings == ()


def test_mirrors_by_tag_are_made_where_they_are_served_and_else_told() -> None:
    document, _ = makers.idms()
    kind = "ImageTagMirrorSet"
    target = Target("config.openshift.io/v1", kind, None, "rook-ceph-images")
    body = {**target_stub(target), "spec": {"imageTagMirrors": [{"source": "quay.io/a", "mirrors": [f"{R}/a"]}]}}
    pairs = [makers.idms(), (dataclasses.replace(document, path="documents/mirrors/itms.yaml", target=target), body)]
    plan = make_plan(pairs, makers.survey(), {})
    assert [(c.kind, c.action) for c in plan.changes] == [("ImageDigestMirrorSet", "create"), (kind, "skip")]
    assert [(f.level, "does not serve ImageTagMirrorSet" in f.text) for f in plan.findings] == [("warning", True)]
    resource = Resource(target.api_version, kind, "imagetagmirrorsets", False)
    plan = make_plan(pairs, makers.survey(resources=(*makers.RESOURCES, makers.IDMS, resource)), {})
    assert [(c.kind, c.action) for c in plan.changes] == [("ImageDigestMirrorSet", "create"), (kind, "create")]
    assert plan.findings == ()


def target_stub(target: Target) -> dict[str, Any]:
    return {"apiVersion": target.api_version, "kind": target.kind, "metadata": {"name": target.name}}


def test_what_may_not_be_read_is_said_and_the_rest_is_read() -> None:
    pool = Resource("machineconfiguration.openshift.io/v1", "MachineConfigPool", "machineconfigpools", False)
    theirs = makers.idms("theirs", ("quay.io/theirs",))[1]
    item = {"apiVersion": pool.api_version, "kind": pool.kind, "metadata": {"name": "worker"}}
    cluster = FakeCluster(theirs, item, resources=(*makers.RESOURCES, makers.IDMS, pool))
    kubectl = cluster.kubectl()
    forbidden = 'Error from server (Forbidden): nodes is forbidden: User "u" cannot list resource "nodes"'
    cluster.broken = {"nodes -o json": forbidden}
    side = read_nodes(kubectl, survey(kubectl, []))
    assert [item["metadata"]["name"] for item in side.mirror_objects] == ["theirs"]
    assert [pool.name for pool in side.pools] == ["worker"]
    assert len(side.unread) == 1
    assert not side.mirrors_hidden
    assert "nodes is forbidden" in side.unread[0]
    _, plan = prepare(kubectl, [makers.idms()])
    assert [f.level for f in plan.findings if "nodes is forbidden" in f.text] == ["warning"]
    assert [f.text for f in plan.findings if "worker" in f.text] == ["registries.conf of pool worker is not to be seen"]


def test_where_mirror_objects_may_not_be_listed_nothing_is_claimed_of_names_and_nodes() -> None:
    machine_config = "machineconfiguration.openshift.io/v1"
    pool = Resource(machine_config, "MachineConfigPool", "machineconfigpools", False)
    theirs = makers.idms("theirs", ("docker.io/ceph/ceph",))[1]
    item = {"apiVersion": machine_config, "kind": pool.kind, "metadata": {"name": "worker"}}
    cluster = FakeCluster(theirs, item, resources=(*makers.RESOURCES, makers.IDMS, pool))
    # The first is also the end of the line that asks for all kinds at once.
    listings = ("nodes -o json", "imagedigestmirrorsets.config.openshift.io -o json")
    cluster.broken = dict.fromkeys(listings, "Error from server (Forbidden): no")
    asked = Asked(pulls=pulls(CEPH))
    _, plan = prepare(cluster.kubectl(), [makers.idms()], asked)
    assert (plan.nodes, plan.endpoints, [line for line in plan.portrait if "resolves" in line]) == ((), {}, [])
    assert [finding.level for finding in plan.findings if "Forbidden" in finding.text] == ["warning"] * 2
    cluster.broken = {}
    _, plan = prepare(cluster.kubectl(), [makers.idms()], asked)
    assert [pool.effect for pool in plan.nodes] == ["reload"]
    assert len(plan.endpoints) == 1
