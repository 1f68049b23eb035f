from __future__ import annotations

from typing import Any

import pytest

from loader.cluster.nodeside import NodeSide
from loader.cluster.prediction import predict
from loader.cluster.resolution import Resolver
from loader.cluster.shadowing import shadow_findings
from loader.oci.model import ImageRef
from tests.unit.loader.cluster.test_merge import R, conf_of, idms, itms

OLD = "old.site:5000/hub"
OURS = idms(("docker.io/ceph", f"{R}/ceph"), ("docker.io/rook", f"{R}/rook"), name="ours")


def test_other_workloads_that_lose_their_mirrors_are_told() -> None:
    theirs = idms(("docker.io", OLD)), itms(("docker.io", OLD))
    before, after = conf_of(*theirs), conf_of(*theirs, OURS)
    other = ImageRef.parse("docker.io/ceph/other@sha256:" + "0" * 64)
    assert Resolver(before).endpoints(other)[0] == f"{OLD}/ceph/other"
    assert f"{OLD}/ceph/other" not in Resolver(after).endpoints(other)
    (said,) = shadow_findings(before, after)
    names = "docker.io/ceph, docker.io/rook"
    assert said.level == "warning"
    assert said.text == f"names in {names} no longer ask the mirrors that docker.io has: {OLD}, {OLD} (by tag)"


def test_a_block_that_is_lifted_is_told() -> None:
    theirs = idms(("docker.io", OLD), never=True)
    texts = [finding.text for finding in shadow_findings(conf_of(theirs), conf_of(theirs, OURS))]
    assert texts[1:] == [
        "docker.io is never contacted, and names in docker.io/ceph, docker.io/rook will be: the longer source wins"
    ]


@pytest.mark.parametrize(
    "theirs",
    [
        idms(("docker.io/ceph", OLD)),  # the same source: both lists are merged
        idms(("docker.io", R)),  # the same place
        idms(("docker.io/other", OLD), ("docker.io/cep", OLD), ("docker.io/ceph/ceph", OLD)),
    ],
)
def test_nothing_is_said_where_nothing_is_lost(theirs: dict[str, Any]) -> None:
    assert list(shadow_findings(conf_of(theirs), conf_of(theirs, OURS))) == []


def test_only_the_next_wider_entry_lost_anything() -> None:
    theirs = idms(("*.io", R), ("docker.io", OLD))
    (said,) = shadow_findings(conf_of(theirs), conf_of(theirs, OURS))
    assert "that docker.io has" in said.text


def test_a_wildcard_loses_names_as_well() -> None:
    theirs = idms(("*.io", OLD))
    (said,) = shadow_findings(conf_of(theirs), conf_of(theirs, OURS))
    assert "that *.io has" in said.text


def test_it_is_part_of_the_prediction() -> None:
    side = NodeSide(mirror_objects=(idms(("docker.io", OLD)),))
    assert any("no longer ask the mirrors" in finding.text for finding in predict(side, [OURS]).findings)
    assert predict(NodeSide(mirror_objects=(idms(("docker.io", OLD)), OURS)), [OURS]).findings == ()
