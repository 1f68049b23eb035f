"""The registry on a socket: one thread a connection, blobs sent frame by frame as they are checked."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Optional

from loader import __version__
from loader.bundle.errors import AirgapError, ConfigError
from loader.distribution.answers import Answer, Request, answer, refusal
from loader.distribution.catalogue import Catalogue
from loader.distribution.lanes import Lanes, send

MAX_CONNECTIONS = 256
_IDLE = 75  # seconds that a connection may be silent
_HANDSHAKE = 10
_DRAINED = 2**20
_LINGER = 2


@dataclass(frozen=True)
class Listen:
    """Where to listen; port 0 is any free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """Parse ``HOST:PORT``, ``[V6]:PORT`` or ``:PORT`` (every address); ``ConfigError`` for anything else."""
        host, colon, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        ok = colon and port.isascii() and port.isdigit() and len(port) < 6 and int(port) < 65536
        if not ok or (":" in bare and bare == host) or "/" in text:
            raise ConfigError(
                f"--listen {text[:80]} is no address", why="it is HOST:PORT", hint="for example --listen 127.0.0.1:5000"
            )
        return cls(bare, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass
class Traffic:
    """What was asked and sent so far; ``broken`` are transfers that were given up for a wrong byte."""

    requests: int = 0
    sent: int = 0
    broken: int = 0


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A bound address that listens once ``serve`` is called. ``AirgapError`` where it can't be bound.

    ``trace`` gets a line per request, ``note`` one per transfer that was given up.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        listen: Listen,
        context: Optional[ssl.SSLContext],
        *,
        trace: Callable[[str], None],
        note: Callable[[str, str], None],
    ) -> None:
        self.context = context
        self.trace = trace
        self.note = note
        self.traffic = Traffic()
        self.lock = threading.Lock()
        self.lanes = Lanes()
        self.catalogue: Optional[Catalogue] = None
        self._connections = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._open: set[socket.socket] = set()
        self._asked = listen
        with self._told():
            found = socket.getaddrinfo(
                listen.host or None, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            self.address_family = found[0][0]
            super().__init__((str(found[0][4][0]), listen.port), _Handler, bind_and_activate=False)
            try:
                self.server_bind()
            except OSError:
                self.server_close()
                raise

    @property
    def listen(self) -> Listen:
        """Where it listens, with the port that a 0 became."""
        return Listen(self._asked.host, int(self.server_address[1]))

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise AirgapError(
                f"cannot listen on {self._asked}",
                why=error.strerror or str(error),
                hint="--listen HOST:PORT names another address; what uses a port: ss -ltnp",
            ) from error

    def serve(self, catalogue: Catalogue, on_ready: Callable[[], None]) -> None:
        """Answer until interrupted; connections that are open then are cut."""
        self.catalogue = catalogue
        with self._told():
            self.server_activate()
        on_ready()
        try:
            self.serve_forever()
        finally:
            self.server_close()
            with self.lock:
                for connection in self._open:
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread; more than ``MAX_CONNECTIONS`` wait in the kernel's queue."""
        self._connections.acquire()
        with self.lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, in the thread that served it."""
        with self.lock:
            known = request in self._open
            self._open.discard(request)
        super().shutdown_request(request)
        if known:
            self._connections.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection; the TLS handshake is done here, where a client that is slow at it stops nobody else."""
        if self.context is None:
            _Handler(request, client_address, self)
            return
        request.settimeout(_HANDSHAKE)
        with self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=True) as wrapped:
            _Handler(wrapped, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of a connection that broke; it is the client's to try again."""
        self.trace(f"{client_address[0]} connection broke: {sys.exc_info()[1]}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # what is no request is answered with headers too
    server_version = f"airgap-loader/{__version__}"
    disable_nagle_algorithm = True
    timeout = _IDLE
    server: Server

    def _any(self) -> None:
        started = time.monotonic()
        catalogue = self.server.catalogue
        if catalogue is None:
            raise RuntimeError("a connection before there is anything to serve")
        headers = {name.lower(): value for name, value in self.headers.items()}
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        self.close_connection = self.close_connection or has_body
        try:
            found = answer(Request(self.command, _target(self.path), headers), catalogue)
            self._send(found, catalogue)
        except AirgapError as error:
            self._give_up(error)
            found = Answer(500)
        self._count(found, started)
        if has_body:
            self._drain()

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = do_OPTIONS = _any  # noqa: N815 - the base's names

    def _send(self, found: Answer, catalogue: Catalogue) -> None:
        part = found.blob
        if part is None or self.command == "HEAD" or not found.length:
            self._head(found)
            if self.command != "HEAD" and found.body:
                self.connection.sendall(found.body)
            return
        with self.server.lanes.place() as step_aside:
            blocks = catalogue.open_blob(part.digest, part.start, part.stop)
            # The first frame is checked before a word is said: what is wrong there can still be told.
            first = next(blocks)
            self._head(found)
            send(self.connection, first, step_aside)
            for block in blocks:
                send(self.connection, block, step_aside)

    def _head(self, found: Answer) -> None:
        self._started = True
        self.send_response(found.status)
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        for name, value in found.headers.items():
            self.send_header(name, value)
        if found.status != 304:
            self.send_header("Content-Length", str(found.length))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    _started = False

    def _give_up(self, error: AirgapError) -> None:
        """End the connection: what was promised and not sent shows the client that it has not all of it."""
        with self.server.lock:
            self.server.traffic.broken += 1
        self.server.note("error", f"{self.path} given up: {error}")
        self.close_connection = True
        if not self._started:
            self._send_body(refusal(500, "UNKNOWN", str(error)))

    def _send_body(self, found: Answer) -> None:
        self._head(found)
        if self.command != "HEAD":
            self.connection.sendall(found.body)

    def _count(self, found: Answer, started: float) -> None:
        sent = found.length if self.command != "HEAD" else 0
        with self.server.lock:
            self.server.traffic.requests += 1
            self.server.traffic.sent += sent
        took = time.monotonic() - started
        self.server.trace(f"{self.client_address[0]} {self.command} {self.path} {found.status} {sent} {took:.3f} s")
        self._started = False

    def _drain(self) -> None:
        """Read what a client sends that should not: closed at once, it might never see the answer."""
        with contextlib.suppress(OSError):
            self.connection.settimeout(_LINGER)
            self.connection.shutdown(socket.SHUT_WR)
            left = _DRAINED
            while left > 0:
                data = self.connection.recv(min(left, 65536))
                if not data:
                    return
                left -= len(data)

    def handle_expect_100(self) -> bool:
        """Say nothing of going on: nothing is taken here, and the answer is the method's."""
        return True

    def send_error(self, code: int, message: Optional[str] = None, explain: Optional[str] = None) -> None:
        """Answer what is no request of HTTP, or a method that nobody knows, in the form of the spec."""
        status, word = (405, "UNSUPPORTED") if code == 501 else (code, "UNSUPPORTED")
        self.close_connection = True
        self._send_body(refusal(status, word, message or explain or "not understood", {"Allow": "GET, HEAD"}))

    def version_string(self) -> str:
        """The Server header."""
        return self.server_version

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        return


def _target(path: str) -> str:
    """The request target without scheme and host, which a client may give as it would to a proxy (RFC 9112, 3.2.2)."""
    if path.startswith("/"):
        return path
    try:
        parts = urllib.parse.urlsplit(path)
    except ValueError:
        return path
    return urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))


def tls_context(certificate: Optional[Path], key: Optional[Path]) -> Optional[ssl.SSLContext]:
    """Return what TLS needs, None without a certificate; ``ConfigError`` for files that are no pair."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ConfigError("--tls-cert F and --tls-key F go together", why="a certificate is of no use without its key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def refuse() -> str:
        raise ConfigError(
            f"{key} is encrypted",
            why="nobody is asked for a passphrase here",
            hint=f"openssl pkey -in {key} -out PLAIN.key",
        )

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"{certificate} and {key} can't be used",
            why=error.strerror or str(error),
            hint="PEM files: the certificate with its chain, and its own private key",
        ) from error
    return context
