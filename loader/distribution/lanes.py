"""How many blobs are on their way at once, and that up to thirty who take their time stop no others."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

QUICK, SLOW = 10, 30
"""Places: each holds a frame of up to 4 MiB and has the next one read."""
_PATIENCE = 2.0
_IDLE = 75.0
"""Seconds that a client may take for what was sent before it counts as slow, and that it may take nothing at all."""
_SLICE = 256 * 2**10
"""Bytes by which it is seen that a client takes any: over TLS a write is done as a whole."""


class Lanes:
    """The places; thread-safe."""

    def __init__(self) -> None:
        self._quick = threading.BoundedSemaphore(QUICK)
        self._slow = threading.BoundedSemaphore(SLOW)

    @contextmanager
    def place(self) -> Iterator[Callable[[], None]]:
        """Wait for a place among the quick and keep it while the block lasts; what is given changes to the slow."""
        lane = self._quick
        lane.acquire()

        def step_aside() -> None:
            nonlocal lane
            if lane is self._quick and self._slow.acquire(blocking=False):
                lane.release()
                lane = self._slow

        try:
            yield step_aside
        finally:
            lane.release()


def send(connection: socket.socket, data: memoryview, step_aside: Callable[[], None]) -> None:
    """Send all of ``data`` however long that takes; ``TimeoutError`` for a client that takes nothing for a while."""
    before = connection.gettimeout()
    connection.settimeout(_PATIENCE)
    began = moved = time.monotonic()
    while data:
        try:
            data = data[connection.send(data[:_SLICE]) :]
            moved = time.monotonic()
        except socket.timeout:  # a class of its own before Python 3.10
            if time.monotonic() - moved >= _IDLE:
                raise
        if time.monotonic() - began >= _PATIENCE:
            step_aside()
    connection.settimeout(before)
