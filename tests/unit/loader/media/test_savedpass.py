"""What one run kept for the next: taken for the same set alone, and its bytes never unchecked."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader.bundle.verify import OnePass, verify_head
from loader.media.chunkstore import ChunkStore
from loader.media.savedpass import SavedPass
from loader.zstd import find_decoder
from tests.support.bundles import MemorySource, full_recipe, make_trust
from tests.support.discs import bundle_set, joined, make_set, opened

CHUNKS = [("v01", 0), ("v03", 0)]


class Ticking:
    """A clock that goes on by itself."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def one() -> OnePass:
    """A pass of which all but two spans and the end are checked."""
    bundle = verify_head(MemorySource(full_recipe().archive()), make_trust(), find_decoder(), told={})
    found = OnePass(bundle)
    for number in found.left[:-3]:
        found.check(number, lambda _: None)
    return found


@pytest.fixture
def folder(tmp_path: Path, one: OnePass) -> Path:
    media = bundle_set().media
    store = ChunkStore(media)
    data = joined(bundle_set().discs("v01", "v02", "v03"))
    store.chunks[CHUNKS[0]] = data[: 2**20]
    store.chunks[CHUNKS[1]] = data[4 * 2**20 :]
    saved = SavedPass(tmp_path / "state/media", Ticking())
    saved.keep_head(media, store)
    saved.save(media, one)
    return tmp_path / "state/media"


def load(folder: Path) -> tuple[set[int], ChunkStore, dict[int, int]]:
    found, store = opened(bundle_set().discs("v02")), ChunkStore(bundle_set().media)
    told: dict[int, int] = {}
    known = SavedPass(folder, Ticking()).load(found.media, found.index, store, told)
    return set(known), store, told


def test_the_next_run_goes_on(folder: Path, one: OnePass) -> None:
    known, store, told = load(folder)
    assert known == set(range(one.end + 1)) - set(one.left)
    assert sorted(store.chunks) == CHUNKS
    assert told == one.told


def test_another_set_of_that_name_begins_anew(folder: Path) -> None:
    other = opened(make_set(b"x" * 3_000_000, 2**20, 0).discs("v01"))
    assert other.media.bundle.name == bundle_set().media.bundle.name
    store = ChunkStore(other.media)
    assert list(SavedPass(folder, Ticking()).load(other.media, other.index, store, {})) == []
    assert store.chunks == {}


def test_a_changed_byte_of_the_head_is_not_taken(folder: Path) -> None:
    path = folder / "demo.chunks"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    assert sorted(load(folder)[1].chunks) == CHUNKS[1:]
    path.write_bytes(b"")
    assert load(folder)[1].chunks == {}


@pytest.mark.parametrize("text", [b"", b"{}\n", b"\xff"])
def test_a_file_that_is_no_record_counts_for_nothing(folder: Path, text: bytes) -> None:
    (folder / "demo.json").write_bytes(text)
    assert load(folder)[0] == set()


def test_a_folder_that_cannot_be_written_costs_no_run(tmp_path: Path, one: OnePass) -> None:
    (tmp_path / "state").write_text("a file")
    saved = SavedPass(tmp_path / "state/media", Ticking())
    saved.keep_head(bundle_set().media, ChunkStore(bundle_set().media))
    saved.save(bundle_set().media, one)
    assert (tmp_path / "state").read_text() == "a file"


def test_it_is_written_every_few_seconds(tmp_path: Path, one: OnePass) -> None:
    clock = Ticking()
    saved = SavedPass(tmp_path, clock)
    saved.save(bundle_set().media, one, now=False)
    assert list(tmp_path.iterdir()) == []
    clock.now = 5.0
    saved.save(bundle_set().media, one, now=False)
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]
