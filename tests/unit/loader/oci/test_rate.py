from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from loader.bundle.errors import ConfigError
from loader.oci.messages import Upload
from loader.oci.rate import RateLimit, parse_rate
from tests.support.clients import Client, FakeTime
from tests.support.registry import RegistryServer
from tests.unit.loader.oci.test_registry_push import DATA, DIGEST, Body


@pytest.mark.parametrize(
    ("text", "rate"),
    [("1", 1), ("2000", 2000), ("500k", 512_000), ("500K", 512_000), ("10M", 10 * 2**20), ("1g", 2**30)],
)
def test_rates_are_read_as_curl_reads_them(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "0k", "-5", "1.5M", "10MB", "k", " 1", "1 ", "\u0661", "9" * 99, "1\n"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a rate"):
        parse_rate(text)


def make(rate: int) -> tuple[RateLimit, FakeTime]:
    time = FakeTime()
    return RateLimit(rate, clock=time.clock, sleep=time.sleep), time


def test_bytes_take_their_time() -> None:
    limit, time = make(1000)
    for _ in range(10):
        limit.take(100)
    assert time.now == pytest.approx(1001.0)


def test_time_spent_elsewhere_counts_up_to_a_burst() -> None:
    limit, time = make(1000)
    time.now += 0.1
    limit.take(100)
    assert time.slept == []
    time.now += 3600
    limit.take(250)
    assert time.slept == []
    limit.take(500)
    assert time.slept == [pytest.approx(0.5)]


def test_takers_at_the_same_moment_queue_up() -> None:
    slept: list[float] = []
    limit = RateLimit(1000, clock=lambda: 5.0, sleep=slept.append)
    for _ in range(3):
        limit.take(500)
    assert slept == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(("rate", "size"), [(1, 1), (800, 100), (2**20, 2**16), (2**33, 2**16)])
def test_slices_are_small_enough_for_every_watchdog(rate: int, size: int) -> None:
    limit, time = make(rate)
    assert limit.slice == size

    @contextlib.contextmanager
    def body() -> Iterator[Iterator[memoryview]]:
        yield iter([memoryview(bytes(2 * size + 1)), memoryview(b""), memoryview(b"x")])

    with limit.paced(Upload(2 * size + 2, body)).open() as chunks:
        assert [len(chunk) for chunk in chunks] == [size, size, 1, 1]
    assert max(time.slept) <= 2.0


def test_both_directions_of_a_client_are_limited_together(server: RegistryServer, client: Client) -> None:
    client.limit, time = make(2**20)
    with client.to(server) as registry:
        registry.upload_blob("a", DIGEST, len(DATA), Body())
        assert time.now - 1000 == pytest.approx(len(DATA) / 2**20)
        with registry.open_blob("a", DIGEST, len(DATA)) as stream:
            buffer = memoryview(bytearray(len(DATA)))
            left = buffer
            while left:
                left = left[stream.readinto(left) :]
    assert bytes(buffer) == DATA
    assert time.now - 1000 == pytest.approx(2 * len(DATA) / 2**20)
