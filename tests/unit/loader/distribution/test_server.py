from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from loader.bundle.errors import AirgapError, ConfigError
from loader.bundle.limits import FRAME
from loader.distribution.catalogue import Catalogue
from loader.distribution.server import Listen, Server, tls_context
from tests.support.bundles import MemorySource, verify
from tests.support.certificates import PrivateAuthority
from tests.support.refusals import refused
from tests.support.served import BIG, PLAIN, served

ANY = Listen("127.0.0.1", 0)
ONE = served().one


@dataclass
class Running:
    """A server that answers, what it said, and the archive it reads."""

    server: Server
    source: MemorySource
    lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.listen.port

    def get(self, target: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, target, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()


@contextlib.contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[Running]:
    source = MemorySource(served().recipe.archive())
    catalogue = Catalogue(verify(source))
    lines: list[str] = []
    with Server(ANY, context, trace=lines.append, note=lambda step, text: lines.append(f"{step} {text}")) as server:
        ready = threading.Event()
        thread = threading.Thread(target=server.serve, args=(catalogue, ready.set))
        thread.start()
        try:
            assert ready.wait(20)
            yield Running(server, source, lines)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    with running() as found:
        yield found


def blob(data: bytes) -> str:
    return f"/v2/ceph/ceph/blobs/{digest_of(data)}"


@pytest.mark.parametrize("data", [BIG, PLAIN, *ONE.blobs.values()], ids=len)
def test_every_blob_arrives_whole(shared: Running, data: bytes) -> None:
    assert shared.get(blob(data)) == (200, data)
    assert shared.get(blob(data), "HEAD") == (200, b"")


@pytest.mark.parametrize("data", [BIG, PLAIN], ids=["raw", "zstd"])
def test_a_range_across_frames(shared: Running, data: bytes) -> None:
    start, last = FRAME - 5, FRAME + 5
    assert shared.get(blob(data), Range=f"bytes={start}-{last}") == (206, data[start : last + 1])


def test_clients_at_once_get_their_own_bytes(shared: Running) -> None:
    wanted = [BIG, PLAIN] * 12
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda data=data: found.append(shared.get(blob(data))[1])) for data in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(digest_of, found)) == sorted(map(digest_of, wanted))


def test_one_connection_takes_many_requests(shared: Running) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", shared.port, timeout=20)) as connection:
        for target, status in (("/v2/", 200), (blob(b"?"), 404), ("/v2/ceph/ceph/manifests/v1", 200), (blob(BIG), 200)):
            connection.request("GET", target)
            response = connection.getresponse()
            response.read()
            assert (response.status, response.will_close) == (status, False)


def swap_byte(source: MemorySource, data: bytes, position: int) -> None:
    place = source.data.index(data[position : position + 64])
    source.data = source.data[:place] + bytes([source.data[place] ^ 1]) + source.data[place + 1 :]


def test_a_wrong_byte_ends_the_connection() -> None:
    with running() as found:
        swap_byte(found.source, BIG, FRAME + 100)
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", found.port, timeout=20)) as connection:
            connection.request("GET", blob(BIG))
            response = connection.getresponse()
            assert (response.status, response.length) == (200, len(BIG))
            with pytest.raises(http.client.IncompleteRead) as cut:
                response.read()
        assert cut.value.partial == BIG[:FRAME]
        assert found.get(blob(PLAIN)) == (200, PLAIN)
        assert found.server.traffic.broken == 1
        assert any(line.startswith(f"error {blob(BIG)} given up") for line in found.lines)


def test_a_wrong_byte_at_the_start_is_told() -> None:
    with running() as found:
        swap_byte(found.source, BIG, 100)
        status, text = found.get(blob(BIG))
        assert (status, json.loads(text)["errors"][0]["code"]) == (500, "UNKNOWN")
        assert found.get(blob(BIG), Range=f"bytes={FRAME}-") == (206, BIG[FRAME:])


def test_a_manifest_that_changed_is_not_sent() -> None:
    with running() as found:
        swap_byte(found.source, ONE.data, ONE.data.index(b"sha256:"))
        assert found.get("/v2/ceph/ceph/manifests/v1")[0] == 500


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"])
def test_what_is_pushed_is_refused_and_the_answer_arrives(shared: Running, expect: str) -> None:
    with contextlib.closing(socket.create_connection(("127.0.0.1", shared.port), timeout=20)) as connection:
        head = f"PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n{expect}\r\n"
        connection.sendall(head.encode())
        if not expect:
            connection.sendall(bytes(300_000))
        answered = connection.makefile("rb").read()
    assert answered.startswith(b"HTTP/1.1 405 ")
    assert b"UNSUPPORTED" in answered


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"BREW /v2/ HTTP/1.1", 405), (b"nonsense", 400), (b"GET /v2/ HTTP/9.9", 505), (b"GET /" + b"a" * 70000, 414)],
)
def test_what_is_no_request(shared: Running, request_line: bytes, status: int) -> None:
    with contextlib.closing(socket.create_connection(("127.0.0.1", shared.port), timeout=20)) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request_line + b"\r\nHost: x\r\n\r\n")
        answered = connection.makefile("rb").read()
    assert answered.startswith(f"HTTP/1.1 {status} ".encode())
    assert json.loads(answered.partition(b"\r\n\r\n")[2])["errors"]


def test_over_tls(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path)
    pair = authority.pair()
    with running(tls_context(pair.certificate, pair.key)) as found:
        trust = ssl.create_default_context(cafile=str(authority.certificate))
        connection = http.client.HTTPSConnection("127.0.0.1", found.port, timeout=20, context=trust)
        with contextlib.closing(connection):
            connection.request("GET", blob(BIG))
            assert hashlib.sha256(connection.getresponse().read()).hexdigest() == digest_of(BIG)[7:]
        with contextlib.closing(socket.create_connection(("127.0.0.1", found.port), timeout=20)) as plain:
            plain.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert b"200" not in plain.makefile("rb").read()


def test_a_certificate_that_is_no_use(tmp_path: Path) -> None:
    authority = PrivateAuthority(tmp_path)
    one, two = authority.pair("one"), authority.pair("two")
    assert tls_context(None, None) is None
    for certificate, key in ((one.certificate, None), (None, one.key), (one.certificate, two.key), (one.key, one.key)):
        with pytest.raises(ConfigError):
            tls_context(certificate, key)


def test_an_address_that_is_taken() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with refused(AirgapError, f"127.0.0.1:{port}"):
            Server(Listen("127.0.0.1", port), None, trace=lambda _: None, note=lambda *_: None)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:5000", "127.0.0.1", 5000),
        (":0", "", 0),
        ("[::1]:443", "::1", 443),
        ("node.site:65535", "node.site", 65535),
    ],
)
def test_an_address(text: str, host: str, port: int) -> None:
    assert Listen.parse(text) == Listen(host, port)
    assert Listen.parse(str(Listen(host, port))) == Listen(host, port)


@pytest.mark.parametrize(
    "text", ["5000", "127.0.0.1", "host:", "host:65536", "host:x", "::1:80", "http://host:80", "h:\u0661"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        Listen.parse(text)
