from __future__ import annotations

import functools
import hashlib
import threading
import time

import pytest
import zstandard

from bundler.fetch import RANGE, SMALL, SMALL_WINDOW, WINDOW, BlobRequest, Fetcher, libzstd_version
from loader.bundle import frames
from loader.bundle.digest import digest_of
from loader.bundle.errors import RegistryError
from loader.bundle.limits import FRAME
from tests.support.builds import MemoryImage
from tests.support.images import MadeImage
from tests.support.refusals import refused


@functools.cache
def blob(name: str, size: int) -> bytes:
    return hashlib.shake_256(name.encode()).digest(size)


def source(*blobs: bytes, **fields: object) -> MemoryImage:
    made = MadeImage((), {digest_of(data): data for data in blobs})
    return MemoryImage(made, **fields)  # type: ignore[arg-type] # the fields of MemoryImage, passed on


def request(image: MemoryImage, data: bytes, *, compress: bool = False) -> BlobRequest:
    return BlobRequest(image, digest_of(data), len(data), compress)


def fetched(requests: list[BlobRequest], jobs: int = 3) -> list[bytes]:
    with Fetcher(requests, jobs=jobs) as fetcher:
        return [b"".join(bytes(chunk.content) for chunk in chunks) for _, chunks in fetcher.blobs()]


SIZES = [0, 1, FRAME - 1, FRAME, FRAME + 1, RANGE, RANGE + 1]


@pytest.mark.parametrize("jobs", [1, 3, 12, 100])
def test_blobs_of_every_size_come_whole_and_in_order(jobs: int) -> None:
    blobs = [blob(str(size), size) for size in SIZES]
    image = source(*blobs)
    assert [digest_of(got) for got in fetched([request(image, data) for data in blobs], jobs)] == [
        digest_of(data) for data in blobs
    ]


def test_a_blob_is_read_once_in_ranges_that_join() -> None:
    data = blob("x", 2 * RANGE + 5)
    image = source(data)
    fetched([request(image, data)])
    ranges = sorted((start, length) for _, start, length in image.read)
    assert [start for start, _ in ranges] == [0, *(start + length for start, length in ranges)][:-1]
    assert sum(length for _, length in ranges) == len(data)
    assert max(length for _, length in ranges) <= RANGE


