"""A reverse proxy for tests: TLS and logins before a registry that has neither, and lines that break."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable

from tests.support.loopback import LoopbackServer, QuietHandler

_CHUNK = 2**16
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "date", "server"})

Gate = Callable[[str, str, str], str]
"""Given method, path and Authorization: an empty string lets the request in, else it is the challenge."""


class Gateway(LoopbackServer):
    """Start with ``with``; ``host`` leads to ``target`` (host:port).

    ``cut``: the body of the next PUT or PATCH of more than that many bytes breaks off behind them, once.
    """

    def __init__(
        self, target: str, *, tls: ssl.SSLContext | None = None, gate: Gate = lambda *_: "", cut: int = 0
    ) -> None:
        self.target = target
        self.gate = gate
        self.cut = cut
        self.requests: list[str] = []
        super().__init__(_Handler, tls=tls)


class _Handler(QuietHandler):
    def _any(self) -> None:
        gateway: Gateway = self.server.owner
        gateway.requests.append(f"{self.command} {self.path}")
        self.left = int(self.headers.get("Content-Length") or 0)
        challenge = gateway.gate(self.command, self.path, self.headers.get("Authorization", ""))
        if challenge:
            self._refuse(challenge)
            return
        far = http.client.HTTPConnection(gateway.target, timeout=30)
        try:
            if self._send_on(far):
                self._answer(far.getresponse())
        finally:
            far.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815 - the base class looks for these

    def _refuse(self, challenge: str) -> None:
        while self.left:
            self.left -= len(self.rfile.read(min(self.left, _CHUNK)))
        self.send_response(401)
        self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_on(self, far: http.client.HTTPConnection) -> bool:
        far.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP_BY_HOP | {"authorization"}:
                far.putheader(name, value)
        far.endheaders()
        cut = 0
        gateway = self.server.owner
        if gateway.cut and self.left > gateway.cut:
            cut, gateway.cut = self.left - gateway.cut, 0
        while self.left > cut:
            data = self.rfile.read(min(self.left - cut, _CHUNK))
            if not data:
                return False
            self.left -= len(data)
            far.send(data)
        if cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        return not cut

    def _answer(self, response: http.client.HTTPResponse) -> None:
        self.send_response(response.status)
        body = b"" if self.command == "HEAD" else response.read()
        for name, value in response.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(body))
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body)
