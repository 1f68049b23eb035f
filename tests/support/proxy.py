"""A forward proxy for tests: plain requests and CONNECT, with a login if wanted. Every name leads to one place."""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class ForwardProxy:
    """Start with ``with``. Whatever host is asked for, ``target`` (host:port) gets the connection."""

    def __init__(self, target: str, login: str = "") -> None:
        self.target = target
        self.login = login
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.proxy = self  # type: ignore[attr-defined] # how a handler finds us
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> ForwardProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        return

    def do_GET(self) -> None:
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

    def do_CONNECT(self) -> None:
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
        return self.server.proxy  # type: ignore[attr-defined] # set above

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
