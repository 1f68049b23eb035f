from __future__ import annotations

import ssl
import urllib.parse
from dataclasses import replace
from pathlib import Path

import pytest

from loader.bundle.errors import RegistryError
from loader.oci.connect import Registries
from loader.oci.environment import AccessOptions, Environment
from loader.oci.http import Transport
from loader.oci.messages import Request
from loader.oci.retry import RetryPolicy
from tests.support.certificates import PrivateAuthority
from tests.support.clients import FakeTime, no_helper
from tests.support.images import make_image
from tests.support.proxy import ForwardProxy
from tests.support.registry import RegistryServer
from tests.support.wire import Wire
from tests.unit.loader.oci.test_registry_push import DATA, DIGEST, Body


def registries(root: Path, options: AccessOptions, **proxies: str) -> Registries:
    time = FakeTime()
    retry = RetryPolicy(sleep=time.sleep, random=lambda: 0.5, now=time.clock)
    environment = Environment(
        home=root,
        uid=0,
        etc=root / "etc",
        run=root,
        http_proxy=proxies.get("http_proxy", ""),
        https_proxy=proxies.get("https_proxy", ""),
        no_proxy=proxies.get("no_proxy", ""),
    )
    return Registries(options, environment, retry=retry, clock=time.clock, run_helper=no_helper)


def test_plain_http_goes_through_the_proxy_with_its_login(tmp_path: Path, server: RegistryServer) -> None:
    image = make_image().put(server.store, "a", "v1")
    with ForwardProxy(server.host, login="me:se%cret") as proxy:
        made = registries(tmp_path, AccessOptions(plain_http=True), http_proxy=f"http://me:se%25cret@{proxy.host}")
        assert made.push("reg.invalid:5000").manifest("a", "v1").digest == image.digest
        made.close()
    assert proxy.asked == ["GET http://reg.invalid:5000/v2/a/manifests/v1"]


@pytest.mark.parametrize("password", ["p\u00e4ssw\u00f6rd", "p\u20ac"])
def test_a_login_is_sent_as_its_bytes_in_utf_8(tmp_path: Path, server: RegistryServer, password: str) -> None:
    make_image().put(server.store, "a", "v1")
    with ForwardProxy(server.host, login=f"u:{password}") as proxy:
        url = f"http://u:{urllib.parse.quote(password)}@{proxy.host}"
        made = registries(tmp_path, AccessOptions(plain_http=True), http_proxy=url)
        assert made.push("reg.invalid:5000").manifest("a", "v1").data
        made.close()


def test_https_goes_through_a_tunnel_and_is_still_verified(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    options = AccessOptions(ca_file=authority.certificate, timeout=5)
    with RegistryServer(tls=authority.server_context()) as server, ForwardProxy(server.host) as proxy:
        # The certificate is for localhost, which never takes a proxy; the name behind the tunnel is another.
        made = registries(tmp_path, options, https_proxy=proxy.host)
        with pytest.raises(RegistryError, match="not trusted"):
            made.push("reg.invalid").ping()
        lax = registries(tmp_path, replace(options, tls_verify=False), https_proxy=proxy.host)
        assert lax.push("reg.invalid").ping().scheme == "https"
        made.close()
        lax.close()
    assert set(proxy.asked) == {"CONNECT reg.invalid:443"}


def test_who_stores_what_it_took_is_waited_for_through_a_proxy_too(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path / "ca")
    options = AccessOptions(tls_verify=False, timeout=0.5)
    with RegistryServer(tls=authority.server_context()) as server, ForwardProxy(server.host) as proxy:
        made = registries(tmp_path, options, https_proxy=proxy.host)
        server.fail("hang", method="PUT", seconds=1.5)
        made.push("reg.invalid").upload_blob("a", DIGEST, len(DATA), Body())
        made.close()
        assert server.store.has_blob("a", DIGEST)
        first, second = (one.at for one in server.seen("PUT"))
    assert second - first > 1.4  # it was the server that ended it


def test_an_interim_answer_through_a_proxy_is_not_taken_for_the_answer() -> None:
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with Wire([b"HTTP/1.1 102 Processing\r\n\r\n" + ok], [ok]) as wire:
        transport = Transport(ssl.create_default_context, lambda _: f"http://{wire.host}", timeout=5)
        with pytest.raises(RegistryError, match="HTTP 102") as caught:
            transport.send(Request("GET", "http://reg.invalid/v2/"))
        assert caught.value.retryable
        assert transport.send(Request("GET", "http://reg.invalid/v2/")).read_all(10) == b"ok"
        transport.close()


def test_a_proxy_that_refuses_is_named_without_its_login(tmp_path: Path, server: RegistryServer) -> None:
    with ForwardProxy(server.host, login="me:right") as proxy:
        made = registries(tmp_path, AccessOptions(), https_proxy=f"http://me:wrong-word@{proxy.host}")
        with pytest.raises(RegistryError) as caught:
            made.push("reg.invalid").ping()
        made.close()
    shown = f"{caught.value} {caught.value.hint}"
    assert "proxy" in caught.value.hint
    assert "407" in caught.value.why
    assert "wrong-word" not in shown


def test_no_proxy_goes_direct(tmp_path: Path, server: RegistryServer) -> None:
    with ForwardProxy(server.host) as proxy:
        made = registries(tmp_path, AccessOptions(plain_http=True), http_proxy=proxy.host, no_proxy="10.0.0.0/8")
        assert made.push(server.host).ping().authorized
        made.close()
    assert proxy.asked == []
