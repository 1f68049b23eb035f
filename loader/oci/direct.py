"""Keep-alive connections to one host, without a proxy in between (docs/decisions/0023).

http.client speaks the protocol; here is only what it leaves open: which connection is taken, and when it is kept.
"""

from __future__ import annotations

import errno
import http.client
import re
import select
import socket
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Callable, Optional, Union

from loader.oci.answer import Received
from loader.oci.faults import HUNG_UP, NoConnection, NotSendable

_MOST_KEPT = 16
_TARGET_MARKS = "!#$%&'()*+,/:;=?@[]"
_PLAIN_TARGET = re.compile(r"[A-Za-z0-9._~!$%&'()*+,/:;=?@-]+")
_SWITCHING, _MOST_INTERIM = 101, 100
_HUNG_UP = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EPROTOTYPE})
Body = Union[None, bytes, Iterator[memoryview]]


class Direct:
    """Connections to one host and port; thread-safe.

    ``connect`` and ``timeout``: seconds to make a connection in, and those in which a byte must move. ``context`` is
    there where TLS is spoken.
    """

    def __init__(
        self,
        host: str,
        port: Optional[int],
        context: Optional[Callable[[], ssl.SSLContext]],
        *,
        connect: float,
        timeout: float,
    ) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._connect = connect
        self._timeout = timeout
        self._idle: list[http.client.HTTPConnection] = []
        self._busy: set[http.client.HTTPConnection] = set()
        self._most_kept = _MOST_KEPT
        self._closed = False
        self._ended = False

    def send(self, method: str, target: str, headers: Mapping[str, str], body: Body, patience: float) -> Received:
        """Send one request and read the head of its answer; raises what http.client, ssl and socket raise.

        ``patience``: seconds in which the answer must begin once all was sent.
        """
        connection = self._taken()
        with ExitStack() as failed:
            failed.callback(self.let_go, connection)
            # In this order: either hang_up finds the connection, or it is found here.
            self._busy.add(connection)
            if self._ended:
                raise NoConnection(HUNG_UP)
            whole = _send(connection, method, target, headers, body)
            try:
                connection.sock.settimeout(patience)
                response = _answer(connection, small=body is None or isinstance(body, bytes))
            except (TimeoutError, socket.timeout):
                # It may serve few at a time, and what is kept idle here be what keeps the others waiting.
                self._most_kept = 1
                self._close_idle()
                raise
            if connection.sock is not None:  # else the answer was its last
                connection.sock.settimeout(self._timeout)
            failed.pop_all()
        return _Response(self, connection, response, reusable=whole)

    def hang_up(self) -> None:
        """End every request that is under way, in whatever thread, and let none begin any more."""
        self._ended = True
        for connection in tuple(self._busy):
            line = connection.sock
            if line is not None:
                with suppress(OSError):
                    # The socket's own: that of TLS would change what the other thread works with.
                    socket.socket.shutdown(line, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def give_back(self, connection: http.client.HTTPConnection) -> None:
        """Keep a connection on which nothing is left to read."""
        self._busy.discard(connection)
        if self._closed or len(self._idle) >= self._most_kept:
            connection.close()
        else:
            self._idle.append(connection)

    def let_go(self, connection: http.client.HTTPConnection) -> None:
        """Close a connection that is of no more use."""
        self._busy.discard(connection)
        connection.close()

    def _taken(self) -> http.client.HTTPConnection:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._made()
            if not _has_ended(connection):
                return connection
            connection.close()

    def _made(self) -> http.client.HTTPConnection:
        connection = (
            http.client.HTTPConnection(self._host, self._port, timeout=self._connect)
            if self._context is None
            else http.client.HTTPSConnection(self._host, self._port, timeout=self._connect, context=self._context())
        )
        with ExitStack() as failed:
            failed.callback(connection.close)
            try:
                connection.connect()
            except ssl.SSLError:
                raise
            except OSError as error:
                raise NoConnection(str(error)) from error
            except UnicodeError as error:
                raise NotSendable(f"{self._host[:80]!a} is no host name") from error
            connection.sock.settimeout(self._timeout)
            failed.pop_all()
        return connection


class _FinalResponse(http.client.HTTPResponse):
    """Passes over every answer that is not the final one (RFC 9110 section 15.2); http.client does so for 100 alone."""

    _interim = 0

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc] # typeshed leaves it out
            if not 100 <= found[1] < 200:
                return found
            self._interim += 1
            if found[1] == _SWITCHING or self._interim > _MOST_INTERIM:
                raise http.client.HTTPException(f"HTTP {found[1]} instead of an answer")
            if found[1] == http.client.CONTINUE:
                return found  # whose head is read there
            http.client.parse_headers(self.fp)


