"""The edge to the network: requests go out, answers or ``RegistryError`` come back.

Nothing here follows a redirect, retries or decompresses: those are decisions of the callers.
"""

from __future__ import annotations

import ssl
import threading
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable, Optional, Union

from loader import __version__
from loader.bundle.errors import StorageError
from loader.oci.answer import Answer, Received
from loader.oci.direct import Body, Direct
from loader.oci.faults import NotSendable, line_errors
from loader.oci.messages import Request, Upload, shown_url

if TYPE_CHECKING:
    from loader.oci.proxied import Proxied

USER_AGENT = f"airgap-bundler/{__version__}"
SEND_SIZE = 128 * 2**10
"""Bytes per send: the timeout applies to each, so a slow line must move this much in it."""
_MOST_HOSTS = 8
"""Hosts with connections kept: the registry, its token server, what it redirects to."""
_CONNECT = 30.0
_STORING = 100_000
"""Bytes a second that the far side is granted for what it took and has still to pass on or to store."""
_LONGEST_STORING = 1800.0
_PORTS = {"http": 80, "https": 443}
_Way = Union[Direct, "Proxied"]


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
        self._timeout = timeout
        self._lock = threading.Lock()
        self._ways: dict[tuple[str, str], _Way] = {}
        self._ended = False

    def send(self, request: Request) -> Answer:
        """Send ``request`` once; ``RegistryError`` with ``retryable`` when the connection fails."""
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **request.headers}
        with line_errors(request.method, request.url):
            if not isinstance(request.body, Upload):
                return self._send(request, headers, request.body)
            headers["Content-Length"] = str(request.body.size)
            with request.body.open() as chunks:
                return self._send(request, headers, _exactly(chunks, request.body.size, shown_url(request.url)))

    def hang_up(self) -> None:
        """End every request that is under way, and all that follow: they fail as on a line that broke."""
        self._ended = True
        with self._lock:
            ways = tuple(self._ways.values())
        for way in ways:
            way.hang_up()

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            ways, self._ways = self._ways, {}
        for way in ways.values():
            way.close()

    def _send(self, request: Request, headers: dict[str, str], body: Body) -> Answer:
        parts = urllib.parse.urlsplit(request.url)
        way = self._ways.get((parts.scheme, parts.netloc)) or self._find_way(parts, request.url)
        direct = isinstance(way, Direct)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        # A proxy takes all of a blob at once and passes it on slowly; an object store copies it when it is closed.
        patience = self._timeout + min(_LONGEST_STORING, request.to_store / _STORING)
        received: Received = way.send(request.method, target if direct else request.url, headers, body, patience)
        return Answer(request, received)

    def _find_way(self, parts: urllib.parse.SplitResult, url: str) -> _Way:
        """Return the connections to the host of ``url``, its proxy's where it has one."""
        proxy = self._proxy_for(url)
        with self._lock:
            way = self._ways.get((parts.scheme, parts.netloc))
            if way is None:
                while len(self._ways) >= _MOST_HOSTS:
                    # A connection in use is closed once it comes back.
                    self._ways.pop(next(iter(self._ways))).close()
                way = self._way(parts, proxy)
                if self._ended:
                    way.hang_up()
                self._ways[parts.scheme, parts.netloc] = way
            return way

    def _way(self, parts: urllib.parse.SplitResult, proxy: Optional[str]) -> _Way:
        connect = min(self._timeout, _CONNECT)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise NotSendable(f"{parts.scheme[:20]!a} is not http or https")
        if proxy is not None:
            from loader.oci.proxied import Proxied

            return Proxied(proxy, self._make_context(), connect=connect)
        try:
            port = parts.port or _PORTS[parts.scheme]
        except ValueError as error:
            raise NotSendable(str(error)) from None
        context = self._make_context if parts.scheme == "https" else None
        return Direct(parts.hostname, port, context, connect=connect, timeout=self._timeout)


def _exactly(chunks: Iterator[memoryview], size: int, where: str) -> Iterator[memoryview]:
    """Pass ``chunks`` on in sends of at most ``SEND_SIZE``, and refuse a body of another length than announced."""
    left = size
    while True:
        try:
            chunk = next(chunks, None)
        except OSError as error:
            # Else the edge would take a bad disc for a bad connection, and retry.
            raise StorageError(f"cannot read what is sent to {where}", why=error.strerror or str(error)) from error
        if chunk is None:
            break
        left -= len(chunk)
        if left < 0:
            break
        if len(chunk) <= SEND_SIZE:
            yield chunk
            continue
        for start in range(0, len(chunk), SEND_SIZE):
            yield chunk[start : start + SEND_SIZE]
    if left:
        raise StorageError(f"what is sent to {where} has another size", why=f"{size} bytes were announced")
