"""``kill -9`` in the middle of a build, then the same command: it goes on, and the bytes are the same."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from bundler.fetch import RANGE
from loader.bundle import frames
from loader.bundle.digest import digest_of
from loader.bundle.limits import FRAME
from tests.support.cli import Cli
from tests.support.images import make_image, make_layer
from tests.support.registry import RegistryServer

BUILD = ("build", "bundle.yaml", "-o", "out", "--key", "builder.key", "--plain-http", "--jobs", "1")
# Two are uncompressed: their frames are compressed here, and have lengths that nobody can predict.
LAYERS = [make_layer(f"layer{number}", 5_000_000, compressed=number not in {0, 2}) for number in range(4)]
PART = ".big-1.tar.zst.part"


@pytest.fixture
def source() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        make_image(layers=LAYERS, platforms=["linux/amd64"]).put(server.store, "app", "1")
        yield server


@pytest.fixture
def cli(tmp_path: Path, source: RegistryServer) -> Cli:
    cli = Cli(tmp_path)
    cli.bundler("keygen", "builder").expect()
    text = f'name: big\nversion: "1"\nregistry: r.example:5000\nimages:\n- {source.host}/app:1\n'
    (tmp_path / "bundle.yaml").write_text(text)
    return cli


def stop(cli: Cli, source: RegistryServer, layer: int, number: int = signal.SIGKILL) -> Path:
    """Start a build, and end it while it waits for a layer; its part file has what came before."""
    digest = layers()[layer]
    stuck = source.fail("hang", path=f"/blobs/{digest}", seconds=20)
    command = cli.command("airgap-bundler", *BUILD)
    running = subprocess.Popen(
        command, cwd=cli.folder, env=cli.variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    part = cli.folder / "out" / PART
    due = layer * 4_900_000
    until = time.monotonic() + 30
    while stuck.times or not part.exists() or part.stat().st_size < due:
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    running.send_signal(number)
    running.wait(timeout=30)
    source.faults.clear()
    return part


def layers() -> list[str]:
    """The layers in archive order, which is the order of the manifest."""
    return [digest_of(layer) for layer in LAYERS]


def from_scratch(cli: Cli, folder: Path, created: str) -> bytes:
    """The same bundle built in one go, with the time and the key of the first."""
    folder.mkdir()
    for name in ("builder.key", "bundle.yaml"):
        (folder / name).write_bytes((cli.folder / name).read_bytes())
    other = Cli(folder, {"SOURCE_DATE_EPOCH": created})
    other.bundler(*BUILD).expect()
    return (folder / "out/big-1.tar.zst").read_bytes()


def test_killed_and_run_again(cli: Cli, source: RegistryServer, tmp_path: Path) -> None:
    part = stop(cli, source, 2)
    assert part.exists()
    asked = len(source.requests)
    time.sleep(1.1)  # the clock moved on: time and sequence come from the part
    ran = cli.bundler(*BUILD).expect()
    assert "proven good" in ran.out
    again = [one.path for one in source.requests[asked:] if "/blobs/" in one.path]
    assert not [path for path in again if path.endswith(tuple(layers()[:2]))]
    assert [path for path in again if path.endswith(layers()[3])]
    assert not part.exists()
    archive = cli.folder / "out/big-1.tar.zst"
    cli.loader("verify", archive, "--trust", "builder.pub").expect()
    found = cli.loader("inspect", archive, "--trust", "builder.pub", "--json").expect().json
    assert archive.read_bytes() == from_scratch(cli, tmp_path / "other", str(found["sequence"]))
    checksum = subprocess.run(["sha256sum", "-c", "big-1.tar.zst.sha256"], cwd=archive.parent, capture_output=True)
    assert checksum.returncode == 0


@pytest.mark.parametrize("compressed", [True, False], ids=["raw", "zstd"])
def test_killed_in_the_middle_of_a_layer(cli: Cli, source: RegistryServer, tmp_path: Path, compressed: bool) -> None:
    """What is there of the layer is not fetched again: its whole frames are kept."""
    layer = make_layer("large", 26_000_000, compressed=compressed)
    make_image(layers=[layer], platforms=["linux/amd64"]).put(source.store, "app", "1")
    path = f"/blobs/{digest_of(layer)}"

    def stick(_: int) -> None:
        if source.requests[-1].path.endswith(path) and not source.faults:
            source.fail("hang", path=path, seconds=20)

    source.on_request = stick
    running = subprocess.Popen(
        cli.command("airgap-bundler", *BUILD),
        cwd=cli.folder,
        env=cli.variables(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    part = cli.folder / "out" / PART
    until = time.monotonic() + 30
    size = -1
    # The first range is written whole once the file has its size and grows no more.
    while not source.faults or source.faults[0].times or size < RANGE or part.stat().st_size != size:
        assert running.poll() is None
        assert time.monotonic() < until
        size = part.stat().st_size if part.exists() else 0
        time.sleep(0.3)
    running.kill()
    running.wait(timeout=30)
    source.on_request = lambda _: None
    source.faults.clear()
    asked = len(source.requests)
    time.sleep(1.1)
    assert "21 MB of it proven good" in cli.bundler(*BUILD).expect().out
    ranges = [one.headers["range"] for one in source.requests[asked:] if one.path.endswith(path)]
    assert ranges == [f"bytes={RANGE}-{len(layer) - 1}"]
    archive = cli.folder / "out/big-1.tar.zst"
    found = cli.loader("inspect", archive, "--trust", "builder.pub", "--json").expect().json
    assert archive.read_bytes() == from_scratch(cli, tmp_path / "other", str(found["sequence"]))


def test_interrupted_and_run_again(cli: Cli, source: RegistryServer) -> None:
    assert stop(cli, source, 1, signal.SIGTERM).exists()
    assert "proven good" in cli.bundler(*BUILD).expect().out


@pytest.mark.parametrize("place", [700, 6_000_000], ids=["head", "layer"])
def test_a_part_that_was_changed_is_not_believed(cli: Cli, source: RegistryServer, place: int) -> None:
    part = stop(cli, source, 2)
    with part.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1]))
    ran = cli.bundler(*BUILD).expect()
    assert ("nothing of it" in ran.out) == (place == 700)
    cli.loader("verify", "out/big-1.tar.zst", "--trust", "builder.pub").expect()


def test_a_part_that_was_damaged_behind_its_head_gives_the_same_bundle(
    cli: Cli, source: RegistryServer, tmp_path: Path
) -> None:
    """Not even its first frame is whole, but the members before the damage are proven good."""
    part = stop(cli, source, 2)
    data = part.read_bytes()
    place = data.index(b'"architecture"')
    part.write_bytes(data[:place] + b" " + data[place + 1 :])
    assert "proven good" in cli.bundler(*BUILD).expect().out
    archive = cli.folder / "out/big-1.tar.zst"
    found = cli.loader("inspect", archive, "--trust", "builder.pub", "--json").expect().json
    assert archive.read_bytes() == from_scratch(cli, tmp_path / "other", str(found["sequence"]))


def test_frames_that_somebody_else_compressed_are_made_again(cli: Cli, source: RegistryServer, tmp_path: Path) -> None:
    part = stop(cli, source, 2)
    data = part.read_bytes()
    start = data.index(frames.header(FRAME, checksum=True))
    head, step = len(frames.header(FRAME, checksum=True)), 2**17
    content = data[start + head :]
    # libzstd stores what it cannot compress; the same content, in blocks of half the size, is as valid a frame.
    plain = b"".join(content[3 + at : 3 + at + step] for at in range(0, 32 * (step + 3), step + 3))
    checksum = content[32 * (step + 3) :][:4]
    blocks = [plain[at : at + step // 2] for at in range(0, len(plain), step // 2)]
    packed = [(len(one) << 3 | (at == 63)).to_bytes(3, "little") + one for at, one in enumerate(blocks)]
    other = data[start : start + head] + b"".join(packed) + checksum
    assert zstandard.ZstdDecompressor().decompress(other) == plain
    part.write_bytes(data[:start] + other + data[start + head + 32 * (step + 3) + 4 :])
    asked = len(source.requests)
    cli.bundler(*BUILD).expect()
    assert [one for one in source.requests[asked:] if one.path.endswith(layers()[0])]
    archive = cli.folder / "out/big-1.tar.zst"
    found = cli.loader("inspect", archive, "--trust", "builder.pub", "--json").expect().json
    assert archive.read_bytes() == from_scratch(cli, tmp_path / "other", str(found["sequence"]))


def test_a_part_of_another_config_is_thrown_away(cli: Cli, source: RegistryServer) -> None:
    stop(cli, source, 2)
    config = cli.folder / "bundle.yaml"
    config.write_text(config.read_text().replace("r.example", "other.example"))
    assert "nothing of it" in cli.bundler(*BUILD).expect().out
    cli.loader("verify", "out/big-1.tar.zst", "--trust", "builder.pub").expect()


def test_a_link_in_the_place_of_the_part_is_not_followed(cli: Cli, tmp_path: Path) -> None:
    (cli.folder / "out").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (cli.folder / "out" / PART).symlink_to(victim)
    assert "remove what has its name" in cli.bundler(*BUILD).expect(1).three_lines[2]
    assert victim.read_text() == "precious"
