from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from loader.cluster.content import held, is_part_of_another
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import Key
from loader.cluster.process import Finished

OWNERS = {"ownerReferences": [{"kind": "ReplicaSet", "name": "x"}]}


@pytest.mark.parametrize(
    ("kind", "metadata", "part"),
    [
        ("ConfigMap", {"name": "kube-root-ca.crt"}, True),
        ("ServiceAccount", {"name": "default"}, True),
        ("ServiceAccount", {"name": "theirs"}, False),
        ("Secret", {"name": "default-token-x", "annotations": {"kubernetes.io/service-account.name": "default"}}, True),
        ("Secret", {"name": "made-by-hand"}, False),
        ("RoleBinding", {"name": "system:deployers"}, True),
        ("Pod", {"name": "x", **OWNERS}, True),
        ("Pod", {"name": "x"}, False),
        ("Pod", {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
        ("PersistentVolumeClaim", {"name": "x", **OWNERS}, False),
        ("CephCluster", {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}, False),
        ("ClusterServiceVersion", {"name": "x", "labels": {"olm.copiedFrom": "operators"}}, True),
    ],
)
def test_what_a_namespace_has_of_others(kind: str, metadata: dict[str, Any], part: bool) -> None:
    assert is_part_of_another({"kind": kind, "metadata": metadata}) is part


def test_a_namespace_that_may_not_be_looked_into_stays() -> None:
    def refused(argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        return Finished(1, b"", b'Error from server (Forbidden): secrets is forbidden: User "u" cannot list resource')

    said = held(Kubectl("oc", refused), Key("v1", "Namespace", None, "theirs"), {})
    assert said.startswith("what is in it is not to be seen")
