from __future__ import annotations

import urllib.parse
from pathlib import Path

import pytest

from loader.bundle.errors import RegistryError
from loader.oci.environment import AccessOptions
from tests.support.certificates import PrivateAuthority
from tests.support.clients import Client
from tests.support.images import make_image
from tests.support.loopback import LoopbackServer, QuietHandler
from tests.support.registry import RegistryServer
from tests.support.registryrules import Rules

SECRET = Rules().login[1]


def login(client: Client, server: RegistryServer, password: str = SECRET) -> None:
    client.login(server.host, "user", password)


def test_basic(server: RegistryServer, client: Client) -> None:
    server.rules.auth = "basic"
    login(client, server)
    image = make_image().put(server.store, "a", "v1")
    with client.to(server) as registry:
        assert registry.ping().authorized
        assert registry.manifest("a", "v1").digest == image.digest


def test_bearer_asks_for_each_scope_once(server: RegistryServer, client: Client) -> None:
    server.rules.auth = "bearer"
    login(client, server)
    image = make_image().put(server.store, "a", "v1")
    with client.to(server) as registry:
        for digest, data in image.blobs.items():
            with registry.open_blob("a", digest, len(data)) as reader:
                assert reader.read(len(data)) == data
        assert registry.mount("b", digest, "a").mounted
    assert len(server.seen("GET", "^/token")) == 2
    assert len([one for one in server.requests if not one.authorization]) == 1


def test_a_token_that_expires_midway_is_renewed(server: RegistryServer, client: Client) -> None:
    server.rules.auth = "bearer"
    login(client, server)
    image = make_image().put(server.store, "a", "v1")
    digest, data = next(iter(image.blobs.items()))
    # The first of the two is the request without a token.
    server.fail("truncate", after=10, path="blobs", times=2)
    with client.to(server) as registry, registry.open_blob("a", digest, len(data)) as reader:
        server.tokens.clear()
        received = b""
        while piece := reader.read(7):
            received += piece
    assert received == data
    assert len(server.seen("GET", "^/token")) == 2


def test_a_token_server_that_broke_is_asked_again(server: RegistryServer, client: Client) -> None:
    server.rules.auth = "bearer"
    login(client, server)
    image = make_image().put(server.store, "a", "v1")
    server.fail("reset", path="^/token", times=8)
    with client.to(server) as registry:
        # The error is kept, as a report keeps it: it must not keep the token's lock.
        with pytest.raises(RegistryError) as kept:
            registry.manifest("a", "v1")
        assert registry.manifest("a", "v1").digest == image.digest
    assert kept.value.retryable


class _Moved(QuietHandler):
    def do_GET(self) -> None:  # noqa: N802 - the base class looks for it
        self.send_response(307)
        self.send_header("Location", f"{self.server.owner.to}/token?{urllib.parse.urlsplit(self.path).query}")
        self.send_header("Content-Length", "0")
        self.end_headers()


class MovedTokens(LoopbackServer):
    to = ""


def test_a_token_server_that_moved_is_followed_without_the_login(server: RegistryServer, client: Client) -> None:
    with MovedTokens(_Moved) as moved:
        moved.to = server.url
        server.rules = Rules(auth="bearer", anonymous_pull=True, realm=f"http://{moved.host}/token")
        login(client, server)
        image = make_image().put(server.store, "a", "v1")
        with client.to(server) as registry:
            assert registry.manifest("a", "v1").digest == image.digest
    (asked,) = server.seen("GET", "^/token")
    assert "scope=repository%3Aa%3Apull" in asked.path
    assert asked.authorization == ""


def test_anonymous_pull_needs_no_login(server: RegistryServer, client: Client) -> None:
    server.rules = Rules(auth="bearer", anonymous_pull=True)
    image = make_image().put(server.store, "a", "v1")
    with client.to(server) as registry:
        assert registry.manifest("a", "v1").digest == image.digest


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("password", ["", "wrong-Password"])
def test_a_refused_login_is_said_without_the_password(
    server: RegistryServer, client: Client, auth: str, password: str
) -> None:
    server.rules.auth = auth
    if password:
        login(client, server, password)
    with client.to(server) as registry, pytest.raises(RegistryError) as caught:
        registry.manifest("a", "v1")
    shown = f"{caught.value} {caught.value.hint}"
    assert caught.value.status == 401
    assert "log" in caught.value.hint
    assert "wrong-Password" not in shown
    assert client.time.slept == []


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_redirect_takes_no_login_along(server: RegistryServer, client: Client, auth: str) -> None:
    server.rules.auth = auth
    login(client, server)
    digest = server.store.add_blob("a", b"data")
    with RegistryServer(server.store) as cdn, client.to(server) as registry:
        server.rules.redirect_blobs_to = cdn.url
        with registry.open_blob("a", digest, 4) as reader:
            assert reader.read(4) == b"data"
        assert [one.authorization for one in cdn.requests] == [""]


