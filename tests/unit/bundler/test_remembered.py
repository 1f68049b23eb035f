from __future__ import annotations

from dataclasses import replace

import pytest

from bundler import remembered as subject
from bundler.lock import Beside, Lock
from bundler.remembered import from_lock, is_remembered, remembered
from bundler.resolve import resolve
from loader.bundle.digest import digest_of
from tests.support.builds import MemoryImage, Outside, make_config
from tests.support.images import make_image

NAME, OTHER = "docker.io/x/app:1", "docker.io/x/other:1"
IMAGES = make_config([NAME, OTHER]).images


def outside() -> Outside:
    return Outside({name: MemoryImage(make_image(name=name)) for name in (NAME, OTHER)})


def lock_of(sources: Outside, lock: Lock | None = None, platforms: tuple[str, ...] = ()) -> Lock:
    lock = lock or Lock()
    images = [replace(image, platforms=platforms) for image in IMAGES]
    return remembered(lock, resolve(images, lock, sources.open, jobs=2), "2025-01-01T00:00:00Z")


def test_every_manifest_is_kept() -> None:
    sources = outside()
    lock = lock_of(sources)
    assert all(is_remembered(image, lock) for image in IMAGES)
    assert lock.images[NAME].documents.keys() == {digest for digest, _, _ in make_image(name=NAME).manifests}
    found = resolve(IMAGES, lock, from_lock(lock, Outside({}).open), jobs=2)
    assert [image.data for image in found] == [make_image(name=name).data for name in (NAME, OTHER)]


def test_what_a_run_for_other_platforms_found_stays() -> None:
    sources = outside()
    narrow = lock_of(sources, platforms=("linux/amd64",))
    assert len(narrow.images[NAME].documents) == 2
    assert len(lock_of(sources, narrow, ("linux/arm64",)).images[NAME].documents) == 3
    wide = resolve(IMAGES, narrow, from_lock(narrow, sources.open), jobs=2)
    assert all(len(image.children) == 2 for image in wide)


def test_a_lock_stays_a_file_to_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(make_image(name=NAME).data)
    monkeypatch.setattr(subject, "_MAX_DOCUMENTS", size)
    lock = lock_of(outside())
    assert [len(lock.images[name].documents) for name in (NAME, OTHER)] == [1, 0]
    monkeypatch.setattr(subject, "_MAX_DOCUMENT", size - 1)
    assert digest_of(make_image(name=NAME).data) not in lock_of(outside()).images[NAME].documents


def test_the_media_type_is_the_one_outside_where_the_index_is_rewritten() -> None:
    sources = outside()
    images = [replace(image, platforms=("linux/amd64",), rewrite=True) for image in IMAGES]
    lock = remembered(Lock(), resolve(images, Lock(), sources.open, jobs=2), "2025-01-01T00:00:00Z")
    image = make_image(name=NAME)
    entry = lock.images[NAME]
    assert (entry.digest, entry.media_type, entry.size) == (image.digest, image.media_type, len(image.data))


def test_what_stood_beside_a_manifest_is_told_of_those_that_were_asked_for_alone() -> None:
    sources = outside()
    lock = lock_of(sources)
    about, found = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
    tag = f"{about.replace(':', '-')}.sig"
    beside = (Beside("signature", found, tag), Beside("referrer", about, None))
    lock = Lock({NAME: replace(lock.images[NAME], attached={about: beside})})
    near = from_lock(lock, sources.open)(IMAGES[0], lock.images[NAME].digest).neighbours()
    assert near is not None
    tagged = near.tagged(tag)
    assert tagged is not None
    assert tagged.digest == found
    assert near.tagged(tag.replace(".sig", ".att")) is None
    assert near.tagged(about.replace(":", "-")) is None
    assert near.referrers(about) == (about,)
    assert near.tags() is None
    assert near.referrers(found) is None
    assert near.tagged(found.replace(":", "-")) is None
