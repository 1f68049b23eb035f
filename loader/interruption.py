"""The end that somebody asks for by Ctrl-C or SIGTERM: what other threads wait for stops being waited for.

Only the main thread gets the ``KeyboardInterrupt``, and it has to wait for the others, who may hang in a socket or
sleep until a server is due again. A thread of its own hears of the signal too, and tells whoever holds such a line.
"""

from __future__ import annotations

import signal
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

_asked = threading.Event()
_listeners: list[weakref.WeakMethod[Callable[[], None]]] = []


def sleep(seconds: float) -> bool:
    """Sleep, and tell whether the end was asked for."""
    return _asked.wait(seconds)


def tell(listener: Callable[[], None]) -> None:
    """Have a bound method called, from another thread, once the end is asked for; its object is not kept for that."""
    _listeners.append(weakref.WeakMethod(listener))


@contextmanager
def heard() -> Iterator[None]:
    """Listen for both signals while the block runs; what they raise in the main thread is the caller's to set.

    For the main thread. The system writes the signals' numbers to a socket (``signal.set_wakeup_fd``): a handler that
    took locks would wait for ever where it interrupts their holder.
    """
    _asked.clear()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    thread = threading.Thread(target=_listen, args=(theirs,), name="interruption", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        ours.close()
        thread.join()


def _listen(theirs: socket.socket) -> None:
    with theirs:
        while True:
            number = theirs.recv(1)
            if not number:
                return
            if number[0] in {signal.SIGINT, signal.SIGTERM}:
                _asked.set()
                for listener in tuple(_listeners):
                    told = listener()
                    if told is not None:
                        told()
