from __future__ import annotations

import pytest

from loader.bundle.errors import RegistryError
from loader.oci.registry import Registry
from tests.support.registry import RegistryServer


def test_a_trial_leaves_nothing_behind(server: RegistryServer, registry: Registry) -> None:
    assert registry.try_push("app")
    assert [one.method for one in server.requests] == ["POST", "GET", "DELETE"]
    assert server.uploads == {}


def test_a_login_that_may_only_pull_is_refused_before_anything_is_sent(
    server: RegistryServer, registry: Registry
) -> None:
    server.fail("status", method="POST", path="/blobs/uploads/", status=403)
    with pytest.raises(RegistryError, match="cannot push to") as caught:
        registry.try_push("app")
    assert caught.value.status == 403
    assert len(server.requests) == 1
