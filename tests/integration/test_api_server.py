"""The test API server is what the other tests take it for: a real one, with rules and two users."""

from __future__ import annotations

import json

import pytest

from tests.support.apiserver import ApiServer

ICSP = {
    "apiVersion": "operator.openshift.io/v1alpha1",
    "kind": "ImageContentSourcePolicy",
    "metadata": {"name": "test-api-server"},
    "spec": {"repositoryDigestMirrors": [{"source": "docker.io/ceph", "mirrors": ["registry.example:5000/ceph"]}]},
}


def test_every_crd_is_served(api_server: ApiServer) -> None:
    served = api_server.kubectl("api-resources", "--cached=false", "--output=name").split()
    wanted = json.loads(api_server.kubectl("get", "crd", "--output=json"))["items"]
    assert len(wanted) == 33
    assert {crd["metadata"]["name"] for crd in wanted} <= set(served)


def test_objects_are_validated_by_their_schema(api_server: ApiServer) -> None:
    wrong = {**ICSP, "spec": {"repositoryDigestMirrors": "docker.io/ceph"}}
    with pytest.raises(RuntimeError, match="repositoryDigestMirrors"):
        api_server.kubectl("create", "--validate=false", "-f", "-", input=json.dumps(wrong))


def test_the_restricted_user_reads_and_does_not_write(api_server: ApiServer) -> None:
    as_restricted = f"--kubeconfig={api_server.restricted_kubeconfig}"
    api_server.kubectl("get", "configmaps", as_restricted)
    with pytest.raises(RuntimeError, match="Forbidden"):
        api_server.kubectl("create", "--validate=false", "-f", "-", as_restricted, input=json.dumps(ICSP))


def test_the_server_states_a_release(api_server: ApiServer) -> None:
    version = json.loads(api_server.kubectl("get", "--raw", "/version"))
    assert version["gitVersion"].startswith(f"v{version['major']}.{version['minor']}.")
