"""A forward proxy for tests: plain requests and CONNECT, with a login if wanted. Every name leads to one place."""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
import urllib.parse
from typing import Any

from tests.support.loopback import LoopbackServer, QuietHandler


class ForwardProxy(LoopbackServer):
    """Start with ``with``. Whatever host is asked for, ``target`` (host:port) gets the connection."""

    def __init__(self, target: str, login: str = "") -> None:
        self.target = target
        self.login = login
        self.asked: list[str] = []
        super().__init__(_Handler)


class _Handler(QuietHandler):
    def do_GET(self) -> None:  # noqa: N802 - the base class looks for it
        if not self._admitted():
            return
        parts = urllib.parse.urlsplit(self.path)
        connection = http.client.HTTPConnection(self._proxy.target)
        with contextlib.closing(connection):
            connection.request(self.command, parts._replace(scheme="", netloc="").geturl())
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def do_CONNECT(self) -> None:  # noqa: N802 - the base class looks for it
        if not self._admitted():
            return
        host, _, port = self._proxy.target.partition(":")
        with socket.create_connection((host, int(port))) as far:
            self.send_response(200)
            self.end_headers()
            self._shovel(far)
        self.close_connection = True

    @property
    def _proxy(self) -> Any:
        return self.server.owner

    def _admitted(self) -> bool:
        self._proxy.asked.append(f"{self.command} {self.path}")
        wanted = "Basic " + base64.b64encode(self._proxy.login.encode()).decode()
        if self._proxy.login and self.headers.get("Proxy-Authorization") != wanted:
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        return True

    def _shovel(self, far: socket.socket) -> None:
        pairs = {self.connection: far, far: self.connection}
        while True:
            ready, _, _ = select.select(list(pairs), [], [], 10)
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                pairs[one].sendall(data)
            if not ready:
                return
