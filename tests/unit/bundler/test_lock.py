from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundler.lock import Last, Lock, Locked, changes, lock_path, require_unchanged, unlocked, write_lock
from bundler.lockreading import read_lock
from loader.bundle.digest import digest_of
from loader.bundle.errors import ConfigError, StorageError
from tests.support.refusals import refused

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def locked(digest: str = A) -> Locked:
    return Locked(digest, "application/vnd.oci.image.index.v1+json", 742, ("linux/amd64", "linux/arm64"), "2025-01-01")


LOCK = Lock({"docker.io/x/y:1": locked(), "quay.io/z:2": locked(B)}, Last(7, "c" * 64))


def test_an_image_is_unlocked_by_the_name_that_a_config_gives_it() -> None:
    lock = Lock({"docker.io/library/busybox:latest": locked(), "quay.io/z:2": locked(B)})
    for name in ("busybox", "busybox:latest", "docker.io/library/busybox:latest"):
        assert list(unlocked(lock, [name], everything=False).images) == ["quay.io/z:2"]
    for name in ("busybox:1", "Not a name"):
        with refused(ConfigError, "--update"):
            unlocked(lock, [name], everything=False)


def test_the_lock_stands_beside_its_config() -> None:
    assert lock_path(Path("site/bundle.yaml")) == Path("site/bundle.lock")


@pytest.mark.parametrize("lock", [LOCK, Lock(), Lock({}, Last(0, "0" * 64))])
def test_a_lock_is_read_back(lock: Lock, tmp_path: Path) -> None:
    path = tmp_path / "bundle.lock"
    write_lock(path, lock)
    assert read_lock(path) == lock
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle.lock"]


def test_a_lock_is_made_to_be_read_in_a_diff(tmp_path: Path) -> None:
    path = tmp_path / "bundle.lock"
    write_lock(path, LOCK)
    text = path.read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == ["formatVersion", "images", "last"]
    assert len(text.splitlines()) > 20


def test_no_lock_is_an_empty_one(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "none.lock") == Lock()


def test_an_unchanged_lock_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "bundle.lock"
    write_lock(path, LOCK)
    before = path.stat()
    write_lock(path, LOCK)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


