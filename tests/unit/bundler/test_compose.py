from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from bundler.compose import Composition, compose, utc
from bundler.delta import Base
from bundler.lock import Last, Lock
from bundler.resolve import Attached, resolve
from loader.bundle import manifest as manifests
from loader.bundle.digest import digest_of, sha256_hex
from loader.bundle.errors import ConfigError
from loader.bundle.head import Head
from loader.bundle.ocimanifest import parse_manifest
from loader.bundle.rules import check_manifest
from loader.bundle.sums import render_sums
from loader.signing import Signer
from tests.support.builds import START, MemoryImage, Outside, make_config
from tests.support.bundles import make_signer
from tests.support.images import MadeImage, make_image

ONE, TWO = make_image(name="one"), make_image(name="two", platforms=["linux/amd64"])


def composed(
    images: dict[str, MadeImage],
    *,
    lock: Lock | None = None,
    signers: Sequence[Signer] = (),
    now: int = START,
    there: Head | None = None,
    signed: dict[str, bytes] | None = None,
    base: Base | None = None,
    beside: Mapping[str, Attached] | None = None,
    **fields: object,
) -> Composition:
    """Compose ``images`` by name; ``beside`` are attachments by the name of their image."""
    config = make_config(list(images), **fields)
    outside = Outside({name: MemoryImage(image, signed or {}) for name, image in images.items()})
    lock = lock or Lock()
    found = {name: {one.subject: (one,)} for name, one in (beside or {}).items()}
    resolved = [
        replace(image, beside=found.get(str(image.config.name), {}))
        for image in resolve(config.images, lock, outside.open, jobs=2)
    ]
    return compose(config, lock, resolved, signers, now=now, there=there, base=base)


def test_what_is_composed_is_what_a_loader_takes() -> None:
    made = composed({"docker.io/x/one:1": ONE, "quay.io/y/two:2": TWO}, signers=[make_signer("builder")])
    manifest = manifests.decode(made.head.manifest)
    assert manifest == made.manifest
    check_manifest(manifest)
    assert made.head.sums == render_sums(manifest.files, sha256_hex(made.head.manifest))
    assert made.head.signatures == (("builder", make_signer("builder").sign(made.head.sums)),)
    assert (made.name, manifest.created) == ("demo-1", utc(START))
    listed = {file.path: file for file in manifest.files}
    for path, data in made.texts.items():
        assert (listed[path].size, listed[path].sha256) == (len(data), sha256_hex(data))


def test_times_are_utc() -> None:
    assert utc(0) == "1970-01-01T00:00:00Z"
    assert utc(START) == "2023-11-14T22:13:20Z"


def test_one_digest_under_two_names_shares_a_directory() -> None:
    made = composed({"docker.io/x/one:1": ONE, "quay.io/y/two:2": TWO, "quay.io/z/one:3": ONE})
    paths = [image.path for image in made.manifest.images]
    assert paths == ["images/0000-one", "images/0001-two", "images/0000-one"]
    assert [packed.directory for packed in made.packed] == paths[:2]


def test_signature_files_travel_with_their_image() -> None:
    made = composed({"docker.io/x/one:1": ONE}, signed={"signature-1": b"simple"})
    assert made.texts["images/0000-one/signature-1"] == b"simple"


def test_a_layer_hosted_elsewhere_is_named_as_omitted() -> None:
    (digest, media_type, data) = TWO.manifests[0]
    plain = json.loads(data)
    layer = plain["layers"][0]["digest"]
    plain["layers"][0]["urls"] = ["https://elsewhere.example/layer"]
    changed = json.dumps(plain).encode()
    image = replace(TWO, manifests=((digest_of(changed), media_type, changed),))
    made = composed({"docker.io/x/two:1": image})
    (omitted,) = made.manifest.images[0].omitted
    assert (omitted.digest, omitted.reason.partition(":")[0]) == (layer, "foreign layer")
    assert layer[7:] not in {file.sha256 for file in made.manifest.files}
    assert digest != image.digest


def test_the_lock_keeps_when_an_image_was_resolved_until_it_moves() -> None:
    names = ["docker.io/x/one:1", "quay.io/y/two:2"]
    first = composed(dict(zip(names, (ONE, TWO))))
    later = composed(dict(zip(names, (ONE, TWO))), lock=first.lock, now=START + 60)
    assert later.lock.images == first.lock.images
    moved = composed(dict(zip(names, (TWO, TWO))), lock=Lock({names[1]: first.lock.images[names[1]]}), now=START + 60)
    assert {name: entry.resolved for name, entry in moved.lock.images.items()} == {
        names[0]: utc(START + 60),
        names[1]: utc(START),
    }
    assert moved.lock.last == Last(moved.manifest.sequence, moved.head.id)


def test_an_older_version_that_is_built_again_takes_no_sequence_back() -> None:
    images = {"docker.io/x/one:1": ONE}
    older = composed(images, version="v1")
    newer = composed(images, version="v2", lock=older.lock)
    assert newer.manifest.sequence == older.manifest.sequence + 1
    again = composed(images, version="v1", lock=newer.lock, there=older.head)
    assert again.head == older.head
    assert again.lock.last == newer.lock.last
    assert composed(images, version="v3", lock=again.lock).manifest.sequence == newer.manifest.sequence + 1


def test_a_bundle_that_is_there_and_differs_in_nothing_is_the_same_bundle() -> None:
    images = {"docker.io/x/one:1": ONE}
    first = composed(images)
    assert composed(images, there=first.head, now=START + 60).head == first.head
    for other in (
        composed(images, there=first.head, now=START + 60, sequence=9),
        composed(images, there=first.head, now=START + 60, registry="other.example"),
        composed({"docker.io/x/one:1": TWO}, there=first.head, now=START + 60),
    ):
        assert other.head.id != first.head.id
        assert other.manifest.created == utc(START + 60)