def test_a_redirects_target_cannot_ask_for_a_token(server: RegistryServer, client: Client) -> None:
    server.rules.auth = "bearer"
    login(client, server)
    digest = server.store.add_blob("a", b"data")
    with RegistryServer(server.store) as cdn, client.to(server) as registry:
        server.rules.redirect_blobs_to = cdn.url
        evil = f'Bearer realm="{cdn.url}/token",service="test"'
        cdn.fail("status", status=401, times=9, headers={"WWW-Authenticate": evil})
        with pytest.raises(RegistryError) as caught:
            registry.open_blob("a", digest, 4)
        assert caught.value.status == 401
        assert cdn.seen("GET", "^/token") == []


def test_an_upload_elsewhere_takes_no_login_along(server: RegistryServer, client: Client) -> None:
    server.rules.auth = "basic"
    login(client, server)
    image = make_image(platforms=["linux/amd64"])
    with RegistryServer(server.store) as other, client.to(server) as registry:
        other.uploads = server.uploads
        server.rules.uploads_to = other.url
        for digest, data in image.blobs.items():
            registry.upload_blob("a", digest, len(data), _body(data))
        assert all(not one.authorization for one in other.requests)
        assert len(other.seen("PUT")) == len(image.blobs)
    assert all(server.store.has_blob("a", digest) for digest in image.blobs)


def _body(data: bytes):  # type: ignore[no-untyped-def]
    from contextlib import nullcontext

    return lambda: nullcontext(iter([memoryview(data)]))


def test_a_private_authority_is_trusted_by_ca_file(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    client = Client(tmp_path, AccessOptions(ca_file=authority.certificate, timeout=5))
    with RegistryServer(tls=authority.server_context()) as server, client.to(server) as registry:
        assert registry.ping().scheme == "https"


def test_a_private_authority_is_trusted_by_certs_d(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    client = Client(tmp_path, AccessOptions(timeout=5))
    with RegistryServer(tls=authority.server_context()) as server, client.to(server) as registry:
        folder = tmp_path / "etc/containers/certs.d" / server.host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
    with (
        RegistryServer(tls=authority.server_context(), address=("127.0.0.1", int(server.host.split(":")[1]))) as server,
        client.to(server) as registry,
    ):
        assert registry.ping().scheme == "https"


def test_an_unknown_authority_is_refused_and_the_hint_names_the_ways(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    client = Client(tmp_path, AccessOptions(timeout=5))
    with RegistryServer(tls=authority.server_context()) as server, client.to(server) as registry:
        with pytest.raises(RegistryError) as caught:
            registry.ping()
        assert "not trusted" in caught.value.message
        assert "--ca-file" in caught.value.hint
        assert f"certs.d/{server.host}" in caught.value.hint
    assert (caught.value.retryable, client.time.slept) == (False, [])


def test_tls_verify_false_is_https_without_checks_then_http(tmp_path: Path, server: RegistryServer) -> None:
    client = Client(tmp_path, AccessOptions(tls_verify=False, timeout=5))
    with client.to(server) as registry:
        assert registry.ping().scheme == "http"
    authority = PrivateAuthority(tmp_path / "ca")
    with RegistryServer(tls=authority.server_context()) as secure, client.to(secure) as registry:
        assert registry.ping().scheme == "https"


def test_plain_http_is_never_used_unasked(tmp_path: Path, server: RegistryServer) -> None:
    client = Client(tmp_path, AccessOptions(timeout=5))
    with client.to(server) as registry, pytest.raises(RegistryError) as caught:
        registry.ping()
    assert "--plain-http" in caught.value.hint
    assert server.requests == []


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    pair = authority.pair("client")
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
    with RegistryServer(tls=authority.server_context(clients=True)) as server:
        client = Client(tmp_path, AccessOptions(cert_dir=folder, timeout=5))
        with client.to(server) as registry, pytest.raises(RegistryError):
            registry.ping()
        (folder / "client.cert").write_bytes(pair.certificate.read_bytes())
        (folder / "client.key").write_bytes(pair.key.read_bytes())
        with client.to(server) as registry:
            assert registry.ping().scheme == "https"


def test_https_is_not_left_for_http_by_a_redirect(tmp_path: Path, server: RegistryServer) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    client = Client(tmp_path, AccessOptions(ca_file=authority.certificate, timeout=5))
    with RegistryServer(server.store, tls=authority.server_context()) as secure, client.to(secure) as registry:
        digest = server.store.add_blob("a", b"data")
        secure.rules.redirect_blobs_to = server.url
        with pytest.raises(RegistryError, match="https to http"):
            registry.open_blob("a", digest, 4)
    assert server.requests == []


def test_a_tls_proxy_that_names_http_is_kept_to_https(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    client = Client(tmp_path, AccessOptions(ca_file=authority.certificate, timeout=5))
    rules = Rules(relative_location=False, location_scheme="http")
    with RegistryServer(rules=rules, tls=authority.server_context()) as server, client.to(server) as registry:
        image = make_image(platforms=["linux/amd64"])
        digest, data = next(iter(image.blobs.items()))
        registry.upload_blob("a", digest, len(data), _body(data))
        assert registry.head_blob("a", digest, len(data))
