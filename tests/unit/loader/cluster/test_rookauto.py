from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import pytest

from loader.bundle.errors import ClusterError, ConfigError
from loader.cluster.kubectl import Kubectl
from loader.cluster.oclines import oc_lines
from loader.cluster.process import Finished
from loader.cluster.rookauto import CLUSTERS, OPERATORS, named, parse_place
from tests.unit.loader.cluster import makers


class Server:
    """Answers the two lists."""

    def __init__(self, operators: Sequence[str] = ("ops",), clusters: Sequence[str] = ("data/main",)) -> None:
        self.lists = {OPERATORS: [f"{ns}/rook-ceph-operator" for ns in operators], CLUSTERS: list(clusters)}
        self.paths: list[str] = []

    def __call__(self, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        self.paths.append(argv[-1])
        places = [place.split("/") for place in self.lists[argv[-1]]]
        items = [{"metadata": {"namespace": namespace, "name": name}} for namespace, name in places]
        return Finished(0, json.dumps({"items": items}).encode(), b"")

    def named(self, *pairs: makers.Pair, chosen: tuple[str, str] | None = None) -> list[tuple[str | None, str]]:
        found = named(Kubectl("oc", self), pairs, chosen)
        return [(d.target.namespace, d.target.name) for d, _ in found if d.target is not None]


def opened(pair: makers.Pair, namespace: str | None = None, name: str | None = None) -> makers.Pair:
    document, body = pair
    assert document.target is not None
    target = dataclasses.replace(document.target, namespace=namespace, name=name or document.target.name)
    return dataclasses.replace(document, target=target), body


def toolbox() -> makers.Pair:
    return opened(makers.operator_patch(), name="rook-ceph-tools")


OPEN = (
    opened(makers.operator_patch()),
    opened(makers.csi_patch()),
    opened(makers.ceph_patch(), name="auto"),
    toolbox(),
)


def test_open_names_are_found_with_one_look_each() -> None:
    server = Server()
    assert server.named(*OPEN) == [
        ("ops", "rook-ceph-operator"),
        ("ops", "rook-ceph-operator-config"),
        ("data", "main"),
        ("data", "rook-ceph-tools"),
    ]
    assert server.paths == [OPERATORS, CLUSTERS]


def test_what_is_named_is_not_looked_for() -> None:
    server = Server((), ())
    assert server.named(makers.idms(), makers.operator_patch(), makers.ceph_patch())[1:] == [
        ("rook-ceph", "rook-ceph-operator"),
        ("rook-ceph", "rook-ceph"),
    ]
    assert server.paths == []


def test_a_half_of_a_name_chooses() -> None:
    two = Server(clusters=("a/main", "b/main", "b/other"))
    assert two.named(opened(makers.ceph_patch(), "a", "auto")) == [("a", "main")]
    assert two.named(opened(makers.ceph_patch(), None, "other")) == [("b", "other")]


@pytest.mark.parametrize(
    ("server", "pair", "why"),
    [
        (Server(()), OPEN[0], "no Rook operator that fits is on this cluster"),
        (Server(("a", "b")), OPEN[0], "a/rook-ceph-operator, b/rook-ceph-operator"),
        (Server(clusters=()), OPEN[2], "no CephCluster that fits is on this cluster"),
        (Server(clusters=("a/main", "b/main")), OPEN[2], "a/main, b/main"),
        (Server(clusters=("a/main", "b/main")), toolbox(), "a/main, b/main"),
    ],
)
def test_none_or_several_are_an_error_that_names_them(server: Server, pair: makers.Pair, why: str) -> None:
    with pytest.raises(ClusterError, match="leaves open") as caught:
        server.named(pair)
    assert caught.value.why == why
    assert "config" in caught.value.hint


def test_by_hand_the_place_is_looked_up() -> None:
    lines = oc_lines([document for document, _ in OPEN])
    assert lines[0] == "# only for Rook >=v1.4.0 <v1.6.0:"
    assert "oc get deployments -l app=rook-ceph-operator -A" in lines[1]
    assert lines[2].startswith("oc -n OPERATOR-NAMESPACE patch deployment.apps/rook-ceph-operator --type=strategic")
    made = [number for number, line in enumerate(lines) if "|| oc -n OPERATOR-NAMESPACE create configmap" in line]
    assert made
    assert all(" patch configmap" in lines[number + 1] for number in made)
    assert any(
        line.startswith("oc -n CLUSTER-NAMESPACE patch cephcluster.ceph.rook.io/NAME --type=merge") for line in lines
    )


def test_the_body_is_never_changed() -> None:
    pairs: Any = named(Kubectl("oc", Server()), OPEN)
    assert [body for _, body in pairs] == [body for _, body in OPEN]


def test_a_ceph_cluster_that_was_named_is_the_one() -> None:
    server = Server(operators=("data", "ops"), clusters=("data/main", "other/main"))
    places = [("data", "rook-ceph-operator"), ("data", "rook-ceph-operator-config"), ("data", "main")]
    assert server.named(*OPEN, chosen=("data", "main")) == [*places, ("data", "rook-ceph-tools")]
    # A name in the bundle gives way as well; what is not of a CephCluster stays.
    fixed = (makers.operator_patch(), makers.ceph_patch(), makers.idms())
    silent = Server()
    assert silent.named(*fixed, chosen=("data", "main")) == [
        ("rook-ceph", "rook-ceph-operator"),
        ("data", "main"),
        (None, "rook-ceph-images"),
    ]
    assert silent.paths == []


@pytest.mark.parametrize("said", ["main", "/main", "ns/", "ns/na/me", "NS/main", "ns/-a", "a b/c", "", "ns/main\n"])
def test_a_place_that_is_none(said: str) -> None:
    with pytest.raises(ConfigError, match="is not NS/NAME"):
        parse_place(said, "--ceph-cluster")
    assert parse_place("rook-ceph/my.cluster", "--ceph-cluster") == ("rook-ceph", "my.cluster")
