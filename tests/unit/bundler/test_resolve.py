from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from bundler.imagelist import ConfigImage
from bundler.lock import Lock, Locked
from bundler.resolve import MissingChild, ResolvedImage, resolve
from loader.bundle.digest import digest_of
from loader.bundle.errors import AirgapError, ConfigError, RegistryError, StorageError, TrustError
from loader.oci.model import ImageRef
from tests.support.builds import MemoryImage, Outside, make_config
from tests.support.images import make_image
from tests.support.refusals import refused

NAME = "docker.io/x/app:1"
APP, OTHER = make_image(name="app"), make_image(name="other")


def config_image(text: str, platforms: tuple[str, ...] = ()) -> ConfigImage:
    return replace(make_config([text]).images[0], platforms=platforms)


def run(outside: Outside, *images: ConfigImage, lock: Lock | None = None) -> tuple[ResolvedImage, ...]:
    return resolve(images or (config_image(NAME),), lock or Lock(), outside.open, jobs=4)


def locked(digest: str) -> Lock:
    return Lock({NAME: Locked(digest, APP.media_type, 1, (), "2025-01-01T00:00:00Z")})


def test_a_tag_becomes_a_digest_with_all_its_manifests() -> None:
    (found,) = run(Outside({NAME: MemoryImage(APP, {"signature-1": b"s"})}))
    assert (found.digest, found.data) == (APP.digest, APP.data)
    assert [(child.descriptor.digest, child.data) for child in found.children] == [
        (digest, data) for digest, _, data in APP.manifests[:-1]
    ]
    assert found.platforms == ("linux/amd64", "linux/arm64")
    assert found.signatures == {"signature-1": b"s"}
    assert len(found.manifests) == 2


def test_images_come_in_the_order_of_the_config() -> None:
    outside = Outside({f"docker.io/x/app:{n}": MemoryImage(make_image(name=str(n))) for n in range(12)})
    images = make_config(list(outside.images)).images
    assert [str(found.config.name) for found in run(outside, *images)] == list(outside.images)


def test_a_single_image_is_read_for_its_platform_once() -> None:
    single = make_image(platforms=["linux/arm/v7"])
    source = MemoryImage(single)
    (found,) = run(Outside({NAME: source}))
    assert found.platforms == ("linux/arm/v7",)
    (config,) = [digest for digest, _, _ in source.read]
    assert found.blobs == {config: single.blobs[config]}
    assert found.manifests == (found.parsed,)


def with_config(text: bytes) -> MemoryImage:
    """A single image whose config is ``text``."""
    single = make_image(platforms=["linux/amd64"])
    (_, media_type, data) = single.manifests[0]
    config = next(key for key, blob in single.blobs.items() if blob.startswith(b'{"architecture"'))
    data = data.replace(config.encode(), digest_of(text).encode())
    data = data.replace(b'"size": %d' % len(single.blobs[config]), b'"size": %d' % len(text))
    blobs = {digest_of(text): text, **single.blobs}
    return MemoryImage(replace(single, manifests=((digest_of(data), media_type, data),), blobs=blobs))


@pytest.mark.parametrize(
    ("text", "platforms"),
    [
        (b'{"os":"linux","architecture":"arm","variant":"v7"}', ("linux/arm/v7",)),
        (b'{"os":"linux","architecture":"amd64","variant":""}', ("linux/amd64",)),
        (b"not json", ()),
        (b"[]", ()),
        (b"{}", ()),
        (b'{"os":"linux\\u001b[2J","architecture":"amd64"}', ()),
        (b"[" * 100_000, ()),
    ],
)
def test_a_config_is_believed_only_as_far_as_it_makes_sense(text: bytes, platforms: tuple[str, ...]) -> None:
    (found,) = run(Outside({NAME: with_config(text)}))
    assert found.platforms == platforms
    assert found.blobs == {digest_of(text): text}


def test_what_is_locked_is_opened_by_its_digest() -> None:
    outside = Outside({NAME: MemoryImage(APP)})
    run(outside, lock=locked(APP.digest))
    assert outside.opened == [(NAME, APP.digest)]


