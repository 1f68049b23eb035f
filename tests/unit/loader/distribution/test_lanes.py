from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from loader.distribution import lanes
from loader.distribution.lanes import QUICK, Lanes, send


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, socket.socket]]:
    monkeypatch.setattr(lanes, "_PATIENCE", 0.05)
    monkeypatch.setattr(lanes, "_IDLE", 0.5)
    with ExitStack() as stack:
        ours, theirs = socket.socketpair()
        yield stack.enter_context(ours), stack.enter_context(theirs)


def test_a_client_that_takes_nothing_steps_aside_and_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    aside: list[bool] = []
    with pytest.raises(OSError, match="timed out"):
        send(pair[0], memoryview(bytes(2**23)), lambda: aside.append(True))
    assert aside


def test_a_slow_client_gets_everything(pair: tuple[socket.socket, socket.socket]) -> None:
    aside: list[bool] = []
    data = bytes(range(256)) * 2**13
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    got = bytearray()

    def take() -> None:
        resting = threading.Event()
        while len(got) < len(data):
            got.extend(pair[1].recv(2**16))
            resting.wait(0.02)

    reader = threading.Thread(target=take)
    reader.start()
    send(pair[0], memoryview(data), lambda: aside.append(True))
    reader.join(20)
    assert got == data
    assert aside  # it took longer than the patience, and no pause was as long as the limit


def test_a_place_is_free_again_once_somebody_stepped_aside() -> None:
    places = Lanes()
    with ExitStack() as stack:
        step_aside, *_ = [stack.enter_context(places.place()) for _ in range(QUICK)]
        came = threading.Event()

        def come() -> None:
            with places.place():
                came.set()

        late = threading.Thread(target=come)
        late.start()
        assert not came.wait(0.1)
        step_aside()
        step_aside()  # once more changes nothing
        assert came.wait(20)
        late.join(20)
    with ExitStack() as stack:
        for _ in range(QUICK):
            stack.enter_context(places.place())
