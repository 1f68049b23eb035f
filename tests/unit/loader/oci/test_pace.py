from __future__ import annotations

import pytest

from loader.oci.pace import Pace
from tests.support.clients import FakeTime


def make() -> tuple[Pace, FakeTime]:
    time = FakeTime()
    return Pace(clock=time.clock, sleep=time.sleep), time


def asked(pace: Pace, status: int, times: int = 1) -> None:
    for _ in range(times):
        pace.told(pace.turn(), status)


def test_nobody_waits_before_something_was_refused() -> None:
    pace, time = make()
    asked(pace, 200, times=50)
    assert time.slept == []


@pytest.mark.parametrize("status", [429, 503])
def test_each_refusal_doubles_the_gap_up_to_a_second(status: int) -> None:
    pace, time = make()
    asked(pace, status, times=9)
    assert time.slept == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0, 1.0])


def test_refusals_of_what_was_under_way_together_count_once() -> None:
    pace, time = make()
    asked(pace, 429)
    turns = [pace.turn() for _ in range(8)]
    time.slept.clear()
    for turn in turns:
        pace.told(turn, 429)
    pace.turn()
    assert time.slept == pytest.approx([0.04])


def test_answers_in_a_row_narrow_the_gap_until_there_is_none() -> None:
    pace, time = make()
    asked(pace, 429, times=2)
    asked(pace, 200, times=40)
    time.slept.clear()
    asked(pace, 200, times=50)
    assert time.slept == []


def test_other_errors_are_no_word_about_the_number_of_requests() -> None:
    pace, time = make()
    asked(pace, 500, times=5)
    assert time.slept == []
