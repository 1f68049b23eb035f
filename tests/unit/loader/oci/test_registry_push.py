from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from loader.bundle.errors import RegistryError, StorageError, TrustError
from loader.oci.environment import AccessOptions
from loader.oci.registry import Registry
from tests.support.certificates import PrivateAuthority
from tests.support.clients import Client
from tests.support.images import make_image
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

DATA = bytes(range(256)) * 8192
DIGEST = digest_of(DATA)


class Body:
    """A body in uneven chunks that counts how often it is opened."""

    def __init__(self, data: bytes = DATA, error: Exception | None = None, pause: float = 0) -> None:
        self.opened = 0
        self._data = data
        self._error = error
        self._pause = pause

    @contextmanager
    def __call__(self) -> Iterator[Iterator[memoryview]]:
        self.opened += 1
        yield self._chunks()

    def _chunks(self) -> Iterator[memoryview]:
        view = memoryview(self._data)
        for start in range(0, len(view), 300_001):
            time.sleep(self._pause)
            yield view[start : start + 300_001]
        if self._error:
            raise self._error


def upload(registry: Registry, body: Body | None = None) -> None:
    registry.upload_blob("a/b", DIGEST, len(DATA), body or Body())


@pytest.mark.parametrize("rules", [Rules(), Rules(relative_location=False)])
def test_a_blob_goes_in_one_post_and_one_put(registry: Registry, server: RegistryServer, rules: Rules) -> None:
    server.rules = rules
    upload(registry)
    assert server.store.blob(DIGEST) == DATA
    assert [one.method for one in server.requests] == ["POST", "PUT"]
    put = server.requests[1]
    assert put.headers["content-length"] == str(len(DATA))
    assert put.headers["content-type"] == "application/octet-stream"
    assert "transfer-encoding" not in put.headers
    assert put.path.endswith(f"?state=a%2Fb&digest={DIGEST.replace(':', '%3A')}")


def test_an_empty_blob(registry: Registry, server: RegistryServer) -> None:
    registry.upload_blob("a", digest_of(b""), 0, Body(b""))
    assert server.store.has_blob("a", digest_of(b""))


@pytest.mark.parametrize("kind", ["status", "reset"])
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_an_upload_that_breaks_starts_again(
    registry: Registry, server: RegistryServer, client: Client, kind: str, method: str
) -> None:
    server.fail(kind, method=method, status=503, times=2)
    body = Body()
    upload(registry, body)
    assert server.store.blob(DIGEST) == DATA
    assert body.opened == (3 if method == "PUT" else 1)
    assert sum(line.startswith("again in") for line in client.traced) == 2


def test_attempts_of_an_upload_end(registry: Registry, server: RegistryServer) -> None:
    server.fail(
        "status", method="PUT", status=500, times=99, body=b'{"errors":[{"code":"UNKNOWN","message":"disk full"}]}'
    )
    with pytest.raises(RegistryError) as caught:
        upload(registry)
    assert "disk full" in caught.value.why
    assert DIGEST in caught.value.message
    assert len(server.seen("PUT")) == 4


@pytest.mark.parametrize(
    ("method", "status", "hint"),
    [("POST", 401, "log in"), ("POST", 403, "right"), ("POST", 404, "created"), ("PUT", 405, "read-only")],
)
def test_a_refusal_is_not_tried_again(
    registry: Registry, server: RegistryServer, method: str, status: int, hint: str
) -> None:
    server.fail("status", method=method, status=status, times=99)
    with pytest.raises(RegistryError) as caught:
        upload(registry)
    assert caught.value.status == status
    assert hint in caught.value.hint
    assert len(server.seen(method)) == 1


def test_a_registry_that_gets_other_bytes_says_so(registry: Registry) -> None:
    with pytest.raises(RegistryError, match="DIGEST_INVALID"):
        registry.upload_blob("a", "sha256:" + "0" * 64, len(DATA), Body())


@pytest.mark.parametrize("size", [len(DATA) - 1, len(DATA) + 1, 0])
def test_a_body_of_another_size_is_the_sources_fault(registry: Registry, client: Client, size: int) -> None:
    with pytest.raises(StorageError, match="another size"):
        registry.upload_blob("a", DIGEST, size, Body())
    assert client.time.slept == []


def test_a_body_that_cannot_be_read_is_not_blamed_on_the_registry(registry: Registry, client: Client) -> None:
    with pytest.raises(StorageError, match="bad disc"):
        upload(registry, Body(DATA[:-1], OSError(5, "bad disc")))
    with pytest.raises(TrustError, match="hash"):
        upload(registry, Body(DATA[:-1], TrustError("hash")))
    assert client.time.slept == []


