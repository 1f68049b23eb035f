"""The one edge to urllib3: requests go out, answers or ``RegistryError`` come back.

Nothing here follows a redirect, retries or decompresses: those are decisions of the callers.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Callable, Optional, Union, cast

import urllib3
from urllib3 import exceptions as foreign

from loader import __version__
from loader.bundle.errors import RegistryError, StorageError
from loader.oci.clock import TIME_CODES, clock_error
from loader.oci.messages import Request, Upload, printable, shown_url

USER_AGENT = f"airgap-bundler/{__version__}"
SEND_SIZE = 128 * 2**10
"""Bytes per send: urllib3 applies the connect timeout to each, so a slow line must move this much in it."""
TIMED_OUT = "timed out: no byte moved"
_DRAIN = 64 * 2**10
_POOL_SIZE = 16
_MOST_HOSTS = 8
"""Hosts with connections kept: the registry, its token server, what it redirects to."""
_NO_RETRIES = urllib3.Retry.from_int(False)
_Way = Union[urllib3.HTTPConnectionPool, urllib3.ProxyManager]


class Unreachable(RegistryError):
    """No connection could be made: nothing listens there, or there is no way to it."""


class Answer:
    """A response whose body is still on the connection; a context manager that gives the connection back."""

    def __init__(self, request: Request, response: urllib3.BaseHTTPResponse) -> None:
        self.method = request.method
        self.url = request.url
        self.status = response.status
        self._response = response

    def header(self, name: str) -> str:
        """Return one header's value, or an empty string."""
        return self._response.headers.get(name, "")

    def header_values(self, name: str) -> Sequence[str]:
        """Return all values of a header that may come several times."""
        return self._response.headers.getlist(name)

    def length(self) -> Optional[int]:
        """Return Content-Length, or ``None`` when it is missing or no number."""
        text = self.header("Content-Length")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None

    def read(self, size: int) -> bytes:
        """Return up to ``size`` bytes, fewer only at the end; ``RegistryError`` when the connection breaks."""
        with foreign_errors(self.method, self.url):
            return self._response.read(size, decode_content=False)

    def readinto(self, view: memoryview) -> int:
        """Fill ``view``, less only at the end, 0 when nothing is left; not to be mixed with ``read``.

        ``RegistryError`` when the connection breaks; a body shorter than its Content-Length just ends.
        """
        # urllib3's own readinto is a read into new memory and a copy. What it wraps is http.client's response,
        # which receives straight into ``view``; should a later urllib3 wrap something else, its own way remains.
        inner = getattr(self._response, "_fp", None)
        with foreign_errors(self.method, self.url):
            if isinstance(inner, http.client.HTTPResponse):
                return inner.readinto(view)
            return self._response.readinto(view)

    def read_all(self, cap: int) -> bytes:
        """Return the whole body and give the connection back; ``RegistryError`` when it has more than ``cap`` bytes."""
        with self:
            data = self.read(cap + 1)
            if len(data) > cap:
                raise RegistryError(
                    f"the answer to {self.method} {shown_url(self.url)} is too large",
                    status=self.status,
                    why=f"more than {cap} bytes",
                )
            return data

    def read_error(self, cap: int) -> bytes:
        """Return up to ``cap`` bytes of an error's body, whatever happens to the connection."""
        try:
            with self:
                return self.read(cap)
        except RegistryError:
            return b""

    def close(self) -> None:
        """Give the connection back: kept when little is left on it, closed otherwise."""
        if not self._response.closed:
            try:
                left = self._response.read(_DRAIN, decode_content=False)
            except (foreign.HTTPError, OSError):
                left = b" " * _DRAIN
            if len(left) >= _DRAIN:
                self._response.close()
        # A body that readinto read to its end is closed, but urllib3 did not see it and still holds the connection.
        self._response.release_conn()

    def abort(self) -> None:
        """Close the connection at once: what is left on it is not worth reading."""
        self._response.close()
        self._response.release_conn()

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], value: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


