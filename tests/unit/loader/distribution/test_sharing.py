from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from loader.bundle.errors import TrustError
from loader.bundle.limits import FRAME
from loader.distribution.sharing import SharedFrames

DATA = bytes(range(256)) * (2 * FRAME // 256) + b"the last frame"


class Reads:
    """Counts what is read, and stops in the middle of it while ``gate`` is closed."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.wrong = False

    def __call__(self, digest: str, start: int, stop: int) -> Iterator[memoryview]:
        self.asked.append((start, stop))
        assert self.gate.wait(20)
        if self.wrong:
            raise TrustError(f"{digest} changed")
        buffer = bytearray(FRAME // 2)
        for place in range(start, stop, len(buffer)):
            block = DATA[place : min(place + len(buffer), stop)]
            buffer[: len(block)] = block
            yield memoryview(buffer)[: len(block)]


def part(shared: SharedFrames, start: int = 0, stop: int = len(DATA)) -> bytes:
    return b"".join(map(bytes, shared.part("sha256:x", start, stop, len(DATA))))


@pytest.mark.parametrize(
    ("start", "stop", "frames"),
    [
        (0, len(DATA), [0, 1, 2]),
        (FRAME - 1, FRAME + 1, [0, 1]),
        (FRAME, FRAME + 1, [1]),
        (2 * FRAME + 3, len(DATA), [2]),
    ],
)
def test_a_part_is_read_by_whole_frames(start: int, stop: int, frames: list[int]) -> None:
    reads = Reads()
    assert part(SharedFrames(reads), start, stop) == DATA[start:stop]
    assert sorted(reads.asked) == [(frame * FRAME, min((frame + 1) * FRAME, len(DATA))) for frame in frames]


def test_clients_at_once_share_a_reading() -> None:
    reads = Reads()
    reads.gate.clear()
    shared = SharedFrames(reads)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(part(shared))) for _ in range(4)]
    for thread in threads:
        thread.start()
    reads.gate.set()
    for thread in threads:
        thread.join()
    assert found == [DATA] * 4
    assert len(reads.asked) == 3


def test_no_more_frames_are_kept_than_said() -> None:
    reads = Reads()
    shared = SharedFrames(reads, kept=1)
    for _ in range(2):
        assert part(shared) == DATA
    assert len(reads.asked) == 6


def test_what_went_wrong_is_wrong_for_all_who_wait_and_asked_again_by_the_next() -> None:
    reads = Reads()
    reads.wrong = True
    reads.gate.clear()
    shared = SharedFrames(reads)
    failed: list[str] = []

    def client() -> None:
        with pytest.raises(TrustError) as caught:
            part(shared)
        failed.append(str(caught.value))

    threads = [threading.Thread(target=client) for _ in range(3)]
    for thread in threads:
        thread.start()
    reads.gate.set()
    for thread in threads:
        thread.join()
    assert failed == ["sha256:x changed"] * 3
    reads.wrong = False
    assert part(shared) == DATA


def test_memory_that_is_used_again_is_nobodys_who_still_sends() -> None:
    shared = SharedFrames(Reads(), kept=1)
    wrong: list[int] = []

    def client(number: int) -> None:
        for turn in range(6):
            start = (number * 7919 + turn * FRAME // 3) % len(DATA)
            place = start
            for block in shared.part("sha256:x", start, len(DATA), len(DATA)):
                threading.Event().wait(0.001 * (number % 3))
                if bytes(block) != DATA[place : place + len(block)]:
                    wrong.append(number)
                place += len(block)
                if (number + turn) % 4 == 0:
                    break  # a client that hangs up

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
