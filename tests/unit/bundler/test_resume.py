"""Builds that go on from what a stopped one left, cut anywhere: the bytes are those of a build in one go."""

from __future__ import annotations

import bisect
from pathlib import Path

import pytest

from bundler.build import Built
from bundler.pack import layout_members
from loader.bundle.errors import RegistryError
from loader.bundle.limits import FRAME
from loader.bundle.tarlayout import Layout
from tests.support.builds import MemoryImage, Outside, Told, make_ports, run_build
from tests.support.images import make_image, make_layer

RAW = make_layer("raw", 3 * FRAME + 1000)
PLAIN = make_layer("plain", 3 * FRAME + 1000, compressed=False)
SMALL = [make_layer(f"small{number}", 900_000) for number in range(8)]
IMAGE = make_image(layers=[RAW, PLAIN, *SMALL], name="one", platforms=["linux/amd64"])
NAME = "docker.io/x/one:1"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run_build(Outside({NAME: MemoryImage(IMAGE)}), tmp_path_factory.mktemp("whole"))


def left(folder: Path, data: bytes) -> Path:
    """What a stopped build left, in a new folder."""
    folder.mkdir()
    (folder / ".demo-1.tar.zst.part").write_bytes(data)
    return folder


def go_on(folder: Path) -> tuple[bytes, MemoryImage, Told]:
    """Build what is missing; the bytes, what was read for it, and what was said."""
    image, told = MemoryImage(IMAGE), Told()
    places = Outside({NAME: image})
    built = run_build(places, folder, ports=make_ports(places, told))
    return built.path.read_bytes(), image, told


class Places:
    """Where the frames of the archive end, and which members they belong to."""

    def __init__(self, built: Built) -> None:
        planned = built.composition
        self.layout = Layout(layout_members(planned.head, planned.manifest.files))
        self.ends = [0]
        data = built.path.read_bytes()
        entries = len(self.layout.frames)
        table = data[-9 - 8 * entries : -9]
        for number in range(entries):
            self.ends.append(self.ends[-1] + int.from_bytes(table[8 * number : 8 * number + 4], "little"))

    def big(self, content: bytes) -> tuple[int, int]:
        """The first frame of a layer and the one behind its last."""
        for index, span in self.layout.frame_of.items():
            if self.layout.members[index].size == len(content):
                return span.first, span.stop
        raise AssertionError("no such layer")


@pytest.mark.parametrize("layer", [RAW, PLAIN], ids=["raw", "zstd"])
@pytest.mark.parametrize("frames", [0, 1, 2, 3])
@pytest.mark.parametrize("more", [0, 1000])
def test_the_whole_frames_of_a_layer_are_kept(
    layer: bytes, frames: int, more: int, whole: Built, tmp_path: Path
) -> None:
    first, _ = Places(whole).big(layer)
    data = whole.path.read_bytes()
    found, image, told = go_on(left(tmp_path / "out", data[: Places(whole).ends[first + frames] + more]))
    assert found == data
    starts = [start for digest, start, _ in image.read if len(image.image.blobs[digest]) == len(layer)]
    assert min(starts) == frames * FRAME
    assert told.counted["pack"] == told.totals["pack"]


def test_a_part_cut_anywhere_gives_the_same_bytes(whole: Built, tmp_path: Path) -> None:
    data, ends = whole.path.read_bytes(), Places(whole).ends
    cuts = {0, 1, 300, 5000, len(data) - 1, len(data)}
    cuts |= {end + near for end in ends[-5:] for near in (-1, 0, 600, 2_000_000)}
    for cut in sorted(cut for cut in cuts if 0 <= cut <= len(data)):
        found, image, _ = go_on(left(tmp_path / str(cut), data[:cut]))
        assert found == data, cut
        # What is behind the last whole frame at most: small layers stand between frames.
        again = sum(length for digest, _, length in image.read)
        assert again <= len(data) - ends[bisect.bisect_right(ends, cut) - 1] + 900_000 or cut < 5001, cut


def test_small_layers_that_are_whole_are_not_fetched_again(whole: Built, tmp_path: Path) -> None:
    data, ends = whole.path.read_bytes(), Places(whole).ends
    _, image, _ = go_on(left(tmp_path / "out", data[: ends[-2] + 2_000_000]))
    assert 1 < len(image.read) < len(SMALL)


def test_a_layer_begun_with_other_bytes_is_fetched_anew(whole: Built, tmp_path: Path) -> None:
    places, data = Places(whole), bytearray(whole.path.read_bytes())
    first, _ = places.big(RAW)
    data[places.ends[first] + 100] ^= 1
    found, image, told = go_on(left(tmp_path / "out", bytes(data[: places.ends[first + 2]])))
    assert found == whole.path.read_bytes()
    assert any("fetched anew" in text for step, text in told.lines if step == "resumed")
    starts = [start for digest, start, _ in image.read if len(image.image.blobs[digest]) == len(RAW)]
    assert starts[:2] == [2 * FRAME, 0]


def test_a_layer_that_is_whole_and_wrong_is_fetched_from_its_start(whole: Built, tmp_path: Path) -> None:
    places, data = Places(whole), bytearray(whole.path.read_bytes())
    first, stop = places.big(RAW)
    data[places.ends[first] + 100] ^= 1
    found, image, _ = go_on(left(tmp_path / "out", bytes(data[: places.ends[stop]])))
    assert found == whole.path.read_bytes()
    assert min(start for digest, start, _ in image.read if len(image.image.blobs[digest]) == len(RAW)) == 0


def test_a_source_without_ranges_sends_the_rest_once(whole: Built, tmp_path: Path) -> None:
    first, _ = Places(whole).big(RAW)
    data = whole.path.read_bytes()
    image = MemoryImage(IMAGE, ranges=False)
    run_build(Outside({NAME: image}), left(tmp_path / "out", data[: Places(whole).ends[first + 1]]))
    assert (tmp_path / "out/demo-1.tar.zst").read_bytes() == data
    assert len([digest for digest, _, _ in image.read if len(IMAGE.blobs[digest]) == len(RAW)]) == 1


def test_a_registry_that_goes_away_does_not_cost_what_came_before(whole: Built, tmp_path: Path) -> None:
    image = MemoryImage(IMAGE)
    plain = next(digest for digest, data in IMAGE.blobs.items() if data == PLAIN)

    def lose(digest: str) -> None:
        if digest == plain:
            raise RegistryError("GET blob", status=503, why="down", hint="ask its owner")

    image.before = lose
    places = Outside({NAME: image})
    with pytest.raises(RegistryError, match="down") as caught:
        run_build(places, tmp_path / "out", ports=make_ports(places, jobs=1))
    assert "ask its owner; the same command goes on from the " in caught.value.hint
    found, image, _ = go_on(tmp_path / "out")
    assert found == whole.path.read_bytes()
    assert RAW not in [IMAGE.blobs[digest] for digest, _, _ in image.read]
