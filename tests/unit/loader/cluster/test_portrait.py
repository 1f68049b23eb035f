from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from loader.cluster.nodeside import NodeSide, Pool
from loader.cluster.platforms import K3S, OPENSHIFT, Platform
from loader.cluster.portrait import cluster_words, node_words
from loader.cluster.preflight import Grants, Names, PullChecks
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.nodemakers import pulls
from tests.unit.loader.cluster.test_preflight import CEPH, CONF, R, opened

HERE = makers.survey()


@pytest.mark.parametrize(
    ("changes", "side", "words"),
    [
        ({"openshift": "4.14.8"}, {"platform": Platform(OPENSHIFT)}, " OpenShift 4.14.8 (context "),
        (
            {"openshift": "4.14.8"},
            {"platform": Platform(OPENSHIFT), "topology": "SingleReplica"},
            " OpenShift 4.14.8 SingleReplica (",
        ),
        (
            {"openshift": None, "kubernetes": "v1.31.1+k3s1"},
            {"platform": Platform(K3S)},
            " Kubernetes v1.31.1+k3s1 k3s (context",
        ),
        ({}, {}, " · serves ImageDigestMirrorSet"),
        ({"resources": ()}, {}, " · serves no mirror kind"),
        ({}, {"pools": (Pool("master", 3, None), Pool("worker", 3, None))}, " · 2 pools healthy"),
        (
            {},
            {"pools": (Pool("master", 3, None), Pool("worker", 3, None, paused=True))},
            " · 2 pools, not at rest: worker",
        ),
    ],
)
def test_a_cluster_in_a_line(changes: dict[str, Any], side: dict[str, Any], words: str) -> None:
    line = cluster_words(dataclasses.replace(HERE, **changes), NodeSide(**side))
    assert line.startswith(f"cluster {HERE.server} ")
    assert words in line


def test_nodes_are_told_with_the_checks_that_found_nothing() -> None:
    side = dataclasses.replace(opened(), architectures={"amd64": 5, "arm64": 1})
    wanted = pulls(CEPH)
    checks = PullChecks(side, CONF, wanted, Grants(), names=Names((CONF,)))
    assert node_words(side, checks, wanted) == (
        f"nodes 5 amd64, 1 arm64 · every image resolves to {R} first · trust {R} · no login needed",
    )
    closed = pulls(CEPH, anonymous=False, private_ca=True)
    checks = PullChecks(side, CONF, closed, Grants(), names=Names(()))
    assert node_words(side, checks, closed) == ("nodes 5 amd64, 1 arm64",)
    assert node_words(NodeSide(), PullChecks(NodeSide(), None, wanted, Grants(), names=Names(())), wanted) == ()