def test_a_locked_digest_that_is_no_longer_there() -> None:
    with refused(TrustError, NAME, "no longer what the lock says"):
        run(Outside({NAME: MemoryImage(OTHER)}), lock=locked(APP.digest))


def test_a_digest_that_the_registry_does_not_keep_to() -> None:
    with refused(TrustError, "docker.io/x/app", "does not match its digest"):
        run(Outside({"docker.io/x/app": MemoryImage(OTHER)}), config_image(f"docker.io/x/app@{APP.digest}"))


def test_a_tag_and_a_digest_that_disagree() -> None:
    name = f"{NAME}@{APP.digest}"
    both = Outside({NAME: MemoryImage(APP)})
    assert run(both, config_image(name))[0].digest == APP.digest

    def moved(image: ConfigImage, digest: str | None) -> MemoryImage:
        asked = digest or (image.origin.digest if isinstance(image.origin, ImageRef) else None)
        return MemoryImage(APP if asked else OTHER)

    with refused(ConfigError, NAME, "disagree", OTHER.digest):
        resolve([config_image(name)], Lock(), moved, jobs=1)
    # What was resolved once stays as it was: tags move.
    lock = Lock({name: Locked(APP.digest, APP.media_type, 1, (), "2025-01-01T00:00:00Z")})
    assert resolve([config_image(name)], lock, moved, jobs=1)[0].digest == APP.digest


SPOILS: dict[str, tuple[Callable[[str, bytes], bytes], type[AirgapError]]] = {
    "a child of another content": (lambda digest, data: data if digest == APP.digest else data + b" ", TrustError),
    "an index that is no JSON": (lambda digest, data: b"{" if digest == APP.digest else data, ConfigError),
    "a schema 1 manifest": (
        lambda digest, data: data.replace(b'"schemaVersion": 2', b'"schemaVersion": 1'),
        ConfigError,
    ),
    "a child of another size": (
        lambda digest, data: data.replace(b'"size": ', b'"size": 1') if digest == APP.digest else data,
        ConfigError,
    ),
}


@pytest.mark.parametrize("name", SPOILS)
def test_an_image_that_cannot_be_carried_has(name: str) -> None:
    spoil, kind = SPOILS[name]
    with refused(kind, NAME):
        run(Outside({NAME: MemoryImage(APP, spoil=spoil)}))


def test_a_config_blob_of_another_content() -> None:
    single = make_image(platforms=["linux/amd64"])

    def short(digest: str, data: bytes) -> bytes:
        return data[:-1] if digest in single.blobs else data

    def wrong(digest: str, data: bytes) -> bytes:
        return data[:-1] + b"x" if digest in single.blobs else data

    for spoil in (short, wrong):
        with refused(TrustError, "does not match its digest"):
            run(Outside({NAME: MemoryImage(single, spoil=spoil)}))


def test_one_image_that_is_missing_is_its_own_error() -> None:
    with refused(RegistryError, f"{NAME} is not there"):
        run(Outside({}))


def test_all_images_that_are_missing_are_listed() -> None:
    images = make_config(["docker.io/x/a:1", NAME, "docker.io/x/b:1"]).images
    with refused(RegistryError, "2 of 3 images", "docker.io/x/a:1", "docker.io/x/b:1"):
        run(Outside({NAME: MemoryImage(APP)}), *images)


def test_a_bug_is_not_listed_with_what_is_missing() -> None:
    def broken(image: ConfigImage, digest: str | None) -> MemoryImage:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        resolve(make_config([NAME, "docker.io/x/b:1"]).images, Lock(), broken, jobs=2)


def test_platforms_that_are_not_asked_for_are_left_out() -> None:
    (found,) = run(Outside({NAME: MemoryImage(APP)}), config_image(NAME, ("linux/arm64",)))
    assert [child.descriptor.platform for child in found.children] == ["linux/arm64"]
    assert [child.platform for child in found.left_out] == ["linux/amd64"]
    assert (found.platforms, found.digest) == (("linux/arm64",), APP.digest)