def test_a_chunk_is_one_frame() -> None:
    data = blob("x", RANGE + FRAME + 9)
    with Fetcher([request(source(data), data)], jobs=2) as fetcher:
        sizes = [len(chunk.content) for _, chunks in fetcher.blobs() for chunk in chunks]
    assert sizes == [FRAME] * (RANGE // FRAME + 1) + [9]


def test_bodies_that_come_in_drops_fill_their_chunks() -> None:
    data = blob("x", 3000)
    assert fetched([request(source(data, step=7), data)]) == [data]


def test_a_compressed_chunk_is_a_frame_of_the_allowed_form() -> None:
    data = b"abc" * FRAME
    with Fetcher([request(source(data), data, compress=True)], jobs=2) as fetcher:
        for _, chunks in fetcher.blobs():
            for chunk in chunks:
                assert chunk.frame is not None
                frames.check_zstd_frame(memoryview(chunk.frame), len(chunk.content))
                assert zstandard.ZstdDecompressor().decompress(chunk.frame) == bytes(chunk.content)


def test_the_same_input_gives_the_same_frames() -> None:
    data = b"abcdefgh" * (FRAME // 4)

    def run(jobs: int) -> list[bytes]:
        with Fetcher([request(source(data), data, compress=True)], jobs=jobs) as fetcher:
            return [chunk.frame or b"" for _, chunks in fetcher.blobs() for chunk in chunks]

    assert run(1) == run(3)


def test_later_blobs_are_fetched_while_the_first_is_waited_for() -> None:
    first, second = blob("first", 1000), blob("second", 1000)
    other_came = threading.Event()

    def before(digest: str) -> None:
        if digest == digest_of(first):
            assert other_came.wait(10)
        else:
            other_came.set()

    image = source(first, second, before=before)
    assert fetched([request(image, first), request(image, second)], jobs=2) == [first, second]


def test_a_slow_blob_does_not_stop_hundreds_of_small_ones() -> None:
    blobs = [blob(str(number), 1000) for number in range(300)]
    others_came = threading.Event()

    def before(digest: str) -> None:
        if digest == digest_of(blobs[0]):
            assert others_came.wait(30)
        elif digest == digest_of(blobs[-1]):
            others_came.set()

    image = source(*blobs, before=before)
    assert fetched([request(image, data) for data in blobs]) == blobs


@pytest.mark.parametrize(("size", "ahead"), [(FRAME, WINDOW), (SMALL + 1, WINDOW), (SMALL, SMALL_WINDOW // SMALL)])
def test_no_more_is_fetched_ahead_than_the_window_holds(size: int, ahead: int) -> None:
    blobs = [blob(str(number), size) for number in range(ahead + 6)]
    image = source(*blobs)
    with Fetcher([request(image, data) for data in blobs], jobs=4) as fetcher:
        taken = fetcher.blobs()
        _, chunks = next(taken)
        next(chunks)
        deadline = time.monotonic() + 5
        while len(image.read) < ahead and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(image.read) == ahead
        assert list(chunks) == []
        for _, rest in taken:
            assert len(list(rest)) == 1
    assert len(image.read) == len(blobs)


def failing(digest: str) -> None:
    raise RegistryError(f"GET {digest}", status=500, why="internal error", retryable=True)


@pytest.mark.parametrize("jobs", [1, 3, 16])
def test_a_source_without_ranges_sends_each_blob_once(jobs: int) -> None:
    blobs = [blob("small", 5), blob("large", WINDOW * FRAME + RANGE + 1), blob("other", 3 * RANGE), blob("last", FRAME)]
    image = source(*blobs, ranges=False)
    assert [digest_of(got) for got in fetched([request(image, data) for data in blobs], jobs)] == [
        digest_of(data) for data in blobs
    ]
    assert [(digest, start) for digest, start, _ in sorted(image.read)] == sorted(
        (digest_of(data), 0) for data in blobs
    )


def test_a_source_without_ranges_stays_in_the_window_too() -> None:
    data, held, going = blob("large", WINDOW * FRAME + RANGE + 1), [], threading.Event()
    first = blob("first", FRAME)
    image, slow = source(data, ranges=False), source(first, before=lambda _: held.append(going.wait(30)))
    with Fetcher([request(slow, first), request(image, data)], jobs=2) as fetcher:
        until = time.monotonic() + 30
        while sum(len(part.ready) for part in list(fetcher._begun)) < WINDOW - 1 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.1)
        most = sum(len(part.ready) for part in fetcher._begun)
        going.set()
        got = [b"".join(bytes(chunk.content) for chunk in chunks) for _, chunks in fetcher.blobs()]
    # The first blob's buffer is claimed, all others are full.
    assert most == WINDOW - 1
    assert got == [first, data]


@pytest.mark.parametrize("number", range(4))
def test_an_error_in_any_worker_reaches_the_reader(number: int) -> None:
    blobs = [blob(str(n), 1000) for n in range(4)]
    image = source(*blobs, before=lambda digest: failing(digest) if digest == digest_of(blobs[number]) else None)
    with refused(RegistryError, digest_of(blobs[number]), "internal error"):
        fetched([request(image, data) for data in blobs])


def test_a_bug_in_a_source_reaches_the_reader_too() -> None:
    def before(_: str) -> None:
        raise ValueError("a bug")

    data = blob("x", 10)
    with pytest.raises(ValueError, match="a bug"):
        fetched([request(source(data, before=before), data)])


def test_a_blob_that_is_too_short() -> None:
    data = blob("x", 1000)
    image = source(data, spoil=lambda _, whole: whole[:-1])
    with refused(RegistryError, digest_of(data), "too short"):
        fetched([request(image, data)])


def test_a_reader_that_stops_early_stops_the_workers() -> None:
    blobs = [blob(str(number), FRAME) for number in range(2 * WINDOW)]
    image = source(*blobs)
    with Fetcher([request(image, data) for data in blobs], jobs=3) as fetcher:
        _, chunks = next(fetcher.blobs())
        next(chunks)
    assert len(image.read) <= WINDOW + 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-")]


def test_the_library_that_compresses_is_named() -> None:
    assert libzstd_version().count(".") == 2