class Transport:
    """Keep-alive connections to one registry and whatever it redirects to; thread-safe.

    ``context`` is asked for once there is TLS to speak. ``timeout``: seconds in which a byte must move. ``proxy_for``
    gives a proxy's URL for a URL, or ``None``.
    """

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        proxy_for: Callable[[str], Optional[str]],
        *,
        timeout: float = 60.0,
    ) -> None:
        self._make_context = context
        self._proxy_for = proxy_for
        self._timeout = urllib3.Timeout(connect=min(timeout, 30.0), read=timeout)
        self._lock = threading.Lock()
        self._ways: dict[tuple[str, str], _Way] = {}

    def send(self, request: Request) -> Answer:
        """Send ``request`` once; ``RegistryError`` with ``retryable`` when the connection fails."""
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
        with foreign_errors(request.method, request.url):
            if not isinstance(request.body, Upload):
                return self._send(request, headers, request.body)
            headers["Content-Length"] = str(request.body.size)
            with request.body.open() as chunks:
                body = _exactly(chunks, request.body.size, shown_url(request.url))
                # http.client sends any buffer; the annotation of urllib3 knows bytes only.
                return self._send(request, headers, cast("Iterator[bytes]", body))

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            ways, self._ways = self._ways, {}
        for way in ways.values():
            if isinstance(way, urllib3.PoolManager):
                way.clear()
            else:
                way.close()

    def _send(
        self, request: Request, headers: Mapping[str, str], body: Optional[Union[bytes, Iterator[bytes]]]
    ) -> Answer:
        parts = urllib.parse.urlsplit(request.url)
        way = self._ways.get((parts.scheme, parts.netloc)) or self._find_way(parts, request.url)
        direct = isinstance(way, urllib3.HTTPConnectionPool)
        response = way.urlopen(
            request.method,
            urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, "")) if direct else request.url,
            body=body,
            headers=headers,
            retries=_NO_RETRIES,
            redirect=False,
            timeout=self._timeout,
            preload_content=False,
            decode_content=False,
        )
        return Answer(request, response)

    def _find_way(self, parts: urllib.parse.SplitResult, url: str) -> _Way:
        """Return the connections to the host of ``url``, its proxy's where it has one.

        Without a proxy urllib3's pool of one host is used itself: its manager costs a third of a small request.
        """
        proxy = self._proxy_for(url)
        with self._lock:
            way = self._ways.get((parts.scheme, parts.netloc))
            if way is None:
                while len(self._ways) >= _MOST_HOSTS:
                    # Whoever still uses it keeps it; its connections are closed with it.
                    del self._ways[next(iter(self._ways))]
                way = self._make_manager(proxy) if proxy is not None else self._make_pool(parts.scheme, url)
                self._ways[parts.scheme, parts.netloc] = way
            return way

    def _make_pool(self, scheme: str, url: str) -> urllib3.HTTPConnectionPool:
        if scheme == "https":
            return urllib3.connection_from_url(url, maxsize=_POOL_SIZE, ssl_context=self._context())
        if scheme != "http":
            raise foreign.URLSchemeUnknown(scheme)
        return urllib3.connection_from_url(url, maxsize=_POOL_SIZE)

    def _make_manager(self, proxy: str) -> urllib3.ProxyManager:
        context, login = self._context(), urllib3.util.parse_url(proxy).auth
        headers = urllib3.make_headers(proxy_basic_auth=urllib.parse.unquote(login)) if login else None
        return urllib3.ProxyManager(
            proxy,
            4,
            proxy_headers=headers,
            proxy_ssl_context=context,
            maxsize=_POOL_SIZE,
            ssl_context=context,
        )

    def _context(self) -> ssl.SSLContext:
        context = self._make_context()
        if context.verify_mode is ssl.CERT_NONE:
            # Asked for by --tls-verify=false or insecure = true: no need to warn on every connection.
            urllib3.disable_warnings(foreign.InsecureRequestWarning)
        return context


def _exactly(chunks: Iterator[memoryview], size: int, where: str) -> Iterator[memoryview]:
    """Pass ``chunks`` on in sends of at most ``SEND_SIZE``, and refuse a body of another length than announced."""
    left = size
    while True:
        try:
            chunk = next(chunks, None)
        except OSError as error:
            # Else urllib3's edge would take a bad disc for a bad connection, and retry.
            raise StorageError(f"cannot read what is sent to {where}", why=error.strerror or str(error)) from error
        if chunk is None:
            break
        left -= len(chunk)
        if left < 0:
            break
        for start in range(0, len(chunk), SEND_SIZE):
            yield chunk[start : start + SEND_SIZE]
    if left:
        raise StorageError(f"what is sent to {where} has another size", why=f"{size} bytes were announced")


@contextmanager
def foreign_errors(method: str, url: str) -> Iterator[None]:
    """Turn what urllib3, ssl and socket raise into ``RegistryError``: the only place that knows them."""
    try:
        yield
    except (foreign.HTTPError, http.client.HTTPException, OSError) as error:
        raise _mapped(error, method, url) from error


_TIMEOUTS = (foreign.ReadTimeoutError, foreign.ConnectTimeoutError, TimeoutError, socket.timeout)
_OUR_FAULTS = (foreign.LocationParseError, foreign.URLSchemeUnknown, foreign.InvalidHeader)


def _mapped(error: Exception, method: str, url: str) -> RegistryError:
    where = shown_url(url)
    host = where.partition("://")[2].partition("/")[0]
    chain = _chain(error)
    words = " ".join(str(one) for one in chain)
    tls = next((one for one in chain if isinstance(one, ssl.SSLError)), None)
    if tls is not None:
        return _tls_error(tls, words, host)
    retryable = True
    hint = ""
    why = printable(str(chain[-1]) or type(chain[-1]).__name__)
    if any(isinstance(one, (foreign.NameResolutionError, socket.gaierror)) for one in chain):
        hint = "check the name and the DNS of this machine, or NO_PROXY"
    elif any(isinstance(one, _TIMEOUTS) and not isinstance(one, foreign.NewConnectionError) for one in chain):
        why = TIMED_OUT
    elif any(isinstance(one, _OUR_FAULTS) for one in chain):
        retryable = False
    elif any(isinstance(one, foreign.ProxyError) for one in chain):
        hint = "the proxy of HTTP_PROXY or HTTPS_PROXY answered; NO_PROXY names hosts that need none"
    unreachable = any(isinstance(one, foreign.NewConnectionError) for one in chain)
    kind = Unreachable if unreachable else RegistryError
    return kind(f"no answer from {host} to {method} {where}", why=why, hint=hint, retryable=retryable)


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
    """Return ``error`` and what it wraps (urllib3 keeps causes in arguments), outermost first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 10:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [getattr(one, "reason", None), getattr(one, "original_error", None), one.__cause__, *one.args]
    return found
