from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bundler.pack import layout_members
from bundler.selfcheck import SelfCheck
from loader.bundle.errors import AirgapError, BundleError, FormatError, TrustError
from loader.bundle.limits import BIG_MEMBER
from loader.bundle.tarlayout import Layout
from tests.support.bundles import Recipe, full_recipe, make_trust, tiny_recipe
from tests.support.refusals import refused

STEP = 100_003


def check_of(made: Recipe, path: Path) -> SelfCheck:
    """A check of what is written to ``path``, which is made if it is not there."""
    path.open("ab").close()
    return SelfCheck(str(path), Layout(layout_members(made.head, made.manifest.files)), make_trust(), [])


def write(check: SelfCheck, path: Path, data: bytes) -> None:
    """Append ``data`` in steps, and tell of each."""
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(data), STEP):
            check.wrote(file.write(data[start : start + STEP]))


@pytest.mark.parametrize("made", [tiny_recipe(), full_recipe()])
def test_what_is_written_well_is_proven(made: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    with check_of(made, path) as check:
        write(check, path, made.archive())
        proof, sha256 = check.complete()
    assert proof.bundle.head == made.head
    assert sha256 == hashlib.sha256(made.archive()).hexdigest()


def test_what_was_there_before_is_proven_too(tmp_path: Path) -> None:
    made, path = full_recipe(), tmp_path / "archive"
    data = made.archive()
    path.write_bytes(data[: len(data) // 2])
    with check_of(made, path) as check:
        write(check, path, data[len(data) // 2 :])
        proof, sha256 = check.complete()
    assert proof.bundle.head == made.head
    assert sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("cut", [1, 20, 1000, BIG_MEMBER])
def test_an_end_that_comes_too_early(cut: int, tmp_path: Path) -> None:
    made, path = full_recipe(), tmp_path / "archive"
    with check_of(made, path) as check:
        write(check, path, made.archive()[:-cut])
        with pytest.raises(BundleError):
            check.complete()


def test_what_is_not_as_loaders_want_it_is_no_fault_of_a_copy(tmp_path: Path) -> None:
    made, path = tiny_recipe(), tmp_path / "archive"
    made = made.put(f"{made.manifest.images[0].path}/more", b"x")
    path.write_bytes(made.archive())
    with check_of(made, path) as check, pytest.raises(FormatError, match="not referred to") as caught:
        check.complete()
    assert "another copy" not in caught.value.hint
    assert "report it" in caught.value.hint


def test_bytes_behind_the_end(tmp_path: Path) -> None:
    made, path = full_recipe(), tmp_path / "archive"
    with check_of(made, path) as check:
        write(check, path, made.archive() + b"x")
        with pytest.raises(BundleError):
            check.complete()


def test_a_blob_that_arrived_wrong_is_met_while_the_rest_is_still_to_come(tmp_path: Path) -> None:
    made, path = full_recipe(), tmp_path / "archive"
    blob = next(file for file in made.manifest.files if file.size >= BIG_MEMBER and file.stored == "raw")
    made = replace(made, contents={**made.contents, blob.path: b"x" + made.contents[blob.path][1:]})
    data = made.archive()

    def go_on() -> None:
        # All of it but the seek table: had the check waited for the end, this would never be told.
        write(check, path, data[:-100])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            check.wrote(0)
            time.sleep(0.01)

    with check_of(made, path) as check, refused(TrustError, "a blob arrived wrong", blob.path, blob.sha256):
        go_on()


def test_a_writer_that_gives_up_leaves_nobody_waiting(tmp_path: Path) -> None:
    made, path = full_recipe(), tmp_path / "archive"
    for length in (0, 10, 70_000, 2 * BIG_MEMBER):
        path.unlink(missing_ok=True)
        with check_of(made, path) as check:
            write(check, path, made.archive()[:length])
        assert "self-check" not in {thread.name for thread in threading.enumerate()}


def test_a_writer_that_waits_for_a_proof_it_did_not_earn(tmp_path: Path) -> None:
    made, path = tiny_recipe(), tmp_path / "archive"
    with check_of(made, path) as check, pytest.raises(AirgapError):
        check.complete()
