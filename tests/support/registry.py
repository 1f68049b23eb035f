"""A whole registry for tests: the distribution spec's pull and push, logins, redirects, and faults on demand.

``python -m tests.support.registry --port 0 --dir D`` runs it alone and prints its address.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.blobstore import BlobStore
from tests.support.registryhandler import Handler
from tests.support.registryrules import Fault, Rules, Seen


class RegistryServer:
    """Start with ``with``; ``host`` is ``127.0.0.1:port``.

    ``on_request`` gets the number of each request before it is answered.
    """

    def __init__(
        self,
        store: BlobStore | None = None,
        *,
        rules: Rules | None = None,
        tls: ssl.SSLContext | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._own_store = store is None
        self.store = store or BlobStore()
        self.rules = rules or Rules()
        self.faults: list[Fault] = []
        self.connections = 0
        self.requests: list[Seen] = []
        self.tokens: dict[str, tuple[float, frozenset[str]]] = {}
        self.uploads: dict[str, Path] = {}
        self.on_request: Callable[[int], None] = lambda _: None
        self.stopping = threading.Event()
        self.let_in = 0.0
        self.lock = threading.RLock()
        self.scheme = "https" if tls else "http"
        self._server = _Server(address, Handler)
        self._server.registry = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"{address[0]}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def fail(self, kind: str, **details: Any) -> Fault:
        fault = Fault(kind, **details)
        self.faults.append(fault)
        return fault

    def seen(self, method: str, pattern: str = ".*") -> list[Seen]:
        """Requests of ``method`` whose path has ``pattern``."""
        with self.lock:
            return [one for one in self.requests if one.method == method and re.search(pattern, one.path)]

    def __enter__(self) -> RegistryServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.drop_connections()
        self._server.server_close()
        if self._own_store:
            self.store.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    registry: RegistryServer

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.registry.connections += 1
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that hang up, and TLS handshakes that fail, are what tests do on purpose.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main() -> None:
    parser = argparse.ArgumentParser(description="A registry without login, for demonstrations and tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    with RegistryServer(BlobStore(options.dir), address=("127.0.0.1", options.port)) as server:
        print(server.host, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
