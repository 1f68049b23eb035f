"""What a line can break with, as ``RegistryError``: the cause in words, whether to try again, and a way on."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from loader.bundle.errors import RegistryError
from loader.oci.clock import TIME_CODES, clock_error
from loader.oci.messages import printable, shown_url

TIMED_OUT = "timed out: no byte moved"
HUNG_UP = "stopped"
BY_PROXY = "the proxy of HTTP_PROXY or HTTPS_PROXY answered; NO_PROXY names hosts that need none"


class Unreachable(RegistryError):
    """No connection could be made, or it ended before a word was said: nothing listens, or there is no way to it.

    ``url`` is what was asked for there.
    """

    url = ""


class NoConnection(OSError):
    """Raised from whatever kept a connection from being made, or ended it before an answer began."""


class ProxyRefused(OSError):
    """Raised from what a proxy answered instead of letting us through."""


class ProxyAway(NoConnection):
    """Raised where it is the proxy that there is no connection to."""


class NotSendable(ValueError):
    """Raised from what makes a request no request: trying again changes nothing."""


@contextmanager
def line_errors(method: str, url: str) -> Iterator[None]:
    """Turn what http.client, ssl, socket and the classes above raise into ``RegistryError``."""
    try:
        yield
    except (http.client.HTTPException, OSError, NotSendable) as error:
        raise _mapped(error, method, url) from error


def _mapped(error: Exception, method: str, url: str) -> RegistryError:
    where = shown_url(url)
    host = where.partition("://")[2].partition("/")[0]
    chain = _chain(error)
    words = " ".join(str(one) for one in chain)
    tls = next((one for one in chain if isinstance(one, ssl.SSLError)), None)
    if tls is not None:
        return _tls_error(tls, words, host)
    why = printable(str(chain[-1]) or type(chain[-1]).__name__)
    hint = ""
    late = any(isinstance(one, (TimeoutError, socket.timeout)) for one in chain)
    if any(isinstance(one, socket.gaierror) for one in chain):
        hint = "check the name and the DNS of this machine, or NO_PROXY"
    elif late:
        why = TIMED_OUT
    elif any(isinstance(one, ProxyRefused) for one in chain):
        hint = BY_PROXY
    elif any(isinstance(one, ProxyAway) for one in chain):
        hint = "it is the proxy of HTTP_PROXY or HTTPS_PROXY that is not there; NO_PROXY names hosts that need none"
    elif any(isinstance(one, ConnectionRefusedError) for one in chain):
        hint = "check host and port, and whether it runs"
    unreachable = not late and any(isinstance(one, NoConnection) for one in chain)
    # A login that a proxy refuses is not tried again: it may count them.
    refused = any(isinstance(one, ProxyRefused) and "407" in str(one) for one in chain)
    retryable = not (refused or isinstance(error, (NotSendable, http.client.InvalidURL)))
    what = f"no answer from {host} to {method} {where}"
    if not unreachable:
        return RegistryError(what, why=why, hint=hint, retryable=retryable)
    found = Unreachable(what, why=why, hint=hint, retryable=retryable)
    found.url = url
    return found


def _tls_error(tls: ssl.SSLError, words: str, host: str) -> RegistryError:
    why = printable(tls.reason.replace("_", " ").lower() if tls.reason else str(tls))
    if "WRONG_VERSION_NUMBER" in words or "RECORD_LAYER_FAILURE" in words or "HTTP_REQUEST" in words:
        return RegistryError(
            f"{host} does not speak TLS",
            why=why,
            hint="if it is a plain http registry, say so: --plain-http, or insecure = true in registries.conf",
        )
    code = getattr(tls, "verify_code", 0)  # OpenSSL's, where it is the certificate that was refused
    if code in TIME_CODES:
        return clock_error(host, code)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return RegistryError(
            f"the certificate of {host} is not trusted",
            why=printable(tls.verify_message or str(tls)),
            hint=f"give its CA: --ca-file FILE, --cert-dir DIR, or /etc/containers/certs.d/{host}/ca.crt",
        )
    broken = isinstance(tls, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
    hint = f"a client certificate may be asked for: NAME.cert and NAME.key in /etc/containers/certs.d/{host}"
    return RegistryError(f"no TLS with {host}", why=why, hint="" if broken else hint, retryable=broken)


def _chain(error: BaseException) -> list[BaseException]:
    """Return ``error`` and what it was raised from, outermost first."""
    found = [error]
    while found[-1].__cause__ is not None and len(found) < 10:
        found.append(found[-1].__cause__)
    return found