def _answer(connection: http.client.HTTPConnection, *, small: bool) -> http.client.HTTPResponse:
    connection.response_class = _FinalResponse
    try:
        response = connection.getresponse()
    except ConnectionResetError as error:
        # Who hangs up on a small request without a word is not there: a proxy's end, or one that was kept too long.
        if small:
            raise NoConnection(str(error)) from error
        raise
    if response.status < 200:
        raise http.client.HTTPException(f"HTTP {response.status} instead of an answer")
    return response


def _has_ended(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the other side hung up, or said something that nobody asked for."""
    found = select.poll()
    found.register(connection.sock, select.POLLIN)
    return bool(found.poll(0))


def _send(
    connection: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str], body: Body
) -> bool:
    """Send a request, and tell whether all of it went: whoever hangs up while it is sent may have said why."""
    try:
        connection.putrequest(method, _safe(target), skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
    except ValueError as error:
        raise NotSendable("a header has characters that none can have") from error
    if isinstance(body, bytes) and "Content-Length" not in headers:
        connection.putheader("Content-Length", str(len(body)))
    try:
        connection.endheaders(body if isinstance(body, bytes) and body else None)
        if body is not None and not isinstance(body, bytes):
            send = connection.sock.sendall
            for chunk in body:
                send(chunk)
    except OSError as error:
        if isinstance(error, socket.timeout) or error.errno not in _HUNG_UP:
            raise
        return False
    return True


def _safe(target: str) -> str:
    """Return ``target`` with what may not stand in a request line in per cent."""
    return target if _PLAIN_TARGET.fullmatch(target) else urllib.parse.quote(target, safe=_TARGET_MARKS)


@contextmanager
def _sized() -> Iterator[None]:
    """Map what http.client makes of a chunk of less than nothing."""
    try:
        yield
    except ValueError as error:
        raise http.client.HTTPException("a chunk of the body has no size that can be") from error


class _Response:
    """See :class:`Received`."""

    def __init__(
        self,
        host: Direct,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        *,
        reusable: bool,
    ) -> None:
        self.status = response.status
        headers: dict[str, list[str]] = {}
        for name, value in response.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        self.headers: Mapping[str, Sequence[str]] = headers
        self._host = host
        self._connection: Optional[http.client.HTTPConnection] = connection
        self._response = response
        self._reusable = reusable

    def read(self, size: int) -> bytes:
        response = self._response
        if response.length is not None:
            size = min(size, response.length)
        with _sized():
            data = response.read(size)
        if len(data) < size and response.length:
            raise http.client.IncompleteRead(data, response.length)
        return data

    def readinto(self, view: memoryview) -> int:
        with _sized():
            return self._response.readinto(view)

    def release(self, most: int) -> None:
        response = self._response
        if self._connection is None:
            return
        if not response.isclosed() and self._reusable:
            try:
                # One more read than there are bytes: the end of a body in chunks is a line of its own.
                with _sized():
                    read = response.read(most)
                self._reusable = len(read) < most
            except (http.client.HTTPException, OSError):
                self._reusable = False
        if self._reusable and response.isclosed() and not response.length and self._connection.sock is not None:
            connection, self._connection = self._connection, None
            self._host.give_back(connection)
        else:
            self.hang_up()

    def hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._response.close()
            self._host.let_go(connection)
