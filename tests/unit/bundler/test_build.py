from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from bundler.build import Built
from bundler.lock import Lock
from loader.bundle.digest import digest_of
from loader.bundle.errors import BundleError, ConfigError, RegistryError, StorageError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.limits import FRAME
from loader.bundle.verify import Complete
from loader.signing import Signer
from tests.support.builds import START, MemoryImage, Outside, Told, make_config, make_ports, run_build
from tests.support.bundles import make_policy, make_signer, make_trust, verify
from tests.support.images import MadeImage, make_image, make_layer
from tests.support.refusals import refused

BUILDER, APPROVER = make_signer("builder"), make_signer("approver")
SHARED = make_layer("shared", FRAME + 1000)
ONE = make_image(layers=[SHARED], name="one")
TWO = make_image(layers=[SHARED, make_layer("plain", 2**21, compressed=False)], name="two", platforms=["linux/amd64"])


def outside(*, one: MadeImage = ONE, two: MadeImage = TWO) -> Outside:
    return Outside({"docker.io/x/one:1": MemoryImage(one), "quay.io/y/two:2": MemoryImage(two)})


def check(built: Built, *signers: Signer) -> Complete:
    return verify(built.path.read_bytes(), make_trust(make_policy(*signers)))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run_build(outside(), tmp_path_factory.mktemp("out"))


def test_a_bundle_holds_its_images_bit_for_bit(built: Built) -> None:
    bundle = check(built).bundle
    assert [(image.source, image.tag, image.digest) for image in bundle.manifest.images] == [
        ("docker.io/x/one", "1", ONE.digest),
        ("quay.io/y/two", "2", TWO.digest),
    ]
    for image, made in zip(bundle.manifest.images, (ONE, TWO)):
        assert bundle.read(f"{image.path}/manifest.json") == made.data
        for digest, _, data in made.manifests[:-1]:
            assert bundle.read(f"{image.path}/{digest[7:]}.manifest.json") == data
        for digest, data in made.blobs.items():
            assert b"".join(map(bytes, bundle.open(f"{image.path}/{digest[7:]}"))) == data


def test_what_stands_beside_a_bundle(built: Built) -> None:
    name = "demo-1.tar.zst"
    beside = [name, f"{name}.sha256", f"{name}.sha256.builder.sig", "demo-1.head.tar", "demo-1.report.html"]
    assert names(built.path.parent) == sorted(beside)
    sha256 = hashlib.sha256(built.path.read_bytes()).hexdigest()
    sidecar = built.path.with_name(f"{name}.sha256").read_bytes()
    assert sidecar == f"{sha256}  {name}\n".encode()
    assert built.path.with_name(f"{name}.sha256.builder.sig").read_bytes() == BUILDER.sign(sidecar)
    assert (built.sha256, built.size, built.unchanged) == (sha256, built.path.stat().st_size, False)
    with tarfile.open(built.path.with_name("demo-1.head.tar")) as tar:
        assert tar.getnames() == ["SHA256SUMS", "SHA256SUMS.builder.sig", "bundle.json"]


def test_stock_readers_unpack_it(built: Built, tmp_path: Path) -> None:
    plain = zstandard.ZstdDecompressor().stream_reader(built.path.read_bytes(), read_across_frames=True).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        # Where Python has a filter, the strictest finds nothing to object to.
        if hasattr(tarfile, "data_filter"):
            tar.extractall(tmp_path, filter="data")
        else:
            tar.extractall(tmp_path)
    for line in (tmp_path / "SHA256SUMS").read_text().splitlines():
        digest, path = line.split("  ")
        assert hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() == digest
    shared = [path for path in tmp_path.rglob("*") if path.name == hashlib.sha256(SHARED).hexdigest()]
    assert len(shared) == 2
    assert shared[0].stat().st_ino == shared[1].stat().st_ino


