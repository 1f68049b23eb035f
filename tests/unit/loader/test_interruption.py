"""A signal's news for threads: sleeps end, and whoever holds a line is told."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from loader import interruption


class Holder:
    """Somebody with a line to let go of."""

    def __init__(self) -> None:
        self.told = threading.Event()

    def hang_up(self) -> None:
        self.told.set()


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(number, lambda *_: None) for number in numbers]
    yield
    for number, handler in zip(numbers, before):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_signals_end_sleeps_and_tell_who_listens(number: int) -> None:
    holder, slept = Holder(), []
    interruption.tell(holder.hang_up)
    sleeper = threading.Thread(target=lambda: slept.append(interruption.sleep(60)))
    with interruption.heard():
        sleeper.start()
        os.kill(os.getpid(), number)
        assert holder.told.wait(10)
        sleeper.join(10)
    assert slept == [True]


def test_another_signal_ends_nothing() -> None:
    with interruption.heard():
        os.kill(os.getpid(), signal.SIGUSR1)
        assert not interruption.sleep(0.05)


def test_each_run_begins_anew() -> None:
    with interruption.heard():
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.sleep(10)
    with interruption.heard():
        assert not interruption.sleep(0.01)


def test_nobody_is_kept_for_being_told() -> None:
    holder, other = Holder(), Holder()
    interruption.tell(holder.hang_up)
    interruption.tell(other.hang_up)
    del holder
    with interruption.heard():
        os.kill(os.getpid(), signal.SIGTERM)
        assert other.told.wait(10)
