"""Connections: kept where that is safe, made anew where not, and what comes back over them."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from loader.bundle.errors import RegistryError
from loader.oci.faults import Unreachable
from loader.oci.http import Transport
from loader.oci.messages import Request, Upload
from tests.support.registry import RegistryServer
from tests.support.wire import Wire

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(ssl.create_default_context, lambda _: None, timeout=5)
    yield made
    made.close()


def get(transport: Transport, wire: Wire, path: str = "/v2/", **headers: str) -> bytes:
    return transport.send(Request("GET", f"http://{wire.host}{path}", headers)).read_all(1000)


def test_any_number_of_hosts_is_talked_to_with_connections_kept_to_a_few(
    transport: Transport, server: RegistryServer
) -> None:
    port = server.host.rpartition(":")[2]
    names = ["".join(c.upper() if n >> i & 1 else c for i, c in enumerate("local")) + "host" for n in range(20)]
    for name in (*names, *names):
        answer = transport.send(Request("GET", f"http://{name}:{port}/v2/"))
        assert answer.status == 200
        answer.close()


def test_one_connection_serves_many_requests(transport: Transport, server: RegistryServer) -> None:
    for _ in range(10):
        transport.send(Request("GET", f"http://{server.host}/v2/")).close()
    assert server.connections == 1


def test_a_scheme_that_is_no_web_address_is_not_sent_to(transport: Transport) -> None:
    with pytest.raises(RegistryError):
        transport.send(Request("GET", "ftp://reg.local/v2/"))


@pytest.mark.parametrize(
    "first",
    [
        OK,
        CHUNKED + b"2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["length", "chunks", "after 100", "after 102 and 103", "1.0 kept"],
)
def test_a_connection_on_which_nothing_is_left_is_used_again(transport: Transport, first: bytes) -> None:
    with Wire([first, OK]) as wire:
        assert [get(transport, wire), get(transport, wire)] == [b"ok", b"ok"]


@pytest.mark.parametrize(
    "first",
    [
        OK,
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsmuggled!",
    ],
    ids=["hung up", "1.0", "close", "no length", "more than asked for"],
)
def test_a_connection_that_ended_or_says_too_much_is_not(transport: Transport, first: bytes) -> None:
    with Wire([first], [OK]) as wire:
        assert get(transport, wire) == b"ok"
        wire.wait_for_end()
        assert get(transport, wire) == b"ok"


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        CHUNKED + b"9\r\nok",
        CHUNKED + b"2\r\nok\r\n-5\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 20",
        b"",
    ],
    ids=["length", "chunks", "chunk of less than nothing", "status", "nothing"],
)
def test_an_answer_that_is_cut_off_may_be_asked_for_again(transport: Transport, cut: bytes) -> None:
    with Wire([cut], [OK]) as wire:
        with pytest.raises(RegistryError) as caught:
            get(transport, wire)
        assert caught.value.retryable
        assert get(transport, wire) == b"ok"


@pytest.mark.parametrize("size", [1000, 200_000])
def test_what_is_left_of_an_answer_is_read_off_if_it_is_little(transport: Transport, size: int) -> None:
    long = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    with Wire([long, OK], [OK]) as wire:
        transport.send(Request("GET", f"http://{wire.host}/")).close()
        assert get(transport, wire) == b"ok"
        if size == 1000:
            return
        # The long one's connection was closed: the script of the first never got to its second answer.
    assert len(wire.heads) == 2


@pytest.mark.parametrize(
    "never",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 200,
        b"HTTP/1.1 102 Processing\r\n\r\n" * 200,
    ],
    ids=["101", "100 without end", "102 without end"],
)
def test_what_never_becomes_an_answer_is_an_error(transport: Transport, never: bytes) -> None:
    with Wire([never], [OK]) as wire:
        with pytest.raises(RegistryError, match="HTTP 10") as caught:
            get(transport, wire)
        assert caught.value.retryable
        assert get(transport, wire) == b"ok"


@pytest.mark.parametrize("body", [None, b"small"])
def test_who_hangs_up_without_a_word_is_not_there(transport: Transport, body: bytes | None) -> None:
    with Wire([b""]) as wire, pytest.raises(Unreachable):
        transport.send(Request("PUT", f"http://{wire.host}/", {}, body))


def test_an_answer_that_is_not_wanted_is_not_waited_for(transport: Transport) -> None:
    with Wire([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", OK], [OK]) as wire:
        transport.send(Request("GET", f"http://{wire.host}/")).abort()
        assert get(transport, wire) == b"ok"


def test_a_server_that_lets_some_wait_finds_no_idle_connections_in_their_way(server: RegistryServer) -> None:
    transport = Transport(ssl.create_default_context, lambda _: None, timeout=0.2)
    url = f"http://{server.host}/v2/"
    opened = [transport.send(Request("GET", url)) for _ in range(3)]
    for one in opened:
        one.close()
    server.fail("hang", path="/slow", seconds=2)
    with pytest.raises(RegistryError, match="no byte moved"):
        transport.send(Request("GET", f"http://{server.host}/slow"))
    before = server.connections
    opened = [transport.send(Request("GET", url)) for _ in range(3)]
    assert server.connections == before + 3  # none was kept
    for one in opened:
        one.close()
    opened = [transport.send(Request("GET", url)) for _ in range(2)]
    assert server.connections == before + 4  # one was
    for one in opened:
        one.close()
    transport.close()


def test_who_hangs_up_on_an_upload_may_have_said_why(transport: Transport) -> None:
    full = b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!"
    size = 64 * 2**20

    @contextlib.contextmanager
    def opened() -> Iterator[Iterator[memoryview]]:
        block = memoryview(bytes(2**20))
        yield (block for _ in range(size // len(block)))

    with Wire([full], [OK], deaf=True) as wire:
        # What was sent and nobody read makes the kernel reset the line, sometimes before the answer could be read.
        said = _said(transport, Request("PUT", f"http://{wire.host}/", {}, Upload(size, opened)))
        assert said in {(413, b"no!"), (0, b"")}
        assert get(transport, wire) == b"ok"


def _said(transport: Transport, request: Request) -> tuple[int, bytes]:
    try:
        answer = transport.send(request)
    except RegistryError as error:
        return (0, b"") if error.retryable else (-1, b"")
    return answer.status, answer.read_error(10)


def test_headers_come_by_any_case_and_all_their_values(transport: Transport) -> None:
    twice = b"HTTP/1.1 401 No\r\nwww-authenticate: Basic a\r\nWWW-Authenticate: Bearer b\r\nContent-Length: 0\r\n\r\n"
    with Wire([twice]) as wire, transport.send(Request("GET", f"http://{wire.host}/")) as answer:
        assert list(answer.header_values("WWW-AUTHENTICATE")) == ["Basic a", "Bearer b"]
        assert (answer.header("Www-Authenticate"), answer.header("Date")) == ("Basic a, Bearer b", "")
        assert answer.length() == 0


def test_a_target_is_sent_as_it_may_stand_in_a_request(transport: Transport) -> None:
    with Wire([OK, OK]) as wire:
        get(transport, wire, "/v2/a b/\u00e9|?q=%2F&r={1}")
        get(transport, wire, "/v2/a/?_state=ab%3D~-_.")
    assert [head.split("\r\n")[0] for head in wire.heads] == [
        "GET /v2/a%20b/%C3%A9%7C?q=%2F&r=%7B1%7D HTTP/1.1",
        "GET /v2/a/?_state=ab%3D~-_. HTTP/1.1",
    ]


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("http://127.0.0.1:1/", {"X": "a\r\nY: b"}),
        ("http://127.0.0.1:1/", {"X": "\u20ac"}),
        ("http://a..b/", {}),
        ("http://h:99999/", {}),
        ("http:///v2/", {}),
    ],
)
def test_what_cannot_be_sent_is_said_once(transport: Transport, url: str, headers: dict[str, str]) -> None:
    with Wire([OK]) as wire, pytest.raises(RegistryError) as caught:
        transport.send(Request("GET", url.replace("127.0.0.1:1", wire.host), headers))
    assert not caught.value.retryable
    assert wire.heads == []


def test_a_request_under_way_ends_when_all_hang_up_and_none_follows(transport: Transport) -> None:
    with Wire([OK, OK]) as wire:
        get(transport, wire)
        request = Request("PUT", f"http://{wire.host}/", {"Content-Length": "9"}, b"")
        failed: list[RegistryError] = []

        def hang() -> None:
            try:
                transport.send(request)
            except RegistryError as error:
                failed.append(error)

        thread = threading.Thread(target=hang)
        thread.start()
        while len(wire.heads) < 2:
            time.sleep(0.01)
        transport.hang_up()
        thread.join(4)  # the time limit of the transport is five seconds
        assert len(failed) == 1
        for host in (wire.host, wire.host.replace("127.0.0.1", "localhost")):
            with pytest.raises(Unreachable, match="stopped"):
                transport.send(Request("GET", f"http://{host}/"))


def test_where_nobody_listens_is_unreachable(transport: Transport) -> None:
    with Wire() as wire:
        host = wire.host
    with pytest.raises(Unreachable) as caught:
        transport.send(Request("GET", f"http://{host}/"))
    assert "refused" in caught.value.why