def test_every_blob_is_read_once(tmp_path: Path) -> None:
    places = outside()
    run_build(places, tmp_path)
    read = [entry for image in places.images.values() for entry in image.read]
    assert len({(digest, start) for digest, start, _ in read}) == len(read)
    assert {digest for digest, _, _ in read} == {*ONE.blobs, *TWO.blobs}


def test_a_layer_is_not_asked_of_an_image_that_calls_it_foreign(tmp_path: Path) -> None:
    own = make_image(name="own", platforms=["windows/amd64"], layers=[make_layer("base")])
    plain = json.loads(own.data)
    base, *_ = plain["layers"]
    base["urls"] = ["https://elsewhere.example/layer"]
    data = json.dumps(plain).encode()
    older = replace(
        own,
        manifests=((digest_of(data), own.media_type, data),),
        blobs={digest: blob for digest, blob in own.blobs.items() if digest != base["digest"]},
    )
    built = run_build(outside(one=older, two=own), tmp_path)
    listed = [file.path for file in check(built, BUILDER).bundle.manifest.files]
    assert [path for path in listed if path.endswith(base["digest"][7:])] == [f"images/0001-two/{base['digest'][7:]}"]


def test_the_same_build_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    again = run_build(outside(), tmp_path, ports=make_ports(outside(), jobs=1))
    assert again.path.read_bytes() == built.path.read_bytes()
    for name in names(built.path.parent):
        assert (tmp_path / name).read_bytes() == built.path.with_name(name).read_bytes()


