"""A line to a server that can be cut and mended: what a node's restart does to its API server."""

from __future__ import annotations

import contextlib
import select
import socket
import threading


class TcpLine:
    """Start with ``with``; ``port`` leads to ``target`` (host, port) until ``cut``, and again after ``mend``.

    While it is cut nothing listens and open connections are closed: clients are refused, as with a server that is down.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> TcpLine:
        self._start(self._accept, self._listener)
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Refuse new connections and close those that are open."""
        # A thread blocked in accept keeps a socket listening; shutting it down wakes the thread, as it does in select.
        for each in (self._listener, *tuple(self._open)):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        threads, self._threads = self._threads, []
        for thread in threads:
            thread.join()

    def mend(self) -> None:
        """Listen again at the same port."""
        self._listener = self._listen(self.port)
        self._start(self._accept, self._listener)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        return listener

    def _start(self, work: object, sock: socket.socket) -> None:
        thread = threading.Thread(target=work, args=(sock,), daemon=True)  # type: ignore[arg-type] # a bound method
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener, contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                self._open.add(near)
                self._start(self._carry, near)

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError), socket.create_connection(self.target) as far:
            other = {near: far, far: near}
            while True:
                for source in select.select([near, far], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    other[source].sendall(data)
