"""Steps 6 and 7 in one pass: forward only, the end last, and nothing less than all of it makes a proof."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loader.bundle import frames
from loader.bundle.discs import adopt
from loader.bundle.errors import FormatError, TrustError
from loader.bundle.frames import Frame
from loader.bundle.limits import FRAME
from loader.bundle.verify import OnePass, VerifiedBundle, verify_head
from loader.zstd import find_decoder
from tests.support.bundles import MemorySource, Recipe, full_recipe, make_trust
from tests.support.discs import bundle_set, opened
from tests.support.refusals import refused


class Reads:
    """Where an archive was read, in order."""

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, offset: int, size: int) -> None:
        self.ranges.append((offset, size))


def start(
    recipe: Recipe, reads: Reads | None = None, told: dict[int, int] | None = None, data: bytes | None = None
) -> VerifiedBundle:
    source = MemorySource(recipe.archive() if data is None else data, on_read=reads)
    return verify_head(source, make_trust(), find_decoder(), told={} if told is None else told)


def plain_span(one: OnePass) -> int:
    """The span of the layer that is stored as zstd."""
    return next(n for n in range(one.end) if one.is_big(n) and not all(sure for _, _, sure in one.frames(n)))


def test_the_head_is_read_without_the_end_and_the_rest_forward_only() -> None:
    reads = Reads()
    bundle = start(full_recipe(), reads)
    assert max(offset + size for offset, size in reads.ranges) < bundle.size // 2
    reads.ranges.clear()
    one = OnePass(bundle)
    small: dict[str, bytes] = {}
    counted: list[int] = []
    for number in one.left:
        one.check(number, counted.append, small.__setitem__)
    ends = [offset + size for offset, size in reads.ranges]
    assert ends == sorted(ends)
    assert sum(size for _, size in reads.ranges) == bundle.size
    assert one.complete().bundle is bundle
    assert one.told.keys() == {4, 5}
    contents = {
        f"sha256:{file.sha256}" for file in bundle.manifest.files if file.size < FRAME // 4 and not file.link_to
    }
    assert small.keys() >= contents


def test_nothing_less_than_everything_makes_a_proof() -> None:
    one = OnePass(start(full_recipe()))
    for number in one.left[:-1]:
        one.check(number, lambda _: None)
    assert one.left == [one.end]
    assert one.is_left(one.end)
    with pytest.raises(RuntimeError, match="1 spans were not checked"):
        one.complete()
    with pytest.raises(RuntimeError, match="1 spans were not checked"):
        one.complete(waived=[0])
    assert one.complete(waived=[one.end])


def test_blobs_are_given_out_and_checked_by_that() -> None:
    bundle = start(full_recipe())
    one = OnePass(bundle)
    blobs = one.blobs()
    assert blobs.keys() >= {f"sha256:{file.sha256}" for file in bundle.manifest.files}
    numbers = [number for number in range(one.end + 1) if one.is_big(number)]
    assert len(numbers) == 2
    for digest, number in blobs.items():
        if number in numbers:
            assert b"".join(map(bytes, one.content(number))) == b"".join(map(bytes, bundle.open_blob(digest)))
            assert not one.is_left(number)


def test_an_earlier_runs_spans_and_sizes_are_taken_on() -> None:
    first = OnePass(start(full_recipe()))
    for number in first.left:
        first.check(number, lambda _: None)
    reads = Reads()
    bundle = start(full_recipe(), reads, dict(first.told))
    reads.ranges.clear()
    one = OnePass(bundle, known=range(first.end))
    assert one.left == [one.end]
    assert one.start(one.end) < bundle.size
    one.check(one.end, lambda _: None)
    assert min(offset for offset, _ in reads.ranges) > bundle.size // 2
    assert one.complete().bundle.id == bundle.id


def test_where_frames_end_is_sure_or_at_the_latest() -> None:
    one = OnePass(start(full_recipe()))
    number = plain_span(one)
    before = list(one.frames(number))
    assert [sure for _, _, sure in before] == [False, False]
    following = one.start(number + 1)  # found by reading
    after = list(one.frames(number))
    assert after[-1] == (following, after[-1][1], True)
    assert all(late >= end for (late, _, _), (end, _, _) in zip(before, after))
    assert [size for _, size, _ in after] == [size for _, size, _ in before]
    raw = next(n for n in range(one.end) if one.is_big(n) and n != number)
    assert all(sure for _, _, sure in one.frames(raw))


def test_the_table_may_be_consulted_where_a_frame_hides_the_next() -> None:
    one = OnePass(start(full_recipe()))
    number = plain_span(one)
    one.consult_table()
    assert all(sure for _, _, sure in one.frames(number))
    for span in one.left:
        one.check(span, lambda _: None)
    assert one.complete()


@pytest.mark.parametrize("told", [{4: 3}, {4: frames.MAX_ZSTD_FRAME + 1}])
def test_impossible_sizes_of_an_earlier_run_are_not_believed(told: dict[int, int]) -> None:
    one = OnePass(start(full_recipe(), told=told))
    for number in one.left:
        one.check(number, lambda _: None)
    assert one.complete()


def test_wrong_sizes_of_an_earlier_run_never_make_a_proof() -> None:
    honest = OnePass(start(full_recipe()))
    for number in honest.left:
        honest.check(number, lambda _: None)
    sizes = dict(honest.told)
    one = OnePass(start(full_recipe(), told={4: sizes[4] + 8, 5: sizes[5] - 8}), known=range(honest.end))
    with refused(FormatError, "another seek table than its frames"):
        one.check(one.end, lambda _: None)


def test_a_changed_byte_is_found() -> None:
    recipe = full_recipe()
    for number in range(OnePass(start(recipe)).end):
        bundle = start(recipe)
        one = OnePass(bundle)
        if not one.is_big(number):
            continue
        data = bytearray(recipe.archive())
        data[one.start(number + 1) - 40_000] ^= 1
        changed = OnePass(start(recipe, data=bytes(data)))
        with pytest.raises((TrustError, FormatError)):
            changed.check(number, lambda _: None)
        assert changed.is_left(number)


def test_a_frame_without_a_known_end_stays_in_the_archive_and_in_its_size() -> None:
    recipe = full_recipe()
    honest = OnePass(start(recipe))
    number = plain_span(honest)
    begin = honest.start(number)
    data = recipe.archive()
    # Its header and length as promised, its first block's size a lie.
    head = len(frames.header(FRAME, checksum=True))
    lying = bytearray(data)
    lying[begin + head : begin + head + 3] = (0x1FFFFF << 3).to_bytes(3, "little")
    with refused(FormatError, "truncated"):
        OnePass(start(recipe, data=bytes(lying))).check(number, lambda _: None)
    padded = bytes(lying) + bytes(8 * FRAME)
    with refused(FormatError, "longer than one can be"):
        OnePass(start(recipe, data=padded)).check(number, lambda _: None)


def test_the_most_a_frame_takes_and_what_is_possible() -> None:
    raw, packed = Frame(0, 100, "raw"), Frame(0, 100, "zstd")
    assert frames.most_stored(raw) == frames.raw_size(100)
    assert frames.most_stored(packed) == frames.MAX_ZSTD_FRAME
    assert frames.is_possible(raw, frames.raw_size(100))
    assert not frames.is_possible(raw, frames.raw_size(100) + 1)
    assert frames.is_possible(packed, 50)
    assert not frames.is_possible(packed, frames.MAX_HEADER)


def test_discs_whose_lists_cannot_be_read_are_adopted_for_their_segments() -> None:
    made = bundle_set()
    known = opened(made.discs("v01"))
    disc = made.disc("v02")
    del disc.files["set.json"]
    found = adopt(known, [disc], ["it has a damaged set.json"])
    assert list(found.copies) == ["v02"]
    assert found.notes == ("it has a damaged set.json",)
    assert replace(found, discs=known.discs, copies=known.copies, notes=known.notes) == known