def test_building_again_reads_no_layer(tmp_path: Path) -> None:
    first = run_build(outside(), tmp_path)
    before = first.path.stat()
    places = outside()
    later = make_ports(places, now=START + 1000)
    again = run_build(places, tmp_path, lock=first.composition.lock, ports=later)
    assert again.unchanged
    assert (again.composition.head, again.sha256) == (first.composition.head, first.sha256)
    assert (first.path.stat().st_ino, first.path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert {digest for image in places.images.values() for digest, _, _ in image.read} <= {
        digest for digest, data in TWO.blobs.items() if len(data) < 2**20
    }


def test_another_bundle_of_the_same_name_is_not_overwritten(tmp_path: Path) -> None:
    first = run_build(outside(), tmp_path)
    before = first.path.read_bytes()
    places = outside(one=make_image(name="changed"))
    with refused(ConfigError, str(first.path), first.composition.head.id[:12]):
        run_build(places, tmp_path, lock=Lock({}, first.composition.lock.last))
    assert first.path.read_bytes() == before
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_a_damaged_bundle_of_the_same_name_is_made_again(tmp_path: Path) -> None:
    first = run_build(outside(), tmp_path)
    good = first.path.read_bytes()
    for damaged in (good[:-1], b"", good[: len(good) // 2], good[:-2000] + bytes(2000)):
        first.path.write_bytes(damaged)
        again = run_build(outside(), tmp_path, lock=first.composition.lock)
        assert (again.unchanged, again.path.read_bytes()) == (False, good)


def test_a_folder_in_its_place_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "demo-1.tar.zst").mkdir()
    with pytest.raises(ConfigError, match="is no file"):
        run_build(outside(), tmp_path)
    assert names(tmp_path) == ["demo-1.tar.zst"]


def test_an_unsigned_bundle_says_so(tmp_path: Path) -> None:
    told = Told()
    places = outside()
    unsigned = run_build(places, tmp_path, signers=[], ports=make_ports(places, told))
    assert ("verified", f"UNSIGNED, id {unsigned.composition.head.id}") in told.lines
    with refused(TrustError, "no trusted key signed"):
        check(unsigned)
    assert not [name for name in names(tmp_path) if name.endswith(".sig")]
    signed = run_build(outside(), tmp_path, lock=unsigned.composition.lock)
    assert (signed.unchanged, check(signed).bundle.id) == (False, unsigned.composition.head.id)


def test_a_build_takes_nobodys_signature_away(tmp_path: Path) -> None:
    first = run_build(outside(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    told = Told()
    places = outside()
    again = run_build(places, tmp_path, signers=[], lock=first.composition.lock, ports=make_ports(places, told))
    assert (again.unchanged, again.composition.head) == (True, first.composition.head)
    assert told.lines[-1] == ("verified", f"signature of {BUILDER.label} kept as it is, id {first.composition.head.id}")
    with refused(ConfigError, f"signed by {BUILDER.label}", "another key"):
        run_build(outside(), tmp_path, signers=[APPROVER], lock=first.composition.lock)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_several_signers(tmp_path: Path) -> None:
    bundle = check(run_build(outside(), tmp_path, signers=[BUILDER, APPROVER]), BUILDER, APPROVER).bundle
    assert [signer.label for signer in bundle.signers] == ["approver", "builder"]


def test_what_is_said_and_counted(tmp_path: Path) -> None:
    told = Told()
    places = outside()
    done = run_build(places, tmp_path, ports=make_ports(places, told))
    assert [step for step, _ in told.lines] == ["resolved", "lock", "lock", "rendered", "packed", "verified"]
    assert told.lines[0][1].startswith("2 images, 4 manifests, ")
    assert str(done.path) in told.lines[-2][1]
    assert told.counted["pack"] == told.totals["pack"]


def test_locked_refuses_what_the_lock_does_not_hold(tmp_path: Path) -> None:
    places = outside()
    with pytest.raises(ConfigError, match="--locked") as caught:
        run_build(places, tmp_path, ports=make_ports(places, locked=True))
    assert len(caught.value.faults) == 2
    assert names(tmp_path) == []


def test_a_lost_blob_leaves_nothing_but_what_the_next_build_goes_on_from(tmp_path: Path) -> None:
    def lose(digest: str) -> None:
        if digest == "sha256:" + hashlib.sha256(SHARED).hexdigest():
            raise RegistryError("GET blob", status=502, why="bad gateway")

    places = outside()
    for image in places.images.values():
        image.before = lose
    with refused(RegistryError, "bad gateway"):
        run_build(places, tmp_path / "out")
    assert set(names(tmp_path / "out")) <= {".demo-1.tar.zst.part"}


def test_what_came_before_a_blob_that_arrives_wrong_is_kept(tmp_path: Path) -> None:
    places = outside()
    for image in places.images.values():
        image.spoil = lambda digest, data: data[:-1] + b"x" if len(data) > FRAME else data
    with refused(TrustError, "a blob arrived wrong", hashlib.sha256(SHARED).hexdigest()):
        run_build(places, tmp_path / "out")
    assert names(tmp_path / "out") == [".demo-1.tar.zst.part"]
    honest = outside()
    built = run_build(honest, tmp_path / "out")
    assert built.path.read_bytes() == run_build(outside(), tmp_path / "again").path.read_bytes()


class Usage:
    free = 1000


def test_too_little_space_is_seen_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage())
    places = outside()
    with refused(StorageError, f"not enough space in {tmp_path / 'out'}", "free 1"):
        run_build(places, tmp_path / "out")
    assert names(tmp_path / "out") == []
    assert max(length for image in places.images.values() for _, _, length in image.read) < 2**20


def test_a_result_that_reads_back_wrong_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = FileSource.read_into

    def lying(self: FileSource, offset: int, view: memoryview) -> int:
        done = honest(self, offset, view)
        if self.name.endswith(".part") and offset + done == (tmp_path / self.name).stat().st_size:
            view[done - 1] ^= 1
        return done

    monkeypatch.setattr(FileSource, "read_into", lying)
    with pytest.raises(BundleError):
        run_build(outside(), tmp_path)
    assert names(tmp_path) == []


def sequences(tmp_path: Path, lock: Lock, now: int, config: Mapping[str, object]) -> int:
    places = outside()
    made = run_build(
        places,
        tmp_path / str(now),
        lock=lock,
        config=make_config(list(places.images), **config),
        ports=make_ports(places, now=now),
    )
    before = lock.last.sequence if lock.last is not None else 0
    assert made.composition.lock.last is not None
    assert made.composition.lock.last.sequence == max(before, made.composition.manifest.sequence)
    return made.composition.manifest.sequence


def test_the_sequence_is_the_time_or_one_more_than_the_last(built: Built, tmp_path: Path) -> None:
    lock = built.composition.lock
    assert lock.last is not None
    ahead = Lock(lock.images, replace(lock.last, sequence=START + 10_000))
    assert sequences(tmp_path, Lock(), START + 1, {}) == START + 1
    assert sequences(tmp_path, lock, START + 2, {}) == START + 2
    assert sequences(tmp_path, ahead, START + 3, {}) == START + 10_001
    assert sequences(tmp_path, ahead, START + 4, {"sequence": 5}) == 5


def test_one_image_for_two_platforms_under_two_names_has_both(tmp_path: Path) -> None:
    places = Outside({"docker.io/x/one:1": MemoryImage(ONE), "quay.io/y/one:1": MemoryImage(ONE)})
    config = make_config(list(places.images))
    first, second = config.images
    config = replace(
        config, images=(replace(first, platforms=("linux/amd64",)), replace(second, platforms=("linux/arm64",)))
    )
    bundle = check(run_build(places, tmp_path, config=config)).bundle
    images = bundle.manifest.images
    assert images[0].path == images[1].path
    assert [image.platforms for image in images] == [("linux/amd64",), ("linux/arm64",)]
    carried = {node.digest for node in bundle.graphs[images[0].path].nodes}
    assert carried == {digest for digest, _, _ in ONE.manifests}
    assert [image.omitted for image in images] == [(), ()]


def test_one_image_twice_for_the_same_platform_lacks_the_other(tmp_path: Path) -> None:
    places = Outside({"docker.io/x/one:1": MemoryImage(ONE), "quay.io/y/one:1": MemoryImage(ONE)})
    config = make_config(list(places.images))
    config = replace(config, images=tuple(replace(image, platforms=("linux/arm64",)) for image in config.images))
    bundle = check(run_build(places, tmp_path, config=config)).bundle
    left_out = ONE.manifests[0][0]
    assert [[item.digest for item in image.omitted] for image in bundle.manifest.images] == [[left_out], [left_out]]


def test_an_index_with_platforms_left_out_is_warned_of(tmp_path: Path) -> None:
    places = Outside({"docker.io/x/one:1": MemoryImage(ONE), "quay.io/y/two:1": MemoryImage(TWO)})
    for platforms, warned in ((("linux/arm64", "linux/amd64"), False), (("linux/amd64",), True)):
        told = Told()
        config = make_config(list(places.images))
        images = tuple(replace(image, platforms=platforms) for image in config.images)
        run_build(places, tmp_path / str(warned), config=replace(config, images=images), ports=make_ports(places, told))
        warnings = [text for step, text in told.lines if step == "warning"]
        assert bool(warnings) == warned
        assert not warned or warnings[0].startswith("docker.io/x/one:1: an index without all of its platforms")


@pytest.mark.parametrize(("ahead", "warned"), [(-5, True), (0, True), (1, False)])
def test_a_sequence_that_loaders_refuse_is_warned_of(tmp_path: Path, built: Built, ahead: int, warned: bool) -> None:
    told = Told()
    places = outside()
    config = make_config(list(places.images), sequence=START + ahead, version="v2", notAfter="2020-01-01T00:00:00Z")
    run_build(places, tmp_path, config=config, lock=built.composition.lock, ports=make_ports(places, told))
    warnings = [text for step, text in told.lines if step == "warning"]
    assert "notAfter 2020-01-01T00:00:00Z is past" in warnings.pop()
    assert [text.partition(":")[0] for text in warnings] == ([f"sequence {START + ahead}"] if warned else [])
