from __future__ import annotations

import pytest

from loader.bundle.errors import RegistryError
from loader.oci.registry import Registry
from tests.support.clients import Client
from tests.support.registry import RegistryServer


def test_a_trial_leaves_nothing_behind(server: RegistryServer, registry: Registry) -> None:
    assert registry.try_push("app")
    assert [one.method for one in server.requests] == ["POST", "GET", "DELETE"]
    assert server.uploads == {}


def test_uploads_that_are_sent_where_nobody_is(server: RegistryServer, registry: Registry, client: Client) -> None:
    """As behind a proxy that does not pass the Host on: said before anything is sent, and not waited for long."""
    elsewhere = {"Location": "http://127.0.0.1:9/v2/app/blobs/uploads/1"}
    server.fail("status", method="POST", status=202, headers=elsewhere, times=99)
    with pytest.raises(
        RegistryError, match=r"sends uploads to http://127\.0\.0\.1:9/v2/.*, where nobody answers"
    ) as caught:
        registry.try_push("app")
    assert "pass on Host" in caught.value.hint
    assert len(client.time.slept) <= 3


def test_uploads_that_are_sent_elsewhere(server: RegistryServer, registry: Registry) -> None:
    with RegistryServer() as other:
        elsewhere = {"Location": f"http://{other.host}/v2/app/blobs/uploads/1"}
        server.fail("status", method="POST", status=202, headers=elsewhere)
        assert registry.try_push("app") is None
        assert [one.method for one in other.requests] == ["GET"]
    assert [one.method for one in server.requests] == ["POST"]


def test_a_login_that_may_only_pull_is_refused_before_anything_is_sent(
    server: RegistryServer, registry: Registry
) -> None:
    server.fail("status", method="POST", path="/blobs/uploads/", status=403)
    with pytest.raises(RegistryError, match="cannot push to") as caught:
        registry.try_push("app")
    assert caught.value.status == 403
    assert len(server.requests) == 1