def test_signatures_that_differ_every_time_are_kept_with_the_head_they_are_over() -> None:
    images = {"docker.io/x/one:1": ONE}
    builder, other = make_signer("builder"), make_signer("other")
    made = composed(images, signers=[builder])
    # As a token signs: another nonce, other bytes, as valid.
    signature = os_signature(builder, made.head.sums)
    assert signature != made.head.signatures[0][1]
    first = replace(made.head, signatures=(("builder", signature),))
    assert composed(images, signers=[builder], there=first, now=START + 60).head == first
    wrong = replace(made.head, signatures=(("builder", other.sign(made.head.sums)),))
    assert composed(images, signers=[builder], there=wrong, now=START + 60).head == made.head
    both = composed(images, signers=[builder, other], there=first, now=START + 60).head
    assert [label for label, _ in both.signatures] == ["builder", "other"]
    assert both.sums == first.sums


def os_signature(signer: Signer, message: bytes) -> bytes:
    signature: bytes = signer._private.sign(message, ec.ECDSA(hashes.SHA256()))
    return signature


def test_a_lost_archive_is_built_again_from_the_lock_and_the_same_time() -> None:
    images = {"docker.io/x/one:1": ONE}
    first = composed(images)
    assert composed(images, lock=first.lock).head == first.head
    assert composed(images, lock=first.lock, now=START + 60).manifest.sequence == START + 60
    assert composed(images, lock=first.lock, now=START - 60).manifest.sequence == START + 1


def lying(image: MadeImage, digest: str, size: int) -> MadeImage:
    """``image``, single, whose manifest says that a blob has another size."""
    (_, media_type, data) = image.manifests[0]
    plain = json.loads(data)
    for blob in (plain["config"], *plain["layers"]):
        blob["size"] = size if blob["digest"] == digest else blob["size"]
    data = json.dumps(plain).encode()
    return replace(image, manifests=((digest_of(data), media_type, data),))


@pytest.mark.parametrize("size", [2**52, 17])
def test_a_size_that_no_blob_has_names_its_image(size: int) -> None:
    digest = next(layer["digest"] for layer in json.loads(TWO.manifests[0][2])["layers"])
    images = {"docker.io/x/two:1": TWO, "docker.io/x/liar:1": lying(TWO, digest, size)}
    with pytest.raises(ConfigError, match=r"docker\.io/x/liar:1") as caught:
        composed(images)
    assert str(size) in caught.value.why


BASE = Base("0" * 64, "demo 0", "demo", START + 1000, {})


def test_a_delta_is_newer_than_its_base() -> None:
    images = {"docker.io/x/one:1": ONE}
    assert composed(images, base=BASE).manifest.sequence == START + 1001
    assert composed(images, base=replace(BASE, sequence=5)).manifest.sequence == START
    assert composed(images, base=replace(BASE, bundle="other")).manifest.sequence == START
    again = composed(images, base=BASE, there=composed(images, base=BASE).head, now=START + 9)
    assert (again.manifest.sequence, again.manifest.created) == (START + 1001, utc(START))


@pytest.mark.parametrize("sequence", [1, START + 1000])
def test_a_delta_that_would_be_older_is_refused(sequence: int) -> None:
    with pytest.raises(ConfigError, match="not larger than that of the base"):
        composed({"docker.io/x/one:1": ONE}, base=BASE, sequence=sequence)
    assert composed({"docker.io/x/one:1": ONE}, base=replace(BASE, sequence=0), sequence=1).manifest.sequence == 1


def signature(name: str) -> Attached:
    """A signature of ``ONE``, of other bytes for each ``name``."""
    image = make_image(name=name, platforms=["linux/amd64"])
    tag = ONE.digest.replace(":", "-") + ".sig"
    parsed = parse_manifest(image.data, name, image.media_type)
    return Attached("signature", ONE.digest, tag, image.digest, image.data, parsed, ())


def test_a_tag_that_is_listed_and_belongs_to_an_image_is_one_thing() -> None:
    listed = make_image(name="listed", platforms=["linux/amd64"])
    tag = f"docker.io/x/one:{signature('listed').tag}"
    images = {"docker.io/x/one:1": ONE, tag: listed}
    same = composed(images, beside={"docker.io/x/one:1": signature("listed")}).manifest
    assert same.attachments[0].digest == listed.digest == same.images[1].digest
    with pytest.raises(ConfigError, match="one target path") as caught:
        composed(images, beside={"docker.io/x/one:1": signature("signed anew")})
    assert caught.value.faults[0][0] == "the signature of docker.io/x/one:1"
    assert tag in caught.value.faults[0][1]
    assert "leave out the one that is listed" in caught.value.hint


def test_two_signatures_of_one_image_from_two_places_are_refused_where_they_share_a_repository() -> None:
    one, two = "docker.io/x/one:1", "quay.io/x/one:1"
    beside = {one: signature("here"), two: signature("there")}
    with pytest.raises(ConfigError, match="one target path") as caught:
        composed({one: ONE, two: ONE}, beside=beside)
    assert "keep-host" in caught.value.hint
    apart = composed({one: ONE, two: ONE}, beside=beside, paths="keep-host").manifest
    assert {item.digest for item in apart.attachments} == {found.digest for found in beside.values()}
    check_manifest(apart)


def test_a_host_too_long_for_a_files_name_is_the_configs_fault() -> None:
    host = ".".join(["a" * 40] * 4) + ".io"
    with pytest.raises(ConfigError, match="too long") as caught:
        composed({f"{host}:5000/x/one:1": ONE})
    assert "host" in caught.value.hint
