from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from loader.bundle.errors import ClusterError
from loader.cluster.apply import apply_plan
from loader.cluster.kubectl import Kubectl
from loader.cluster.prepare import prepare
from loader.cluster.process import Finished
from loader.cluster.retry import Retry
from loader.cluster.waits import Patience
from tests.unit.loader.cluster import makers
from tests.unit.loader.cluster.fakecluster import FakeCluster
from tests.unit.loader.cluster.states import NoClock

GONE = ClusterError("reading failed", why="connection refused", retryable=True)


class Flaky:
    """A cluster that does not answer every first call of ``verb``; with ``done`` it carried it out all the same."""

    def __init__(self, cluster: FakeCluster, verb: str, *, done: bool) -> None:
        self._cluster = cluster
        self._verb = verb
        self._done = done
        self._seen: set[tuple[str, ...]] = set()

    def __call__(self, argv: Sequence[str], *, stdin: bytes, timeout: float) -> Finished:
        first = tuple(argv) not in self._seen
        self._seen.add(tuple(argv))
        if self._verb in argv and first:
            if self._done:
                self._cluster(argv, stdin=stdin, timeout=timeout)
            return Finished(1, b"", b"The connection to the server api.site7:6443 was refused")
        return self._cluster(argv, stdin=stdin, timeout=timeout)


def test_a_server_that_comes_back_is_asked_again() -> None:
    notes: list[str] = []
    answers: Iterator[ClusterError | str] = iter([GONE, GONE, "there"])

    def request() -> str:
        answer = next(answers)
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    clock = NoClock()
    retry = Retry(Patience(clock, note=notes.append))
    assert retry(request) == "there"
    assert (retry.met, clock.naps) == (2, [1.0, 1.5])
    assert "connection refused" in notes[0]


@pytest.mark.parametrize(
    ("error", "limit", "least", "most"),
    [
        (GONE, None, 100.0, 120.0),
        (GONE, 5.0, 1.0, 5.0),
        (GONE, 900.0, 100.0, 120.0),
        (ClusterError("forbidden"), None, 0.0, 0.0),
    ],
)
def test_a_server_that_stays_away_is_an_error(
    error: ClusterError, limit: float | None, least: float, most: float
) -> None:
    clock = NoClock()

    def request() -> None:
        raise error

    with pytest.raises(ClusterError) as caught:
        Retry(Patience(clock, limit))(request)
    assert caught.value is error
    assert least <= clock.seconds <= most


@pytest.mark.parametrize("verb", ["create", "patch", "apply"])
@pytest.mark.parametrize("done", [True, False])
def test_every_write_is_made_once_whether_or_not_its_answer_was_lost(verb: str, done: bool) -> None:
    installed = (makers.deployment(), makers.config_map(), makers.ceph_cluster())
    cluster = FakeCluster(*installed)
    extra = makers.config_map(a="b")
    extra["metadata"]["name"] = "applied"
    _, plan = prepare(cluster.kubectl(), [*makers.article(), makers.manifests(extra)])
    oc = Kubectl("oc", Flaky(cluster, verb, done=done))
    told = apply_plan(oc, plan, patience=Patience(NoClock()))
    assert [applied.action for applied in told] == ["create", "skip", "patch", "patch", "patch", "create"]
    assert all(applied.version_after for applied in told if applied.action != "skip")
    _, again = prepare(cluster.kubectl(), makers.article())
    assert again.writes == ()
