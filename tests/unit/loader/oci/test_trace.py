from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from loader.bundle.digest import digest_of
from loader.bundle.errors import RegistryError
from loader.oci.registry import Registry
from tests.support.clients import Client
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

DATA = b"layer" * 1000
DIGEST = digest_of(DATA)


@contextlib.contextmanager
def body() -> Iterator[Iterator[memoryview]]:
    yield iter([memoryview(DATA)])


def test_every_request_is_one_line(registry: Registry, server: RegistryServer, client: Client) -> None:
    registry.upload_blob("a/b", DIGEST, len(DATA), body)
    post, put = client.traced
    assert post == f"POST http://{server.host}/v2/a/b/blobs/uploads/ 202 0 ms"
    assert re.fullmatch(rf"PUT http://{re.escape(server.host)}/v2/a/b/blobs/uploads/[^?]+ 201 0 ms", put)


def test_a_retry_says_why_and_how_long(registry: Registry, server: RegistryServer, client: Client) -> None:
    server.fail("status", method="HEAD", status=503)
    server.fail("status", method="GET", status=429, headers={"Retry-After": "7"}, body=b"slow down")
    server.store.add_blob("a", DATA)
    assert registry.head_blob("a", DIGEST, len(DATA))
    with registry.open_blob("a", DIGEST, len(DATA)) as stream:
        assert stream.read()
    again = [line for line in client.traced if line.startswith("again")]
    assert again == [
        "again in 0.4 s (attempt 2 of 4): HTTP 503",
        "again in 7.0 s (attempt 2 of 4): HTTP 429 slow down (Retry-After: 7)",
    ]
    assert client.traced[0].endswith(f"/v2/a/blobs/{DIGEST} 503 0 ms")


def test_no_answer_is_a_line_too(registry: Registry, server: RegistryServer, client: Client) -> None:
    server.fail("reset", method="HEAD", times=4)
    with pytest.raises(RegistryError):
        registry.head_blob("a", DIGEST, len(DATA))
    assert [line.rpartition("/")[2] for line in client.traced[::2]] == [f"{DIGEST} failed 0 ms"] * 4
    assert "no answer from" in client.traced[1]


def test_secrets_are_never_traced(server: RegistryServer, client: Client) -> None:
    with RegistryServer(server.store, rules=Rules()) as cdn:
        server.rules = Rules(auth="bearer", redirect_blobs_to=cdn.url)
        client.login(server.host, *server.rules.login)
        server.store.add_blob("a", DATA)
        server.fail("status", path="^/token", status=503)
        with client.to(server) as registry:
            registry.upload_blob("a", DIGEST, len(DATA), body)
            with registry.open_blob("a", DIGEST, len(DATA)) as stream:
                stream.read()
    text = "\n".join(client.traced)
    assert f"GET http://{cdn.host}/cdn/{DIGEST} 200" in text
    assert f"GET http://{server.host}/token 200" in text
    for secret in (*server.rules.login, *server.tokens, "very-secret", "state="):
        assert secret not in text