@pytest.mark.parametrize("limit", [10 * 2**20, 2**20, 600_000])
def test_a_proxy_that_limits_size_gets_pieces(registry: Registry, server: RegistryServer, limit: int) -> None:
    data = DATA * 6
    server.rules.max_body = limit
    registry.upload_blob("a", digest_of(data), len(data), Body(data))
    assert server.store.blob(digest_of(data)) == data
    assert server.seen("PATCH")


@pytest.mark.parametrize("hangs_up", [False, True])
def test_what_got_through_a_limit_is_remembered(
    registry: Registry, server: RegistryServer, client: Client, hangs_up: bool
) -> None:
    server.rules.max_body, server.rules.hangs_up = 600_000, hangs_up
    for number in range(3):
        data = DATA * 6 + bytes([number])
        registry.upload_blob("a", digest_of(data), len(data), Body(data))
        assert server.store.blob(digest_of(data)) == data
    tried = [int(one.headers["content-length"]) for one in server.requests if one.method in {"PUT", "PATCH"}]
    refused = [size for size in tried if size > 600_000]
    # The whole and the larger piece of the first blob; where nobody answers, as often as a broken line is tried.
    assert len(refused) == (8 if hangs_up else 2)
    upload(registry)
    assert len(client.time.slept) == (6 if hangs_up else 0)


def test_a_registry_that_is_gone_is_not_asked_for_pieces(registry: Registry, server: RegistryServer) -> None:
    server.fail("reset", method="POST", times=99)
    data = DATA * 6
    with pytest.raises(RegistryError) as caught:
        registry.upload_blob("a", digest_of(data), len(data), Body(data))
    assert caught.value.status == 0
    assert len(server.seen("POST")) == 4


def test_a_proxy_that_allows_nothing_is_named(registry: Registry, server: RegistryServer) -> None:
    server.rules.max_body = 10
    with pytest.raises(RegistryError) as caught:
        upload(registry)
    assert caught.value.status == 413
    assert "client_max_body_size" in caught.value.hint


@pytest.mark.parametrize("location", ["", "http://[", "ftp://x/y", "http://h:99999/"])
def test_an_upload_to_nowhere_is_refused(registry: Registry, server: RegistryServer, location: str) -> None:
    server.fail("status", method="POST", status=202, headers={"Location": location} if location else {})
    with pytest.raises(RegistryError, match=r"Location|redirects|upload"):
        upload(registry)
    assert server.seen("PUT") == []


def test_where_an_upload_was_redirected_to_is_said(registry: Registry, server: RegistryServer) -> None:
    there = {"Location": "https://user:secret@other.example/v2/?token=secret"}
    server.fail("status", method="POST", status=307, headers=there)
    with pytest.raises(RegistryError, match=r"HTTP 307 to https://other\.example/v2/") as caught:
        upload(registry)
    assert "secret" not in str(caught.value)


