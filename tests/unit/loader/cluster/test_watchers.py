from __future__ import annotations

from typing import Any

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.survey import Resource
from loader.cluster.watchers import Trace, Watchers
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.fakecluster import FakeCluster

FORBIDDEN = 'Error from server (Forbidden): serviceaccounts "default" is forbidden: User "u" cannot get resource'
TRACE = "/api/v1/namespaces/default/serviceaccounts/default"


class Inhabited(FakeCluster):
    """A cluster whose controller manager has been at work."""

    def __init__(self, *items: dict[str, Any]) -> None:
        super().__init__(*items, resources=(*makers.RESOURCES, Resource(TRACE[5:], "ServiceAccount", "x", True)))


def operator() -> dict[str, Any]:
    item = makers.deployment()
    return {**item, "metadata": {**item["metadata"], "labels": {"rook_cluster": "rook-ceph"}}}


@pytest.mark.parametrize(
    ("made", "status", "waited", "nobody"),
    [
        (False, None, 2.4, False),
        (False, None, 2.5, True),
        (False, {}, 2.5, True),
        (True, None, 9.9, False),
        (True, None, 10.0, True),
        (False, {"observedGeneration": 1}, 3600.0, False),
    ],
)
def test_without_a_controller_manager_there_is_nobody(made: bool, status: Any, waited: float, nobody: bool) -> None:
    item = {} if status is None else {"status": status}
    assert Watchers(made=made).is_nobody(FakeCluster().kubectl(), [item], waited) is nobody


def test_a_slow_controller_is_waited_for_however_long_it_takes() -> None:
    oc = Inhabited(operator()).kubectl()
    assert not Watchers().is_nobody(oc, [{}], 3600.0)
    assert not Watchers(of_rook=True).is_nobody(oc, [{}], 3600.0)


def test_where_no_rook_operator_is_ten_seconds_are_enough() -> None:
    oc = Inhabited().kubectl()
    assert not Watchers(of_rook=True).is_nobody(oc, [{}], 9.9)
    assert Watchers(of_rook=True).is_nobody(oc, [{}], 10.0)


@pytest.mark.parametrize("refused", ["serviceaccounts", "deployments"])
def test_where_it_is_not_to_be_seen_somebody_is_taken_to_act(refused: str) -> None:
    cluster = Inhabited()
    cluster.broken = {refused: FORBIDDEN}
    assert not Watchers(of_rook=True).is_nobody(cluster.kubectl(), [{}], 3600.0)
    cluster.broken = {refused: "The connection to the server api.site7:6443 was refused"}
    with pytest.raises(ClusterError):
        Watchers(of_rook=True).is_nobody(cluster.kubectl(), [{}], 10.0)


def test_the_cluster_is_asked_once_and_only_where_nobody_ever_wrote() -> None:
    cluster = FakeCluster()
    oc, trace = cluster.kubectl(), Trace()
    Watchers(trace).is_nobody(oc, [{"status": {"replicas": 1}}, {}], 10.0)
    assert cluster.lines == []
    one, other = Watchers(trace), Watchers(trace, of_rook=True)
    assert [each.is_nobody(oc, [{}], 2.5) for each in (one, other, one)] == [True] * 3
    assert cluster.lines == [f"get --raw {TRACE}"]


def test_one_wait_is_long_enough_for_all() -> None:
    trace = Trace()
    oc = FakeCluster().kubectl()
    waits = [Watchers(trace, made=True), Watchers(trace, made=True, of_rook=True)]
    said = [waits[0].is_nobody(oc, [{}], waited) for waited in (0.0, 9.9, 10.0)]
    assert said == [False, False, True]
    assert waits[1].is_nobody(oc, [{}], 0.0)
