"""The edge to urllib3: each foreign error becomes one of ours, with the host, the cause and a way on."""

from __future__ import annotations

import socket
import ssl

import pytest
from urllib3 import exceptions as foreign
from urllib3.connection import HTTPConnection

from loader.bundle.errors import AirgapError, RegistryError, TrustError
from loader.oci.http import Transport, foreign_errors
from loader.oci.messages import Request
from tests.support.registry import RegistryServer

URL = "https://user:secret@reg.local:5000/v2/a/blobs/x?token=secret"
CONNECTION = HTTPConnection("reg.local")
RESET = ConnectionResetError(104, "Connection reset by peer")


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def tls(error: type[ssl.SSLError], reason: str) -> Exception:
    made = error(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:1006)")
    made.reason = reason
    if isinstance(made, ssl.SSLCertVerificationError):
        made.verify_message = "self-signed certificate in certificate chain"
    return foreign.MaxRetryError(None, URL, foreign.SSLError(made))  # type: ignore[arg-type] # no pool is needed


@pytest.mark.parametrize(
    ("error", "why", "hint", "retryable"),
    [
        (foreign.ProtocolError("Connection aborted.", RESET), "reset by peer", "", True),
        (RESET, "reset by peer", "", True),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe", "", True),
        (socket.timeout("timed out"), "no byte moved", "", True),
        (foreign.ReadTimeoutError(None, URL, "read timed out"), "no byte moved", "", True),  # type: ignore[arg-type]
        (foreign.ConnectTimeoutError("connect timed out"), "no byte moved", "", True),
        (
            chained(
                foreign.NewConnectionError(CONNECTION, "failed"), ConnectionRefusedError(111, "Connection refused")
            ),
            "Connection refused",
            "",
            True,
        ),
        (
            foreign.NameResolutionError("reg.local", CONNECTION, socket.gaierror(-2, "Name or service not known")),
            "not known",
            "DNS",
            True,
        ),
        (foreign.IncompleteRead(5, 10), "", "", True),
        (foreign.LocationParseError("x"), "parse", "", False),
        (foreign.ProxyError("Unable to connect to proxy", OSError("407 Proxy")), "407", "NO_PROXY", True),
        (tls(ssl.SSLError, "WRONG_VERSION_NUMBER"), "wrong version number", "--plain-http", False),
        (tls(ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED"), "certificate required", "NAME.cert", False),
        (tls(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"), "unexpected eof", "", True),
        (
            tls(ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED"),
            "self-signed certificate",
            "--ca-file",
            False,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_foreign_errors_are_ours_after_the_edge(error: Exception, why: str, hint: str, retryable: bool) -> None:
    with pytest.raises(RegistryError) as caught, foreign_errors("GET", URL):
        raise error
    ours = caught.value
    assert "reg.local:5000" in f"{ours.message} {ours.hint}"
    assert why in ours.why
    assert hint in ours.hint
    assert (ours.retryable, ours.status) == (retryable, 0)
    assert "secret" not in f"{ours} {ours.hint}"


@pytest.mark.parametrize("error", [TrustError("hash"), RuntimeError("bug"), KeyboardInterrupt()])
def test_what_is_not_the_librarys_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, foreign_errors("GET", URL):
        raise error
    assert caught.value is error
    assert not isinstance(error, AirgapError) or error.message == "hash"


def test_any_number_of_hosts_is_talked_to_with_connections_kept_to_a_few(server: RegistryServer) -> None:
    transport = Transport(ssl.create_default_context, lambda _: None, timeout=5)
    port = server.host.rpartition(":")[2]
    names = ["".join(c.upper() if n >> i & 1 else c for i, c in enumerate("local")) + "host" for n in range(20)]
    for name in (*names, *names):
        answer = transport.send(Request("GET", f"http://{name}:{port}/v2/"))
        assert answer.status == 200
        answer.close()
    transport.close()


def test_one_connection_serves_many_requests(server: RegistryServer) -> None:
    transport = Transport(ssl.create_default_context, lambda _: None, timeout=5)
    for _ in range(10):
        transport.send(Request("GET", f"http://{server.host}/v2/")).close()
    assert server.connections == 1
    transport.close()


def test_a_scheme_that_is_no_web_address_is_not_sent_to() -> None:
    transport = Transport(ssl.create_default_context, lambda _: None, timeout=5)
    with pytest.raises(RegistryError):
        transport.send(Request("GET", "ftp://reg.local/v2/"))
