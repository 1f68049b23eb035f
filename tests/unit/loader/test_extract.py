from __future__ import annotations

import shutil
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest

from loader.bundle.digest import digest_of
from loader.bundle.errors import ConfigError, StorageError, TrustError
from loader.bundle.verify import Complete
from loader.extract import Extracting, extract_layouts
from loader.oci.dirlayout import DirLayout
from loader.ocilayout import docker_manifest, index, write_archive, write_layout
from loader.picked import Picked, pick
from tests.support.bundles import MemorySource, full_recipe, verify
from tests.support.refusals import refused
from tests.support.served import BIG, served


def ignore(_: int) -> None:
    return


def picked(complete: Complete) -> list[Picked]:
    return pick(complete.bundle, complete.bundle.manifest.images, None)


@pytest.fixture
def source() -> MemorySource:
    return MemorySource(served().recipe.archive())


@pytest.fixture
def complete(source: MemorySource) -> Complete:
    return verify(source)


@pytest.fixture
def work(complete: Complete) -> Extracting:
    return Extracting(complete, (), ignore)


def test_layouts_are_whole_and_share_their_bytes(work: Extracting, tmp_path: Path) -> None:
    counted: list[int] = []
    counting = Extracting(work.complete, (), counted.append)
    paths = extract_layouts(counting, picked(work.complete), tmp_path)
    assert [DirLayout.open(path).digest for path in paths] == [
        served().one.digest,
        served().two.digest,
        served().bare.digest,
    ]
    first, second = (path / digest_of(BIG)[7:] for path in paths[:2])
    assert first.read_bytes() == BIG
    assert first.samefile(second)
    blobs = {**served().one.blobs, **served().two.blobs, **served().bare.blobs}
    assert sum(counted) == sum(map(len, blobs.values()))


def test_what_is_there_is_not_written_again(work: Extracting, tmp_path: Path) -> None:
    first, second, third = extract_layouts(work, picked(work.complete), tmp_path)
    shutil.rmtree(second)
    shared = (first / digest_of(BIG)[7:]).stat().st_ino
    extract_layouts(work, picked(work.complete), tmp_path)
    assert (second / digest_of(BIG)[7:]).stat().st_ino == shared
    (third / "more").write_bytes(b"")
    with refused(StorageError, str(third)):
        extract_layouts(work, picked(work.complete), tmp_path)


def test_signatures_keep_the_number_of_their_manifest(tmp_path: Path) -> None:
    complete = verify(full_recipe().archive())
    work = Extracting(complete, (), ignore)
    (path, *_) = extract_layouts(work, picked(complete), tmp_path)
    assert (path / "signature-1").read_bytes() == b"a simple signature"
    # It is the index that was signed, not its child.
    child = pick(complete.bundle, complete.bundle.manifest.images[:1], "linux/amd64")
    (alone,) = extract_layouts(work, child, tmp_path / "alone")
    assert not (alone / "signature-1").exists()


def test_a_platform_alone(work: Extracting) -> None:
    images = work.complete.bundle.manifest.images
    (one,) = pick(work.complete.bundle, images[:1], "linux/arm64")
    assert (one.top.digest, one.platform) == (served().one.manifests[1][0], "linux/arm64")
    assert one.names == ("docker.io/ceph/ceph:v1", f"docker.io/ceph/ceph@{one.top.digest}")
    with pytest.raises(ConfigError) as found:
        pick(work.complete.bundle, images, "linux/s390x")
    assert [place for place, _ in found.value.faults] == [
        "docker.io/ceph/ceph:v1",
        "quay.io/ceph/ceph:v2",
        f"registry.local:5000/team/bare@{served().bare.digest}",
    ]


def test_an_archive_is_the_same_bytes_each_time(work: Extracting, tmp_path: Path) -> None:
    one = write_archive(work, picked(work.complete), tmp_path / "one.tar")
    two = write_archive(work, picked(work.complete), tmp_path / "new/folder/two.tar")
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as tar:
        names = tar.getnames()
        assert names[:2] == ["oci-layout", "index.json"]
        for name in names[2:]:
            stream = tar.extractfile(name)
            assert stream is not None
            assert digest_of(stream.read())[7:] == name.rpartition("/")[2]
    assert len(names) == len(set(names))


def test_a_layout_in_a_folder(work: Extracting, tmp_path: Path) -> None:
    output = tmp_path / "layout"
    output.mkdir()
    (tmp_path / ".layout.part").mkdir()  # of a run that was killed
    write_layout(work, picked(work.complete), output)
    assert (output / "index.json").read_bytes() == index(work.complete.bundle, picked(work.complete))
    assert [path.name for path in tmp_path.iterdir()] == ["layout"]
    with refused(StorageError, "layout"):
        write_layout(work, picked(work.complete), output)


def test_no_docker_manifest_for_an_index(work: Extracting) -> None:
    assert docker_manifest(work.complete.bundle, picked(work.complete)) == b""
    assert docker_manifest(work.complete.bundle, picked(work.complete)[1:]) != b""


@pytest.mark.parametrize("kind", ["dir", "oci", "oci-archive"])
def test_a_medium_that_changes_leaves_nothing_under_a_final_name(
    source: MemorySource, work: Extracting, tmp_path: Path, kind: str
) -> None:
    place = source.data.index(BIG[-100:])
    source.data = source.data[:place] + b"?" + source.data[place + 1 :]
    with refused(TrustError, digest_of(BIG)[7:]):
        if kind == "dir":
            extract_layouts(work, picked(work.complete), tmp_path)
        elif kind == "oci":
            write_layout(work, picked(work.complete), tmp_path / "out")
        else:
            write_archive(work, picked(work.complete), tmp_path / "out")
    assert [path for path in tmp_path.rglob("*") if not path.name.startswith(".") and path.name == "out"] == []
    assert not (tmp_path / "images/0000-app0").exists()


@pytest.mark.parametrize("kind", ["dir", "oci", "oci-archive"])
def test_space_is_asked_for_first(work: Extracting, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("loader.space.shutil.disk_usage", lambda path: usage(10**9, 0, len(BIG)))
    with refused(StorageError, "not enough space"):
        if kind == "dir":
            extract_layouts(work, picked(work.complete), tmp_path / "out")
        elif kind == "oci":
            write_layout(work, picked(work.complete), tmp_path / "out")
        else:
            write_archive(work, picked(work.complete), tmp_path / "out/file.tar")
    assert list(tmp_path.iterdir()) == []
