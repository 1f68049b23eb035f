from __future__ import annotations

import pytest

from loader.oci.retry import RetryPolicy
from tests.support.clients import FakeTime


def policy(time: FakeTime, dice: float = 1.0) -> RetryPolicy:
    return RetryPolicy(sleep=time.sleep, random=lambda: dice, now=time.clock, attempts=4, first=1.0, longest=3.0)


def test_pauses_double_up_to_the_longest_and_attempts_end() -> None:
    time = FakeTime()
    backoff = policy(time).start()
    assert [backoff.wait() for _ in range(4)] == [True, True, True, False]
    assert time.slept == [1.0, 2.0, 3.0]


def test_half_of_a_pause_is_jitter() -> None:
    time = FakeTime()
    policy(time, dice=0.0).start().wait()
    assert time.slept == [0.5]


def test_progress_starts_over() -> None:
    time = FakeTime()
    backoff = policy(time).start()
    for _ in range(10):
        assert backoff.wait()
        backoff.progress()
    assert time.slept == [1.0] * 10


@pytest.mark.parametrize(
    ("header", "slept"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("121", 120.0),
        ("360", 120.0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1.0),
        ("soon", 1.0),
        ("-5", 1.0),
        ("9" * 400, 1.0),
    ],
)
def test_retry_after_is_honoured_within_bounds(header: str, slept: float) -> None:
    time = FakeTime(now=1000.0)
    policy(time).start().wait(header)
    assert time.slept == [slept]


@pytest.mark.parametrize("header", ["361", "21600", "Thu, 01 Jan 1970 06:00:00 GMT"])
def test_nobody_waits_for_a_pause_that_never_fits(header: str) -> None:
    time = FakeTime(now=1000.0)
    assert not policy(time).start().wait(header)
    assert time.slept == []
