"""The edge to the network: each foreign error becomes one of ours, with the host, the cause and a way on."""

from __future__ import annotations

import http.client
import socket
import ssl

import pytest
from urllib3 import exceptions as foreign
from urllib3.connection import HTTPConnection

from loader.bundle.errors import AirgapError, RegistryError, TrustError
from loader.oci.faults import NoConnection, NotSendable, ProxyAway, ProxyRefused, Unreachable, line_errors
from loader.oci.proxied import plain_errors

URL = "https://user:secret@reg.local:5000/v2/a/blobs/x?token=secret"
CONNECTION = HTTPConnection("reg.local")
RESET = ConnectionResetError(104, "Connection reset by peer")


def chained(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


def tls(error: type[ssl.SSLError], reason: str) -> ssl.SSLError:
    made = error(1, f"[SSL: {reason}] {reason.lower()} (_ssl.c:1006)")
    made.reason = reason
    if isinstance(made, ssl.SSLCertVerificationError):
        made.verify_message = "self-signed certificate in certificate chain"
    return made


TLS = [
    (tls(ssl.SSLError, "WRONG_VERSION_NUMBER"), "wrong version number", "--plain-http", False),
    (tls(ssl.SSLError, "TLSV13_ALERT_CERTIFICATE_REQUIRED"), "certificate required", "NAME.cert", False),
    (tls(ssl.SSLEOFError, "UNEXPECTED_EOF_WHILE_READING"), "unexpected eof", "", True),
    (tls(ssl.SSLCertVerificationError, "CERTIFICATE_VERIFY_FAILED"), "self-signed certificate", "--ca-file", False),
]
REFUSED = ConnectionRefusedError(111, "Connection refused")
NO_NAME = socket.gaierror(-2, "Name or service not known")


def check(caught: pytest.ExceptionInfo[RegistryError], why: str, hint: str, *, retryable: bool) -> None:
    ours = caught.value
    assert "reg.local:5000" in f"{ours.message} {ours.hint}"
    assert why in ours.why
    assert hint in ours.hint
    assert (ours.retryable, ours.status) == (retryable, 0)
    assert "secret" not in f"{ours} {ours.hint}"


@pytest.mark.parametrize(
    ("error", "why", "hint", "retryable"),
    [
        (RESET, "reset by peer", "", True),
        (BrokenPipeError(32, "Broken pipe"), "Broken pipe", "", True),
        (socket.timeout("timed out"), "no byte moved", "", True),
        (chained(NoConnection("failed"), socket.timeout("timed out")), "no byte moved", "", True),
        (chained(NoConnection("failed"), REFUSED), "Connection refused", "", True),
        (chained(NoConnection("failed"), NO_NAME), "not known", "DNS", True),
        (ProxyRefused("403 Forbidden"), "403", "NO_PROXY", True),
        (ProxyRefused("407 Proxy"), "407", "NO_PROXY", False),
        (chained(ProxyAway("failed"), REFUSED), "refused", "not there", True),
        (http.client.IncompleteRead(b"12345", 10), "5 bytes read", "", True),
        (http.client.InvalidURL("no"), "no", "", False),
        (NotSendable("no"), "no", "", False),
        *TLS,
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_line_errors_are_ours_after_the_edge(error: Exception, why: str, hint: str, retryable: bool) -> None:
    with pytest.raises(RegistryError) as caught, line_errors("GET", URL):
        raise error
    check(caught, why, hint, retryable=retryable)
    late = "no byte moved" in why
    assert isinstance(caught.value, Unreachable) is (isinstance(error, NoConnection) and not late)


@pytest.mark.parametrize(
    ("error", "why", "hint", "retryable"),
    [
        (foreign.ProtocolError("Connection aborted.", RESET), "reset by peer", "", True),
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
            chained(foreign.NameResolutionError("reg.local", CONNECTION, NO_NAME), NO_NAME),
            "not known",
            "DNS",
            True,
        ),
        (foreign.IncompleteRead(5, 10), "", "", True),
        (foreign.LocationParseError("x"), "parse", "", False),
        (foreign.ProxyError("Unable to connect to proxy", OSError("407 Proxy")), "407", "NO_PROXY", False),
        (
            foreign.ProxyError(
                "Unable to connect to proxy", chained(foreign.NewConnectionError(CONNECTION, "failed"), REFUSED)
            ),
            "refused",
            "not there",
            True,
        ),
        *((foreign.MaxRetryError(None, URL, foreign.SSLError(one)), *rest) for one, *rest in TLS),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_behind_a_proxy_are_ours_after_the_edge(error: Exception, why: str, hint: str, retryable: bool) -> None:
    with pytest.raises(RegistryError) as caught, line_errors("GET", URL), plain_errors():
        raise error
    check(caught, why, hint, retryable=retryable)


@pytest.mark.parametrize("error", [TrustError("hash"), RuntimeError("bug"), KeyboardInterrupt()])
def test_what_is_not_the_librarys_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, line_errors("GET", URL), plain_errors():
        raise error
    assert caught.value is error
    assert not isinstance(error, AirgapError) or error.message == "hash"
