from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest

from loader.cluster.authoritywait import CONFIG, AuthorityWait, has_authorities
from loader.cluster.kubectl import Kubectl
from loader.cluster.poolwait import RENDER_LIMIT
from loader.cluster.process import Finished
from loader.cluster.waits import DONE, FAILED, WAITING

ENTRY, PEM = "reg.airgap.local..5000", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
NOTED = "machineconfiguration.openshift.io/lastSyncedControllerConfigResourceVersion"


def config(version: str, **entries: str) -> dict[str, Any]:
    rows = [{"file": ENTRY, "data": base64.b64encode(pem.encode()).decode()} for pem in entries.values()]
    return {"metadata": {"resourceVersion": version}, "spec": {"imageRegistryBundleUserData": rows}}


def kubectl(found: dict[str, Any] | None, **nodes: str) -> Kubectl:
    items = [{"metadata": {"name": n, "annotations": {NOTED: v} if v else {}}} for n, v in nodes.items()]

    def run(argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        if argv[-1] == CONFIG and found is None:
            return Finished(1, b"", b"Error from server (NotFound): not found")
        return Finished(0, json.dumps(found if argv[-1] == CONFIG else {"items": items}).encode(), b"")

    return Kubectl("oc", run)


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        (config("1", pem=PEM), {ENTRY: PEM}, True),
        (config("1", pem=PEM.strip()), {ENTRY: PEM}, True),
        (config("1", pem="another"), {ENTRY: PEM}, False),
        (config("1"), {ENTRY: PEM}, False),
        (config("1"), {ENTRY: None}, True),
        (config("1", pem=PEM), {ENTRY: None}, False),
        ({"spec": {"imageRegistryBundleUserData": [{"file": ENTRY, "data": "no base64"}]}}, {ENTRY: PEM}, False),
        ({"spec": {"imageRegistryBundleUserData": None}}, {ENTRY: PEM}, False),
    ],
)
def test_what_the_controller_config_holds(held: dict[str, Any], wanted: dict[str, Any], expected: bool) -> None:
    assert has_authorities(held, wanted) is expected


def test_every_node_must_have_noted_a_version_with_the_ca() -> None:
    wait = AuthorityWait("--cluster-ca", {ENTRY: PEM})
    assert wait.look(kubectl(config("6")), {}, 0).state == WAITING
    verdict = wait.look(kubectl(config("7", pem=PEM), m1="7", w1="6", w2="5", windows=""), {}, 1)
    assert (verdict.state, verdict.text) == (WAITING, "2 of 4 nodes have not written it yet: w1, w2")
    # The ControllerConfig goes on changing for other reasons; w1 noted the version before.
    verdict = wait.look(kubectl(config("9", pem=PEM), m1="9", w1="7", w2="9", windows=""), {}, 2)
    assert (verdict.state, verdict.text) == (DONE, "4 nodes up to date")


def test_a_ca_that_is_never_taken_is_an_error_and_without_an_operator_nothing_tells() -> None:
    wait = AuthorityWait("--cluster-ca", {ENTRY: PEM})
    verdict = wait.look(kubectl(config("6")), {}, RENDER_LIMIT)
    assert verdict.state == FAILED
    assert ENTRY in verdict.text
    assert wait.look(kubectl(None), {}, 0).state == DONE
