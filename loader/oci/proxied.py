"""Connections through a proxy, by urllib3: tunnels, logins, TLS to the proxy and TLS behind it.

Imported only where there is a proxy.
"""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast

import urllib3
from urllib3 import exceptions as foreign

from loader.oci.answer import Received
from loader.oci.direct import Body
from loader.oci.faults import HUNG_UP, NoConnection, NotSendable, ProxyAway, ProxyRefused

_NO_RETRIES = urllib3.Retry.from_int(False)
_POOL_SIZE = 16
_OUR_FAULTS = (foreign.LocationParseError, foreign.URLSchemeUnknown, foreign.InvalidHeader)


class Proxied:
    """Keep-alive connections by way of ``proxy``, its URL; thread-safe. ``connect``: seconds to make one in."""

    def __init__(self, proxy: str, context: ssl.SSLContext, *, connect: float) -> None:
        if context.verify_mode is ssl.CERT_NONE:
            # Asked for by --tls-verify=false or insecure = true: no need to warn on every connection.
            urllib3.disable_warnings(foreign.InsecureRequestWarning)
        self._ended = False
        login = urllib3.util.parse_url(proxy).auth
        self._connect = connect
        self._manager = urllib3.ProxyManager(
            proxy,
            4,
            # The bytes that stand in per cent, whatever letters they are: as curl and Go send them.
            proxy_headers={"proxy-authorization": f"Basic {_basic(login)}"} if login else None,
            proxy_ssl_context=context,
            maxsize=_POOL_SIZE,
            ssl_context=context,
        )

    def send(self, method: str, url: str, headers: Mapping[str, str], body: Body, patience: float) -> Received:
        """Send one request and read the head of its answer; raises what :mod:`loader.oci.faults` knows.

        ``patience``: seconds in which the answer must begin, and each byte of it must come.
        """
        if self._ended:
            raise NoConnection(HUNG_UP)
        with plain_errors():
            response = self._manager.urlopen(
                method,
                url,
                # http.client sends any buffer; the annotation of urllib3 knows bytes only.
                body=cast("Iterator[bytes]", body),
                headers=headers,
                retries=_NO_RETRIES,
                redirect=False,
                timeout=urllib3.Timeout(connect=self._connect, read=patience),
                preload_content=False,
                decode_content=False,
            )
        if response.status < 200:
            # http.client passes over 100 alone; what follows another one would be taken for the next answer.
            response.close()
            raise http.client.HTTPException(f"HTTP {response.status} instead of an answer")
        return _Response(response)

    def hang_up(self) -> None:
        """Let no request begin any more; one that is under way ends by its time limit, its socket being urllib3's."""
        self._ended = True

    def close(self) -> None:
        """Close what is idle."""
        self._manager.clear()


class _Response:
    """See :class:`Received`."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status = response.status
        self.headers: Mapping[str, Sequence[str]] = {
            name.lower(): response.headers.getlist(name) for name in response.headers
        }
        self._response = response

    def read(self, size: int) -> bytes:
        with plain_errors():
            return self._response.read(size, decode_content=False)

    def readinto(self, view: memoryview) -> int:
        # urllib3's own readinto is a read into new memory and a copy. What it wraps is http.client's response,
        # which receives straight into ``view``; should a later urllib3 wrap something else, its own way remains.
        inner = getattr(self._response, "_fp", None)
        with plain_errors():
            if isinstance(inner, http.client.HTTPResponse):
                return inner.readinto(view)
            return self._response.readinto(view)

    def release(self, most: int) -> None:
        if not self._response.closed:
            try:
                left = len(self._response.read(most, decode_content=False))
            except (foreign.HTTPError, OSError):
                left = most
            if left >= most:
                self._response.close()
        # A body that readinto read to its end is closed, but urllib3 did not see it and still holds the connection.
        self._response.release_conn()

    def hang_up(self) -> None:
        self._response.close()
        self._response.release_conn()


def _basic(login: str) -> str:
    return base64.b64encode(urllib.parse.unquote_to_bytes(login)).decode("ascii")


@contextmanager
def plain_errors() -> Iterator[None]:
    """Raise what urllib3 wraps as what it is: the only place that knows its errors."""
    try:
        yield
    except _OUR_FAULTS as error:
        raise NotSendable(str(error)) from None
    except foreign.HTTPError as error:
        raise _unwrapped(error) from _innermost(error)


def _unwrapped(error: Exception) -> Exception:
    chain = _chain(error)

    def has(*kinds: type[Exception]) -> bool:
        return any(isinstance(one, kinds) for one in chain)

    if has(foreign.ReadTimeoutError, foreign.ConnectTimeoutError) and not has(foreign.NewConnectionError):
        return TimeoutError(str(error))
    if has(foreign.ProxyError):
        kind = ProxyAway if has(foreign.NewConnectionError) else ProxyRefused
        return kind(str(chain[-1]))
    if has(foreign.NewConnectionError):
        return NoConnection(str(chain[-1]))
    return http.client.HTTPException(str(chain[-1]) or type(chain[-1]).__name__)


def _innermost(error: BaseException) -> BaseException:
    chain = _chain(error)
    # Of a refused certificate the library's own error has the cause; of anything else the last in the chain.
    return next((one for one in chain if isinstance(one, ssl.SSLError)), chain[-1])


def _chain(error: BaseException) -> list[BaseException]:
    """Return ``error`` and what it wraps (urllib3 keeps causes in arguments), outermost first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 10:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [getattr(one, "reason", None), getattr(one, "original_error", None), one.__cause__, *one.args]
    return found