def test_an_upload_is_not_sent_to_plain_http_elsewhere(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    client = Client(tmp_path, AccessOptions(ca_file=authority.certificate, timeout=5))
    rules = Rules(uploads_to="http://elsewhere.invalid")
    with RegistryServer(rules=rules, tls=authority.server_context()) as server, client.to(server) as registry:
        with pytest.raises(RegistryError, match="plain http"):
            upload(registry)
        server.store.add_blob("base", DATA)
        server.rules.mounts = False
        assert not registry.mount("a", DIGEST, "base").mounted


def test_a_registry_that_says_it_stored_something_else_is_refused(registry: Registry, server: RegistryServer) -> None:
    server.fail("status", method="PUT", status=201, headers={"Docker-Content-Digest": "sha256:" + "0" * 64})
    with pytest.raises(RegistryError, match="it stored"):
        upload(registry)


def test_pieces_that_are_refused_are_an_error(registry: Registry, server: RegistryServer) -> None:
    server.rules.max_body = 1
    server.fail("status", method="PATCH", status=403, body=b"no pieces")
    with pytest.raises(RegistryError, match="no pieces"):
        upload(registry)
    server.fail("status", method="PUT", status=413)
    server.fail("status", method="POST", status=202, headers={"Location": "/v2/a/b/blobs/uploads/gone"})
    server.fail("status", method="POST", status=404, body=b"no more")
    with pytest.raises(RegistryError, match="no more"):
        upload(registry)


def test_the_least_size_of_a_piece_is_honoured(registry: Registry, server: RegistryServer) -> None:
    server.rules.least_piece = 1_500_000
    server.rules.max_body = 1_600_000
    upload(registry)
    sizes = [int(one.headers["content-length"]) for one in server.seen("PATCH")]
    assert server.store.blob(DIGEST) == DATA
    assert sizes[-2:] == [1_500_000, len(DATA) - 1_500_000]


def test_mount(registry: Registry, server: RegistryServer) -> None:
    server.store.add_blob("base/x", DATA)
    assert registry.mount("a/b", DIGEST, "base/x").mounted
    assert server.store.has_blob("a/b", DIGEST)
    assert not server.seen("PUT")


def test_a_mount_of_something_else_is_none(registry: Registry, server: RegistryServer) -> None:
    server.store.add_blob("base/x", DATA)
    server.fail("status", method="POST", status=201, headers={"Docker-Content-Digest": "sha256:" + "1" * 64})
    assert not registry.mount("a/b", DIGEST, "base/x").mounted


def test_the_session_of_a_declined_mount_is_used_or_ended(registry: Registry, server: RegistryServer) -> None:
    server.rules.mounts = False
    server.store.add_blob("base", DATA)
    _, opened = registry.mount("a", DIGEST, "base")
    registry.upload_blob("a", DIGEST, len(DATA), Body(), opened)
    assert server.store.has_blob("a", DIGEST)
    assert [one.method for one in server.requests if "/uploads/" in one.path] == ["POST", "PUT"]
    registry.drop("a", registry.mount("a", DIGEST, "base").opened)
    assert server.uploads == {}
    assert len(server.seen("DELETE")) == 1


def test_a_session_of_a_declined_mount_that_breaks_is_opened_again(registry: Registry, server: RegistryServer) -> None:
    server.rules.mounts = False
    server.fail("reset", method="PUT")
    _, opened = registry.mount("a", DIGEST, "base")
    registry.upload_blob("a", DIGEST, len(DATA), Body(), opened)
    assert server.store.has_blob("a", DIGEST)


def test_a_declined_mount_without_a_place_means_send(registry: Registry, server: RegistryServer) -> None:
    server.fail("status", method="POST", status=202)
    assert registry.mount("a", DIGEST, "base") == (False, None)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 405])
def test_any_other_answer_to_a_mount_means_send(registry: Registry, server: RegistryServer, status: int) -> None:
    server.fail("status", method="POST", status=status)
    assert not registry.mount("a", DIGEST, "base").mounted


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_server_that_refuses_the_pair_means_send(server: RegistryServer, client: Client, status: int) -> None:
    server.rules = Rules(auth="bearer")
    client.login(server.host, *server.rules.login)
    server.fail("status", path="^/token.*from%2Fhere", status=status)
    with client.to(server) as registry:
        assert not registry.mount("a", DIGEST, "from/here").mounted


def test_a_mount_that_cannot_be_asked_for_is_an_error(registry: Registry, server: RegistryServer) -> None:
    server.fail("reset", method="POST", times=99)
    with pytest.raises(RegistryError):
        registry.mount("a", DIGEST, "base")


def test_put_manifest(registry: Registry, server: RegistryServer) -> None:
    image = make_image()
    for data in image.blobs.values():
        server.store.add_blob("a", data)
    for digest, media_type, data in image.manifests:
        assert registry.put_manifest("a", digest, data, media_type)
    assert registry.put_manifest("a", "v1", image.data, image.media_type)
    assert server.store.manifest("a", "v1") == (image.data, image.media_type)
    assert server.requests[-1].headers["content-type"] == image.media_type


def test_children_not_known_yet_are_waited_for(registry: Registry, server: RegistryServer, client: Client) -> None:
    image = make_image().put(server.store, "a")
    answer = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}'
    server.fail("status", method="PUT", status=400, times=2, body=answer)
    server.fail("status", method="PUT", status=404, times=1, body=b"manifest missing")
    assert registry.put_manifest("a", "v1", image.data, image.media_type)
    assert len(client.time.slept) == 3


def test_a_child_that_is_not_there_is_an_error_in_the_end(registry: Registry, server: RegistryServer) -> None:
    image = make_image()
    with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
        registry.put_manifest("a", "v1", image.data, image.media_type)
    assert len(server.seen("PUT")) == 4


def test_an_invalid_manifest_is_refused_at_once(registry: Registry, server: RegistryServer) -> None:
    image = make_image()
    server.fail("status", method="PUT", status=400, body=b'{"errors":[{"code":"MANIFEST_INVALID"}]}', times=9)
    with pytest.raises(RegistryError, match="MANIFEST_INVALID"):
        registry.put_manifest("a", "v1", image.data, image.media_type)
    assert len(server.seen("PUT")) == 1


def test_a_registry_that_stores_something_else_is_refused(registry: Registry, server: RegistryServer) -> None:
    image = make_image().put(server.store, "a")
    server.fail("lie", method="PUT")
    with pytest.raises(RegistryError, match="another manifest"):
        registry.put_manifest("a", "v1", image.data, image.media_type)
