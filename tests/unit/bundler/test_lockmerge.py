from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bundler.lock import Last, Lock, Locked, write_lock
from bundler.lockmerge import keep_lock, with_others
from bundler.lockreading import read_lock

A, B, C = (Locked("sha256:" + char * 64, "application/vnd.oci.image.index.v1+json", 7, (), "2025") for char in "abc")
BEFORE = Lock({"x:1": A, "y:1": A, "z:1": A}, Last(7, "c" * 64))


def test_what_nobody_else_touched_is_as_the_run_has_it() -> None:
    after = Lock({"x:1": A, "y:1": B, "new:1": C}, Last(8, "d" * 64))
    assert with_others(BEFORE, after, BEFORE) == after


def test_what_somebody_else_moved_added_or_dropped_stays_so() -> None:
    after = replace(BEFORE, images={**BEFORE.images, "y:1": B}, last=Last(8, "d" * 64))
    now = Lock({"x:1": B, "y:1": A, "new:1": C}, Last(9, "e" * 64))
    assert with_others(BEFORE, after, now) == Lock({"x:1": B, "y:1": B, "new:1": C}, now.last)


def test_an_image_that_moved_meanwhile_is_told_of(tmp_path: Path) -> None:
    path, told = tmp_path / "bundle.lock", list[str]()
    write_lock(path, replace(BEFORE, images={**BEFORE.images, "x:1": C}))
    keep_lock(path, BEFORE, replace(BEFORE, last=Last(8, "d" * 64)), told.append)
    assert read_lock(path) == Lock({**BEFORE.images, "x:1": C}, Last(8, "d" * 64))
    (line,) = told
    assert line.startswith(f"x:1 was locked anew meanwhile, to {C.digest}")
    keep_lock(path, read_lock(path), read_lock(path), told.append)
    assert len(told) == 1