def test_no_platform_that_is_asked_for() -> None:
    with refused(ConfigError, NAME, "linux/s390x", "linux/amd64, linux/arm64"):
        run(Outside({NAME: MemoryImage(APP)}), config_image(NAME, ("linux/s390x",)))


def test_an_index_rewritten_to_what_is_taken() -> None:
    whole = make_image(platforms=("linux/amd64", "linux/arm64", "linux/s390x"))
    image = replace(config_image(NAME, ("linux/arm64", "linux/s390x")), rewrite=True)
    arm, other = (digest[7:] for digest, _, _ in whole.manifests[1:3])
    source = MemoryImage(whole, {"signature-1": b"of the whole", f"{arm}.signature-1": b"of the child"})
    (found,) = run(Outside({NAME: source}), image)
    assert found.upstream == whole.digest != found.digest == digest_of(found.data)
    assert [child.digest for child in found.parsed.children] == [f"sha256:{arm}", f"sha256:{other}"]
    assert found.left_out == ()
    assert found.signatures == {f"{arm}.signature-1": b"of the child"}


def test_an_index_rewritten_to_one_platform_is_its_manifest() -> None:
    image = replace(config_image(NAME, ("linux/arm64",)), rewrite=True)
    arm = APP.manifests[1][0]
    source = MemoryImage(APP, {"signature-1": b"of the whole", f"{arm[7:]}.signature-1": b"of the child"})
    (found,) = run(Outside({NAME: source}), image)
    assert (found.upstream, found.digest, found.data) == (APP.digest, arm, APP.manifests[1][2])
    assert (found.children, found.left_out, found.platforms) == ((), (), ("linux/arm64",))
    assert found.signatures == {"signature-1": b"of the child"}


def test_a_child_that_is_listed_twice_is_one_manifest() -> None:
    plain = json.loads(APP.data)
    plain["manifests"].append({**plain["manifests"][1], "platform": {"os": "linux", "architecture": "s390x"}})
    data = json.dumps(plain).encode()
    index = replace(APP, manifests=(*APP.manifests[:-1], (digest_of(data), APP.media_type, data)))
    image = replace(config_image(NAME, ("linux/arm64",)), rewrite=True)
    (found,) = run(Outside({NAME: MemoryImage(index)}), image)
    assert (found.digest, found.platforms) == (APP.manifests[1][0], ("linux/arm64",))


@pytest.mark.parametrize(
    ("kinds", "gravest"),
    [
        ((RegistryError, RegistryError), RegistryError),
        ((RegistryError, ConfigError), ConfigError),
        ((ConfigError, TrustError, RegistryError), TrustError),
        ((RegistryError, StorageError), StorageError),
    ],
)
def test_several_errors_are_one_of_the_gravest_kind(
    kinds: tuple[type[AirgapError], ...], gravest: type[AirgapError]
) -> None:
    names = [f"docker.io/x/app:{number}" for number in range(len(kinds))]

    def fail(image: ConfigImage, digest: str | None) -> MemoryImage:
        number = names.index(str(image.name))
        raise kinds[number](f"number {number}")

    with pytest.raises(gravest, match=f"{len(kinds)} of {len(kinds)} images") as caught:
        resolve(make_config(names).images, Lock(), fail, jobs=2)
    assert all(f"{name}: number {number}" in caught.value.why for number, name in enumerate(names))


def test_one_cause_of_them_all_is_said_once() -> None:
    names = [f"docker.io/x/app:{number}" for number in range(3)]

    def fail(image: ConfigImage, digest: str | None) -> MemoryImage:
        raise ConfigError("cannot use /nope.pem")

    with pytest.raises(ConfigError, match=r"^cannot use /nope.pem$"):
        resolve(make_config(names).images, Lock(), fail, jobs=2)


def test_a_child_that_is_not_there_is_not_the_image() -> None:
    broken = replace(APP, manifests=APP.manifests[1:])
    with refused(MissingChild, f"image {NAME} names {APP.manifests[0][0]}", "linux/amd64"):
        run(Outside({NAME: MemoryImage(broken)}))
