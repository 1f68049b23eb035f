"""A server that answers each request on each connection with the bytes it was told, whatever HTTP makes of them."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Sequence


class Wire:
    """Start with ``with``; ``answers[i]`` are what the i-th connection is told, one after each request, then it ends.

    ``heads``: the heads of all requests, in order. With ``deaf`` no body is read: the answer follows the head, and
    the connection ends at once, with what was sent unread.
    """

    def __init__(self, *answers: Sequence[bytes], deaf: bool = False) -> None:
        self.heads: list[str] = []
        self._answers = answers
        self._deaf = deaf
        self._ended = threading.Semaphore(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Wire:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes the thread where it still waits for a connection.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=10)

    def wait_for_end(self) -> None:
        """Wait until one more connection was closed by this side."""
        assert self._ended.acquire(timeout=10)

    def _run(self) -> None:
        for answers in self._answers:
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    self._talk(connection, answers)
                self._ended.release()

    def _talk(self, connection: socket.socket, answers: Sequence[bytes]) -> None:
        stream = connection.makefile("rb")
        for answer in answers:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = stream.readline()
                if not line:
                    return
                head += line
            self.heads.append(head.decode("latin-1"))
            if not self._deaf:
                stream.read(_length(head))
            connection.sendall(answer)
        stream.close()
        if self._deaf:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))


def _length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.lower().splitlines())
    return next((int(value) for name, _, value in lines if name == b"content-length"), 0)
