from __future__ import annotations

from collections.abc import Iterator

import pytest

from loader.bundle.errors import ClusterError, Pending
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import Key
from loader.cluster.process import Finished
from loader.cluster.waits import DONE, FAILED, FAILING, PAUSED, WAITING, Found, Patience, Verdict, Waited, await_done
from tests.unit.loader.cluster.states import NoClock

NOBODY = Kubectl("oc", lambda argv, *, stdin, timeout: Finished(0, b"", b""))


class Script:
    """Gives one verdict after the other, the last for ever; an error among them is raised."""

    name = "thing"
    document = "documents/x.json"
    keys: tuple[Key, ...] = ()

    def __init__(self, *said: Verdict | ClusterError, limit: float = 600.0) -> None:
        self._said: Iterator[Verdict | ClusterError] = iter(said)
        self._last = said[-1]
        self._limit = limit
        self.looks = 0

    def limit(self) -> float:
        return self._limit

    def look(self, kubectl: Kubectl, found: Found, waited: float, /) -> Verdict:
        self.looks += 1
        said = next(self._said, self._last)
        if isinstance(said, ClusterError):
            raise said
        return said


def wait(*said: Verdict | ClusterError, limit: float | None = None) -> tuple[NoClock, list[str], list[Waited]]:
    clock, notes, ended = NoClock(), [], []  # type: ignore[var-annotated]
    await_done(Script(*said), NOBODY, Patience(clock, limit, notes.append, ended.append))
    return clock, notes, ended


def test_what_is_done_is_not_waited_for() -> None:
    clock, notes, ended = wait(Verdict(DONE, "there"))
    assert clock.naps == []
    assert notes == []
    assert ended == [Waited("thing", "documents/x.json", 0.0, DONE, "there")]


def test_looks_get_rarer_and_each_state_is_told_once() -> None:
    one, two = Verdict(WAITING, "1 of 2"), Verdict(WAITING, "2 of 2")
    clock, notes, ended = wait(*[one] * 5, *[two] * 5, Verdict(DONE, "all"))
    assert clock.naps[0] == 1.0
    assert clock.naps == sorted(clock.naps)
    assert max(clock.naps) == 10.0
    assert notes == ["thing: 1 of 2", "thing: 2 of 2"]
    assert ended[0].seconds == sum(clock.naps)


def test_an_api_server_that_goes_away_is_waited_for() -> None:
    gone = ClusterError("reading failed", why="connection refused", retryable=True)
    _, notes, ended = wait(Verdict(WAITING, "1 of 2"), gone, gone, Verdict(DONE, "all"))
    assert "does not answer (connection refused)" in notes[1]
    assert ended[0].state == DONE


def test_an_api_server_that_came_back_may_refuse_for_a_while() -> None:
    refused = ClusterError("reading failed", why="Unauthorized")
    _, notes, ended = wait(Verdict(WAITING, "1 of 2"), refused, refused, Verdict(DONE, "all"))
    assert "refuses (Unauthorized)" in notes[1]
    assert ended[0].state == DONE
    with pytest.raises(ClusterError, match="thing failed") as caught:
        wait(Verdict(WAITING, "1 of 2"), refused)
    assert "Unauthorized" in caught.value.why
    assert not isinstance(caught.value, Pending)


def test_any_other_error_ends_the_wait() -> None:
    with pytest.raises(ClusterError, match="not allowed") as caught:
        wait(ClusterError("not allowed"))
    assert not isinstance(caught.value, Pending)


@pytest.mark.parametrize(
    ("verdict", "kind", "after"),
    [
        (Verdict(FAILED, "it broke", "mend it"), ClusterError, 0.0),
        (Verdict(PAUSED, "it is paused", "unpause it"), Pending, 0.0),
        (Verdict(FAILING, "it fails", "mend it"), ClusterError, 120.0),
        (Verdict(WAITING, "1 of 2", "look"), Pending, 600.0),
    ],
)
def test_how_a_wait_is_given_up(verdict: Verdict, kind: type[ClusterError], after: float) -> None:
    clock, ended = NoClock(), []  # type: ignore[var-annotated]
    with pytest.raises(ClusterError) as caught:
        await_done(Script(verdict), NOBODY, Patience(clock, ended=ended.append))
    assert type(caught.value) is kind
    assert caught.value.why == verdict.text
    assert verdict.hint in caught.value.hint
    assert after <= clock.seconds <= after + 10
    assert ended[0].text == verdict.text


def test_what_fails_for_a_moment_only_is_no_failure() -> None:
    bad, good = Verdict(FAILING, "conflict"), Verdict(WAITING, "1 of 2")
    clock, _, ended = wait(*([bad] * 10 + [good]) * 3, Verdict(DONE, "all"))
    assert clock.seconds > 240
    assert ended[0].state == DONE


def test_what_still_fails_when_its_time_is_up_has_failed() -> None:
    clock = NoClock()
    script = Script(Verdict(WAITING, "1 of 2"), Verdict(FAILING, "node w1: disk full"))
    with pytest.raises(ClusterError, match="failed") as caught:
        await_done(script, NOBODY, Patience(clock, 5))
    assert not isinstance(caught.value, Pending)
    assert "disk full" in caught.value.why


def test_a_limit_given_by_a_person_wins() -> None:
    with pytest.raises(Pending, match="after 5 s"):
        wait(Verdict(WAITING, "1 of 2"), limit=5)


def test_ctrl_c_is_told_to_the_report() -> None:
    ended: list[Waited] = []

    class Stopped(NoClock):
        def sleep(self, seconds: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await_done(Script(Verdict(WAITING, "1 of 2")), NOBODY, Patience(Stopped(), ended=ended.append))
    assert [(waited.state, waited.text) for waited in ended] == [("interrupted", "1 of 2")]
