"""How an archive is cut: as few discs as hold it, none fuller than it can be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundler.medium import MEDIA, CommonFiles, Geometry, capacity_of, cut, overhead, parse_size
from loader.bundle.errors import ConfigError
from loader.bundle.mediaset import CHUNK, MAX_SEGMENT
from tests.support.refusals import refused

COMMON = CommonFiles(12, 300_000)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("5MB", 5_000_000), ("5MiB", 5 * 2**20), ("2GB", 2 * 10**9), ("2GiB", 2**31)],
)
def test_sizes_say_their_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1G", "1.5GB", "-1MB", "1 GB", "1gb", "1TB", "GB", "1GB\n"])
def test_other_sizes_are_refused(text: str) -> None:
    with refused(ConfigError, "is not a size"):
        parse_size(text)


def test_an_unknown_medium_lists_the_known() -> None:
    with pytest.raises(ConfigError) as caught:
        capacity_of("dvd9")
    assert all(name in caught.value.hint for name in MEDIA)


# Blocks of the smallest disc of each kind on the market (facts: dvdisaster's and the makers' tables).
@pytest.mark.parametrize(
    ("medium", "sectors"),
    [("cd", 359_424), ("dvd", 2_295_104), ("dvd-dl", 4_148_992), ("bd25", 11_826_176), ("bd50", 23_652_352)],
)
def test_a_full_disc_fits_the_smallest_of_its_kind(medium: str, sectors: int) -> None:
    assert MEDIA[medium] <= sectors * 2048
    assert MEDIA[medium] >= sectors * 2048 * 0.99


@given(st.integers(1, 400 * CHUNK), st.integers(4 * CHUNK, 100 * CHUNK), st.integers(0, 4))
@settings(max_examples=300, deadline=None)
def test_every_cut_holds_the_archive_and_fits(size: int, capacity: int, m: int) -> None:
    try:
        geometry = cut(size, capacity, m, COMMON)
    except ConfigError:
        assert size > 99 * (capacity - 4 * CHUNK)
        return
    data = [geometry.volume_size(name) for name in geometry.names if name[0] == "v"]
    assert sum(data) == size
    assert min(data) > 0
    assert all(part % CHUNK == 0 for part in data[:-1])
    assert {geometry.volume_size(name) for name in geometry.names if name[0] == "p"} <= {max(data)}
    assert max(data) + overhead(geometry, COMMON) <= capacity
    if geometry.k > 1:
        chunks = (size + CHUNK - 1) // CHUNK
        one_less = (chunks + geometry.k - 2) // (geometry.k - 1) * CHUNK
        # With the room that is kept for a loader and parity discs.
        kept = replace(COMMON, loader=capacity // 100)
        assert one_less + overhead(Geometry(size, one_less, max(m, 4)), kept) + capacity // 500 > capacity


def test_segments_stay_below_what_readers_can_hold() -> None:
    geometry = cut(24_000_000_000, MEDIA["bd25"], 0, COMMON)
    assert geometry.k == 1
    assert max(geometry.segments("v01")) <= MAX_SEGMENT
    assert sum(geometry.segments("v01")) == 24_000_000_000


def test_a_stick_takes_the_set_as_one_volume() -> None:
    assert cut(90_000_000_000, MEDIA["usb-fat32"], 0, COMMON).k == 1


@pytest.mark.parametrize(("capacity", "m"), [(CHUNK, 0), (3 * CHUNK, 126), (10 * CHUNK, 100), (10 * CHUNK, -1)])
def test_what_cannot_be_cut_is_told(capacity: int, m: int) -> None:
    with pytest.raises(ConfigError):
        cut(500 * CHUNK, capacity, m, COMMON)


@given(
    st.integers(1, 4000 * CHUNK),
    st.integers(8 * CHUNK, 900 * CHUNK),
    st.integers(0, 4),
    st.integers(0, 4 * CHUNK),
)
@settings(max_examples=300, deadline=None)
def test_a_loader_and_parity_take_no_further_data_disc(size: int, capacity: int, m: int, loader: int) -> None:
    with_both = replace(COMMON, loader=min(loader, capacity // 100))
    try:
        planned = cut(size, capacity, 0, COMMON)
    except ConfigError:
        return
    assert cut(size, capacity, m, with_both).k == planned.k


@given(
    st.sampled_from([name for name in MEDIA if name != "usb-fat32"]),
    st.floats(0.95, 1.0),
    st.integers(1, 9),
    st.integers(5, 29),
)
@settings(max_examples=60, deadline=None)
def test_any_number_of_parity_discs_takes_no_further_data_disc(medium: str, full: float, k: int, m: int) -> None:
    size = int(MEDIA[medium] * k * full)
    planned = cut(size, MEDIA[medium], 0, COMMON)
    assert cut(size, MEDIA[medium], m, replace(COMMON, loader=1_200_000)).k == planned.k


def test_a_loader_beyond_what_is_kept_for_it_still_fits() -> None:
    common = replace(COMMON, loader=30 * CHUNK)
    geometry = cut(100 * CHUNK, 64 * CHUNK, 1, common)
    assert geometry.k > cut(100 * CHUNK, 64 * CHUNK, 1, COMMON).k
    assert geometry.share + overhead(geometry, common) <= 64 * CHUNK
