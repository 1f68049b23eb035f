"""Volumes as one archive: read at any offset, healed from parity, clear about what is lost."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loader.bundle.discs import open_set
from loader.bundle.errors import FormatError, MissingVolume, StorageError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.mediaset import CHUNK
from loader.bundle.verify import verify_content, verify_head
from loader.bundle.volumes import MediaSource
from loader.zstd import find_decoder
from tests.support.bundles import full_recipe, make_trust
from tests.support.discs import MadeSet, MemoryDisc, bundle_set, joined, make_set, opened
from tests.support.refusals import refused

DATA = random.Random(6).randbytes(5 * CHUNK + 1234)


def source_of(discs: list[MemoryDisc]) -> MediaSource:
    return MediaSource(opened(discs))


def read(source: MediaSource, offset: int, size: int) -> bytes:
    data = bytearray(size)
    return bytes(data[: source.read_into(offset, memoryview(data))])


@pytest.fixture
def made() -> MadeSet:
    """Three data discs of two chunks, the last one short, and one parity disc."""
    return make_set(DATA, 2 * CHUNK, 1, segment=CHUNK)


@given(st.integers(0, len(DATA) + 10), st.integers(0, 3 * CHUNK))
@settings(max_examples=40, deadline=None)
def test_any_range_is_the_archives(offset: int, size: int) -> None:
    source = source_of(make_set(DATA, 2 * CHUNK, 0).discs())
    assert read(source, offset, size) == DATA[offset : offset + size]


def test_every_disc_may_be_the_lost_one(made: MadeSet) -> None:
    for lost in made.shares:
        source = source_of([made.disc(name) for name in made.shares if name != lost])
        source.require_enough()
        assert read(source, 0, len(DATA)) == DATA
        healed = {name: len(chunks) for name, chunks in source.healed.items()}
        assert healed == ({} if lost == "p01" else {lost: len(source.data[int(lost[1:]) - 1].damage) or 2})


def test_a_healed_chunk_is_kept_for_the_next_read(made: MadeSet) -> None:
    source = source_of(made.discs("v01", "v03", "p01"))
    assert read(source, 2 * CHUNK + 5, 10) == DATA[2 * CHUNK + 5 :][:10]
    assert read(source, 2 * CHUNK + 900, 10) == DATA[2 * CHUNK + 900 :][:10]
    assert {name: len(chunks) for name, chunks in source.healed.items()} == {"v02": 1}


def test_a_chunk_that_is_healed_again_is_counted_once(made: MadeSet) -> None:
    source = source_of(made.discs("v01", "v03", "p01"))
    for _ in range(2):
        source._cache.clear()
        assert read(source, 2 * CHUNK + 5, 10) == DATA[2 * CHUNK + 5 :][:10]
    assert source.healed == {"v02": {0}}


def test_only_a_few_chunks_are_kept() -> None:
    data = random.Random(1).randbytes(20 * CHUNK)
    source = source_of(make_set(data, 20 * CHUNK, 0, segment=32 * CHUNK).discs())
    for chunk in range(20):
        assert read(source, chunk * CHUNK, 8) == data[chunk * CHUNK :][:8]
    assert len(source._cache) == 16


@pytest.mark.parametrize("harm", ["wrong hash", "Input/output error", "cut off"])
def test_a_bad_chunk_is_healed_and_told(made: MadeSet, harm: str) -> None:
    discs = made.discs()
    segment = "demo-1.v02.s002"
    if harm == "wrong hash":
        discs[1].flip(segment, 17)
    elif harm == "cut off":
        discs[1].files[segment] = discs[1].files[segment][:-1]
    else:
        discs[1].unreadable[segment] = frozenset({0})
    source = source_of(discs)
    assert read(source, 0, len(DATA)) == DATA
    assert source.data[1].damage == {1: harm}
    assert {name: len(chunks) for name, chunks in source.healed.items()} == {"v02": 1}


def test_a_missing_segment_is_healed(made: MadeSet) -> None:
    discs = made.discs()
    del discs[0].files["demo-1.v01.s001"]
    source = source_of(discs)
    assert read(source, 0, len(DATA)) == DATA
    assert source.data[0].damage == {0: "no such file"}


def test_a_second_copy_of_a_disc_stands_in(made: MadeSet) -> None:
    scratched, other = made.disc("v02"), made.disc("v02", where="copy")
    scratched.flip("demo-1.v02.s001", 0)
    source = source_of([made.disc("v01"), scratched, other, made.disc("v03")])
    assert read(source, 0, len(DATA)) == DATA
    assert source.data[1].damage == {}


@st.composite
def damaged_sets(draw: st.DrawFn) -> tuple[MadeSet, bytes, dict[int, set[str]], int]:
    """A set of random geometry, the chunks to harm by stripe, and how many are one too many (0 or 1)."""
    seed = random.Random(draw(st.integers(0, 2**32)))
    k, m, stripes = seed.randint(1, 5), seed.randint(0, 3), seed.randint(1, 3)
    share = stripes * CHUNK
    data = seed.randbytes((k - 1) * share + seed.randint(1, share))
    made = make_set(data, share, m, segment=CHUNK)
    beyond = draw(st.integers(0, 1))
    harm: dict[int, set[str]] = {}
    for stripe in range(stripes):
        there = [v.name for v in made.media.volumes if v.chunks > stripe]
        harm[stripe] = set(seed.sample(there, min(m, len(there))))
    if beyond:
        stripe = 0
        rest = [v.name for v in made.media.volumes if v.name not in harm[stripe]]
        harm[stripe].add(seed.choice(rest))
    return made, data, harm, beyond


@given(damaged_sets())
@settings(max_examples=40, deadline=None)
def test_damage_within_the_limit_heals_and_one_beyond_is_named(
    case: tuple[MadeSet, bytes, dict[int, set[str]], int],
) -> None:
    made, data, harm, beyond = case
    discs = {name: made.disc(name) for name in made.shares}
    for stripe, names in harm.items():
        for name in names:
            discs[name].flip(f"demo-1.{name}.s{stripe + 1:03d}", 0)
    source = source_of(list(discs.values()))
    lost = [name for name in harm[0] if name[0] == "v"]
    if not beyond or not lost:
        assert read(source, 0, len(data)) == data
        return
    with pytest.raises(MissingVolume) as caught:
        read(source, 0, len(data))
    assert all(name in caught.value.why for name in lost)


def test_too_few_discs_are_named_with_those_that_would_help(made: MadeSet) -> None:
    source = source_of(made.discs("v02", "p01"))
    with refused(MissingVolume, "disc v01, v03 of demo-1 is not here", "2 missing, 1 parity here"):
        source.require_enough()
    with pytest.raises(MissingVolume) as caught:
        read(source, 0, 10)
    assert caught.value.hint == "insert or name 1 more of: v01 (DEMO_{0}_V01), v03 (DEMO_{0}_V03)".format(
        made.media.bundle.id[:4].upper()
    )


def test_without_parity_a_bad_chunk_needs_another_copy() -> None:
    discs = make_set(DATA, 2 * CHUNK, 0).discs()
    discs[1].flip("demo-1.v02.s001", 0)
    with pytest.raises(MissingVolume) as caught:
        joined(discs)
    assert "chunk 0 of disc v02 (demo-1.v02.s001)" in caught.value.message
    assert caught.value.hint == "get another copy of disc v02"


def test_wrong_discs_are_told_with_what_is_missing(made: MadeSet) -> None:
    other = make_set(b"y" * CHUNK, CHUNK, 0, name="other").disc("v01", where="tray")
    source = source_of([*made.discs("v01", "v02"), other])
    with refused(MissingVolume, "v03", "tray is a disc of another set: other-1"):
        source.require_enough()


def test_a_survey_tells_all_that_is_lost(made: MadeSet) -> None:
    discs = made.discs("v01", "v02", "p01")
    discs[0].flip("demo-1.v01.s001", 0)
    discs[1].flip("demo-1.v02.s002", 0)
    source = source_of(discs)
    seen: list[int] = []
    source.survey(source.volumes, seen.append)
    assert sum(seen) == 6 * CHUNK
    with pytest.raises(MissingVolume) as caught:
        source.require_healable()
    assert "2 stripes are beyond repair" in caught.value.message
    for words in ("disc v01: 1 of 2 chunks unreadable", "disc v02: 1 of 2 chunks", "disc v03: not here"):
        assert words in caught.value.why
    assert "v03" in caught.value.hint


def test_a_survey_with_all_discs_here_asks_for_a_copy() -> None:
    discs = make_set(DATA, 2 * CHUNK, 0).discs()
    discs[2].flip("demo-1.v03.s001", 0)
    source = source_of(discs)
    source.survey(source.volumes, lambda _: None)
    with pytest.raises(MissingVolume) as caught:
        source.require_healable()
    assert caught.value.hint == "get another copy of disc v03"


def test_a_survey_of_good_discs_finds_nothing(made: MadeSet) -> None:
    source = source_of(made.discs())
    source.survey(source.volumes, lambda _: None)
    source.require_healable()
    assert not any(reader.damage for reader in source.volumes)


def test_parity_that_was_written_wrong_is_never_used(made: MadeSet) -> None:
    wrong = made.shares["p01"]["demo-1.p01.s001"][::-1]
    lied = make_set_with_parity(made, wrong)
    discs = [lied.disc(name) for name in lied.shares if name != "v01"]
    with refused(TrustError, "chunk 0 of v01 rebuilt from parity does not match"):
        joined(discs)


def make_set_with_parity(made: MadeSet, first_chunk: bytes) -> MadeSet:
    """The same set whose parity disc holds other bytes, listed as they are."""
    import hashlib

    from loader.bundle import mediaset
    from loader.bundle.digest import sha256_hex

    shares = {**made.shares, "p01": {**made.shares["p01"], "demo-1.p01.s001": first_chunk}}
    start = made.media.first_chunks[3] * 32
    index = made.common["chunks.idx"]
    index = index[:start] + hashlib.sha256(first_chunk).digest() + index[start + 32 :]
    volumes = tuple(
        mediaset.Volume(
            name, tuple(mediaset.Segment(path, len(part), sha256_hex(part)) for path, part in parts.items())
        )
        for name, parts in shares.items()
    )
    common = {**made.common, "chunks.idx": index}
    common.update({mediaset.list_path(volume.name): mediaset.volume_list(volume) for volume in volumes})
    files = tuple(mediaset.SetFile(path, len(data), sha256_hex(data)) for path, data in sorted(common.items()))
    media = made.change(volumes=volumes, files=files, set_id=sha256_hex(index)).media
    return MadeSet(media, common, shares, made.signers)


def test_threads_read_at_once(made: MadeSet) -> None:
    source = source_of(made.discs("v01", "v03", "p01"))
    results: dict[int, bytes] = {}

    def work(number: int) -> None:
        results[number] = read(source, number * 700_001, CHUNK)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: DATA[number * 700_001 :][:CHUNK] for number in range(7)}


@pytest.mark.parametrize("lost", ["", "v01", "v02", "v03"])
def test_a_bundle_verifies_from_discs(lost: str) -> None:
    found = opened([disc for disc in bundle_set().discs() if disc.name != f"disc-{lost}"])
    source = MediaSource(found)
    complete = verify_content(verify_head(source, make_trust(), find_decoder()))
    assert complete.bundle.id == found.media.bundle.id
    data = full_recipe().archive()
    assert read(source, 0, len(data)) == data


def test_discs_can_be_read_without_trust_for_a_look() -> None:
    source = MediaSource(open_set(bundle_set().discs(), None))
    assert read(source, 0, 4) == full_recipe().archive()[:4]


def test_a_file_below_a_folder_is_not_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        with FileSource("file", folder=folder) as source:
            assert source.size == 3
        with refused(StorageError, "cannot open link"):
            FileSource("link", folder=folder)
        with refused(FormatError, "not a regular file"):
            FileSource(".", folder=folder)
    finally:
        os.close(folder)


def proved(source: MediaSource) -> int:
    """Verify the bundle on ``source`` as ``verify`` does, and return how many times a chunk was hashed."""
    checks = [0]
    for reader in source.volumes:
        is_right = reader.is_right

        def counting(chunk: int, data: memoryview | bytes, check: Callable[..., bool] = is_right) -> bool:
            checks[0] += 1
            return check(chunk, data)

        reader.is_right = counting  # type: ignore[method-assign] # counted
    bundle = verify_head(source, make_trust(), find_decoder())
    before = checks[0]
    with source.proven_by_content():
        verify_content(bundle, doubt=source.doubt)
    return checks[0] - before


def test_bytes_that_the_content_proves_are_not_hashed_by_chunk_too() -> None:
    assert proved(source_of(bundle_set().discs())) == 0


@pytest.mark.parametrize("harm", ["flip", "unreadable", "cut", "lost"])
@pytest.mark.parametrize("place", ["v01", "v02", "v03"])
def test_what_the_content_does_not_prove_is_checked_by_chunk_and_healed(harm: str, place: str) -> None:
    discs = {name: bundle_set().disc(name) for name in bundle_set().shares}
    names = list(bundle_set().shares[place])
    if harm == "flip":
        discs[place].flip(names[0], 70_000)
    elif harm == "unreadable":
        discs[place].unreadable[names[0]] = frozenset({0})
    elif harm == "cut":
        discs[place].files[names[-1]] = discs[place].files[names[-1]][:-5]
    else:
        del discs[place]
    source = source_of(list(discs.values()))
    # The head and the seek table, which v01 and v03 hold, are checked before.
    assert proved(source) > 0 or place != "v02"
    assert set(source.healed) == {place}
    damage = source.data[int(place[1:]) - 1].damage
    assert (damage == {}) == (harm == "lost")


def test_a_second_copy_stands_in_for_a_first_that_the_content_does_not_prove() -> None:
    discs = bundle_set().discs()
    bad = bundle_set().disc("v01", where="another copy")
    bad.flip(next(iter(bundle_set().shares["v01"])), 70_000)
    source = source_of([bad, *discs])
    proved(source)
    assert source.healed == {}


def test_what_is_beyond_repair_is_so_for_proven_bytes_too() -> None:
    discs = {name: bundle_set().disc(name) for name in bundle_set().shares}
    for place in ("v01", "v02"):
        discs[place].flip(next(iter(bundle_set().shares[place])), 70_000)
    with refused(MissingVolume, "can't be read"):
        proved(source_of(list(discs.values())))


def test_doubt_changes_nothing_where_all_is_checked(made: MadeSet) -> None:
    source = source_of(made.discs())
    assert source.doubt(0, 10) is False
    assert read(source, 0, len(DATA)) == DATA