SUBJECT = f"sha256:{'d' * 64}"
EDITS: dict[str, tuple[tuple[str, ...], Any]] = {
    "another version": (("formatVersion",), 2),
    "images that are a list": (("images",), []),
    "an image that is text": (("images", "quay.io/z:2"), "x"),
    "a digest that is none": (("images", "quay.io/z:2", "digest"), "latest"),
    "a digest that is a number": (("images", "quay.io/z:2", "digest"), 7),
    "a size that is text": (("images", "quay.io/z:2", "size"), "large"),
    "a size without end": (("images", "quay.io/z:2", "size"), float("inf")),
    "platforms that are a number": (("images", "quay.io/z:2", "platforms"), 3),
    "a last that is text": (("last",), "x"),
    "a last id that is none": (("last", "id"), "../x"),
    "a negative sequence": (("last", "sequence"), -1),
    "a last without id": (("last",), {"sequence": 1}),
    "a sequence that is true": (("last", "sequence"), True),
    "a sequence with a fraction": (("last", "sequence"), 1.5),
    "a sequence too large": (("last", "sequence"), 2**60),
    "a size below nothing": (("images", "quay.io/z:2", "size"), -1),
    "a size that is a number in quotes": (("images", "quay.io/z:2", "size"), "742"),
    "one platform that is no list": (("images", "quay.io/z:2", "platforms"), "linux/amd64"),
    "a platform that is none": (("images", "quay.io/z:2", "platforms"), [None]),
    "a media type that is none": (("images", "quay.io/z:2", "mediaType"), "x"),
    "a key of its own": (("images", "quay.io/z:2", "note"), "mine"),
    "a text that was changed": (("images", "quay.io/z:2", "documents"), {SUBJECT: "x"}),
    "a text that is a number": (("images", "quay.io/z:2", "documents"), {SUBJECT: 1}),
    "a text that is half a character": (("images", "quay.io/z:2", "documents"), {SUBJECT: "\ud800"}),
    "attachments of something else": (("images", "quay.io/z:2", "attached"), {"x": []}),
    "attachments that are no list": (("images", "quay.io/z:2", "attached"), {SUBJECT: {}}),
    "an attachment without a tag": (("images", "quay.io/z:2", "attached"), {SUBJECT: [{"digest": A, "kind": "sbom"}]}),
    "a sequence without end": (("last", "sequence"), float("inf")),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_lock_edited_into_nonsense_has(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.lock"
    write_lock(path, LOCK)
    plain: Any = json.loads(path.read_bytes())
    place, (keys, value) = plain, EDITS[name]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    path.write_text(json.dumps(plain).replace("Infinity", "1e400"))
    with refused(ConfigError, str(path), "not a lock file"):
        read_lock(path)


def test_all_that_was_edited_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bundle.lock"
    write_lock(path, LOCK)
    text = path.read_text().replace('"size": 742', '"size": "742"').replace('"resolved"', '"resolvd"', 1)
    path.write_text(text.replace('"sequence": 7', '"sequence": -7'))
    with pytest.raises(ConfigError) as caught:
        read_lock(path)
    name = "images.docker.io/x/y:1"
    assert caught.value.faults == (
        (f"{name} (line 4)", "has no resolved"),
        (f"{name}.resolvd (line 11)", "is no key of a lock; did you mean resolved?"),
        (f"{name}.size (line 12)", "is not a whole number"),
        ("images.quay.io/z:2.size (line 22)", "is not a whole number"),
        ("last.sequence (line 27)", "is not a whole number"),
    )


def test_a_size_that_is_not_its_manifests(tmp_path: Path) -> None:
    path = tmp_path / "bundle.lock"
    text = "{}"
    entry = replace(locked(digest_of(text.encode())), documents={digest_of(text.encode()): text}, size=3)
    write_lock(path, Lock({"a": entry}))
    with pytest.raises(ConfigError) as caught:
        read_lock(path)
    assert caught.value.faults == (("images.a.size (line 15)", "is not that of the manifest under documents"),)


def test_a_merge_with_conflicts_is_told(tmp_path: Path) -> None:
    path = tmp_path / "bundle.lock"
    path.write_text('{\n<<<<<<< HEAD\n"formatVersion": 1\n}')
    with refused(ConfigError, "line 2 has a mark of a merge"):
        read_lock(path)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"{" * 10_000, b'{"formatVersion":1,"formatVersion":1}'])
def test_a_lock_that_is_no_lock(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bundle.lock"
    path.write_bytes(data)
    with refused(ConfigError, str(path), "not a lock file"):
        read_lock(path)


def test_a_lock_that_cannot_be_written(tmp_path: Path) -> None:
    with refused(StorageError, str(tmp_path / "none" / "bundle.lock")):
        write_lock(tmp_path / "none" / "bundle.lock", LOCK)
    (tmp_path / "folder.lock").mkdir()
    with refused(StorageError, str(tmp_path / "folder.lock")):
        write_lock(tmp_path / "folder.lock", LOCK)


def test_changes_are_one_line_each_by_name() -> None:
    after = Lock({"quay.io/z:2": locked(A), "docker.io/new:1": locked(B)})
    assert changes(LOCK, after) == [
        f"+ docker.io/new:1 {B}",
        "- docker.io/x/y:1",
        f"~ quay.io/z:2 {B} -> {A}",
    ]
    assert changes(LOCK, LOCK) == []


def test_locked_makes_every_change_an_error() -> None:
    require_unchanged([])
    with pytest.raises(ConfigError) as caught:
        require_unchanged(["+ a x", "- b", "~ c x -> y"])
    assert caught.value.faults == (("a x", "not in the lock"), ("b", "no longer there"), ("c x -> y", "moved"))


def test_nothing_moves_unless_asked() -> None:
    assert unlocked(LOCK, [], everything=False) == LOCK
    assert unlocked(LOCK, ["quay.io/z:2"], everything=False).images == {"docker.io/x/y:1": locked()}
    assert unlocked(LOCK, [], everything=True) == Lock({}, LOCK.last)


def test_an_update_of_what_is_not_locked() -> None:
    with pytest.raises(ConfigError) as caught:
        unlocked(LOCK, ["quay.io/z:2", "b", "a"], everything=False)
    assert [name for name, _ in caught.value.faults] == ["a", "b"]
