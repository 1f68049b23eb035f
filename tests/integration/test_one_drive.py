"""One drive, several discs: a person at a terminal changes them, a real registry gets what is on them."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loader.bundle.mediaset import CHUNK
from release import pyz
from tests.support.bundles import Recipe, make_recipe, make_signer, private_pem
from tests.support.cli import Cli
from tests.support.gotools import tool
from tests.support.images import make_image, make_layer
from tests.support.programs import DebianRegistry, crane_registry, docker_registry, skopeo
from tests.support.registry import RegistryServer
from tests.support.terminal import Answer, Session, Tray, at_terminal

ARCHIVE = "demo-1.tar.zst"
DOCUMENTS = {"documents/before-rook/common.json": b'{"kind": "List"}\n'}


def recipe(name: str = "l") -> Recipe:
    """Layers that fill four small discs: some inside one, some across two, one that was never compressed."""
    sizes = (3_000_000, 1_500_000, 9_500_000, 1_200_000, 4_000_000)
    layers = [make_layer(f"{name}{number}", size) for number, size in enumerate(sizes)]
    plain = b"".join(b"line %d of a layer\n" % number for number in range(300_000))
    return make_recipe(
        [
            make_image(layers=layers[:3], name="one", platforms=["linux/amd64"]),
            make_image(layers=[*layers[2:], plain], name="two", platforms=["linux/amd64"]),
        ],
        documents=DOCUMENTS,
    )


class Desk:
    """A set on the desk, one drive, and somebody who changes discs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cli = Cli(folder, path=os.environ["PATH"])
        self.tray = Tray(folder / "cdrom", folder / "set")
        self.said: list[tuple[str, int]] = []

    def make(self, name: str, made: Recipe, signer: str = "builder", *options: str) -> None:
        for key in (signer, "builder"):
            (self.folder / f"{key}.pub").write_bytes(make_signer(key).public.pem)
            (self.folder / f"{key}.key").write_bytes(private_pem(make_signer(key)._private))
        (self.folder / ARCHIVE).write_bytes(made.archive())
        common = ("--volume-size", "6MiB", "--parity", "1", "--key", f"{signer}.key", *options)
        self.cli.bundler("media", ARCHIVE, "-o", name, *common).expect()

    def sit_down(self, *command: object, answer: Answer | None = None, presses_enter: bool = True) -> Session:
        line = self.cli.command("airgap-loader", *command, "--trust", "builder.pub")
        return at_terminal(
            line,
            cwd=self.folder,
            env=self.cli.variables(),
            answer=answer or self.put,
            presses_enter=presses_enter,
        )

    def push(self, host: str, **options: object) -> Session:
        return self.sit_down("push", "cdrom", "--registry", host, "--plain-http", **options)  # type: ignore[arg-type]

    def put(self, name: str, _: int) -> bool:
        self.tray.put(name)
        return True

    def scratch(self, name: str, *chunks: int, inside: str = "set") -> None:
        """Damage chunks of a disc."""
        with (self.folder / inside / name / f"demo-1.{name}.s001").open("r+b") as stream:
            for chunk in chunks:
                stream.seek(chunk * CHUNK + 500)
                stream.write(b"\xff\x00\xff")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.make("set", recipe())
    return desk


@pytest.fixture
def desk(made: Desk, tmp_path: Path) -> Desk:
    shutil.copytree(made.folder, tmp_path / "desk")
    copy = Desk(tmp_path / "desk")
    copy.tray.put("v01")
    return copy


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DebianRegistry]:
    with docker_registry(tmp_path / "registry") as running:
        yield running


def require_pushed(registry: DebianRegistry, folder: Path) -> None:
    """Both images are there, whole: skopeo copies them out."""
    for number in (0, 1):
        target = folder / f"pulled{number}"
        skopeo(
            folder, "copy", "--src-tls-verify=false", f"docker://{registry.host}/apps/app{number}:v1", f"dir:{target}"
        )
        assert (target / "manifest.json").exists()


def test_each_disc_is_asked_for_once_and_the_change_is_noticed(desk: Desk, registry: DebianRegistry) -> None:
    ended = desk.push(registry.host, presses_enter=False).expect()
    assert ended.asked == ["v02", "v03", "v04"]
    assert re.search(r"Insert disc 2 of 5, label DEMO_[0-9A-F]{4}_V02", ended.text)
    assert "2 images: 10 blobs sent" in ended.text
    require_pushed(registry, desk.folder)
    # Blobs across two discs went in parts, closed at the boundary; no blob was sent twice.
    assert registry.requests("PATCH .*202|method=PATCH")
    again = desk.push(registry.host).expect()
    assert again.asked == []
    assert "0 blobs sent" in again.text


def test_a_registry_that_neither_mounts_nor_tells_how_far_it_is(desk: Desk, tmp_path: Path) -> None:
    with crane_registry(tmp_path / "crane", tool("crane")) as host:
        ended = desk.push(host).expect()
    assert ended.asked == ["v02", "v03", "v04"]
    assert "10 blobs sent" in ended.text
    assert "1 copied" in ended.text


def test_images_in_place_of_each_other(desk: Desk, registry: DebianRegistry) -> None:
    desk.make("images", recipe(), "builder", "--iso")
    desk.tray = Tray(desk.folder / "cdrom", desk.folder / "images", ".iso")
    desk.tray.empty()
    desk.tray.put("v01")
    assert desk.push(registry.host).expect().asked == ["v02", "v03", "v04"]
    require_pushed(registry, desk.folder)


def test_verify_asks_as_well(desk: Desk) -> None:
    ended = desk.sit_down("verify", "cdrom").expect()
    assert ended.asked == ["v02", "v03", "v04"]
    assert "every byte matched" in ended.text


def test_any_disc_may_be_in_the_drive_at_first(desk: Desk, registry: DebianRegistry) -> None:
    desk.tray.put("v03")
    assert desk.push(registry.host).expect().asked == ["v01", "v02", "v03", "v04"]


def test_where_nobody_can_answer(desk: Desk, registry: DebianRegistry) -> None:
    for ended in (
        desk.sit_down("push", "cdrom", "--registry", registry.host, "--plain-http", "--no-prompt"),
        desk.sit_down("verify", "cdrom", "--no-prompt"),
    ):
        assert (ended.status, ended.asked) == (5, [])
        assert re.search(r"disc (2|v02)", ended.text)
    ran = desk.cli.loader("push", "cdrom", "--registry", registry.host, "--plain-http", "--trust", "builder.pub")
    assert ran.status == 5
    assert re.search(r"Insert disc 2 of 5, label DEMO_\w+_V02", ran.three_lines[-1])
    assert not list(registry.root.rglob("_manifests"))


def test_bad_chunks_do_not_stop_the_rest_and_are_healed_at_the_end(desk: Desk, registry: DebianRegistry) -> None:
    desk.scratch("v03", 0, 1)
    ended = desk.push(registry.host).expect()
    assert "disc 3: 2 chunks unreadable; to heal insert P1, 1, 2, 4 once more, any order (2 MiB each)" in ended.text
    assert ended.asked[:3] == ["v02", "v03", "v04"]
    # Disc 4 is in the drive; the others come once more, and disc 3 for the rest of what stands around its bad chunks.
    assert sorted(ended.asked[3:6]) == ["p01", "v01", "v02"]
    require_pushed(registry, desk.folder)


def test_a_scratched_beginning_is_healed_before_anything_else(desk: Desk, registry: DebianRegistry) -> None:
    desk.scratch("v01", 0)
    ended = desk.push(registry.host).expect()
    assert "disc 1: 1 chunk unreadable; to heal insert P1, 2, 3, 4 once more" in ended.text
    require_pushed(registry, desk.folder)


def test_beyond_repair_names_the_disc(desk: Desk, registry: DebianRegistry) -> None:
    desk.scratch("v03", 1)
    desk.scratch("v02", 1)
    ended = desk.push(registry.host)
    assert ended.status == 5
    assert ended.asked == ["v02", "v03", "v04"]
    assert "can't be read in full" in ended.text
    assert "get another copy of disc" in ended.text
    assert not list(registry.root.rglob("_manifests"))


def test_after_a_crash_only_what_is_missing_is_asked_for(desk: Desk, registry: DebianRegistry) -> None:
    def crash(name: str, _: int) -> bool:
        desk.tray.put(name)
        return name != "v04"

    assert desk.push(registry.host, answer=crash).status < 0
    again = desk.push(registry.host).expect()
    # A blob across discs 3 and 4 was under way; all that the first two have is in the registry, the head kept here.
    assert again.asked == ["v03", "v04"]
    require_pushed(registry, desk.folder)


def test_discs_of_which_the_registry_has_everything_are_not_asked_for(desk: Desk, registry: DebianRegistry) -> None:
    desk.push(registry.host).expect()
    shutil.rmtree(desk.cli.home)
    desk.tray.put("v01")
    where = ("--registry", registry.host, "--plain-http", "--trust", "builder.pub", "--no-prompt")
    # Nothing is known here of this set, so all of it is to be checked; this run ends at disc 2.
    assert desk.cli.loader("push", "cdrom", *where).status == 5
    desk.tray.put("v02")
    assert "0 blobs sent" in desk.cli.loader("push", "cdrom", *where).expect().out


def test_wrong_discs_are_said_by_name(desk: Desk, registry: DebianRegistry) -> None:
    desk.make("other", make_recipe([make_image()]))
    desk.make("strange", make_recipe([make_image(name="evil")]), "stranger")
    (desk.folder / "blank").mkdir()
    wrong = iter(["set/v01", "set/v04", "other/v01", "strange/v01", "blank"])

    def answer(name: str, _: int) -> bool:
        desk.tray.put_path(desk.folder / next(wrong, f"set/{name}"))
        return True

    ended = desk.push(registry.host, answer=answer).expect()
    assert "this is disc 1 (DEMO_" in ended.text
    assert "again; disc 2 is needed now" in ended.text
    assert "this is disc 4 (DEMO_" in ended.text
    assert "another build of demo-1" in ended.text
    assert "no trusted key signed this media set" in ended.text
    assert "blank" in ended.text or "holds no discs" in ended.text


def test_a_registry_that_forgets_gets_the_blob_again(desk: Desk) -> None:
    with RegistryServer() as server:
        lost: list[str] = []

        def answer(name: str, _: int) -> bool:
            if name == "v03" and not lost:
                lost.append(name)
                server.uploads.clear()
            desk.tray.put(name)
            return True

        ended = desk.push(server.host, answer=answer).expect()
    # The blob that was under way begins on disc 1 and ends on disc 3.
    assert ended.asked == ["v02", "v03", "v01", "v02", "v03", "v04"]


def test_staged_in_any_order_with_a_disc_lost_and_then_pushed(desk: Desk, registry: DebianRegistry) -> None:
    order = iter(["v03", "p01"])
    options = ("--registry", registry.host, "--plain-http", "--stage", "copy")

    def crash(_: str, __: int) -> bool:
        desk.tray.put("v04")
        return False

    desk.tray.put("v01")
    assert desk.sit_down("push", "cdrom", *options, answer=crash).status < 0

    def answer(_: str, __: int) -> bool:
        desk.tray.put(next(order))
        return True

    desk.tray.put("v04")
    ended = desk.sit_down("push", "cdrom", *options, answer=answer).expect()
    # Disc 1 was copied before; disc 2 is lost.
    assert len(ended.asked) == 2
    assert (desk.folder / "copy" / ARCHIVE).read_bytes() == (desk.folder / ARCHIVE).read_bytes()
    require_pushed(registry, desk.folder)


def test_join_and_extract_ask_as_well(desk: Desk) -> None:
    joined = desk.sit_down("join", "cdrom", "-o", "joined.tar.zst").expect()
    assert joined.asked == ["v02", "v03", "v04"]
    assert (desk.folder / "joined.tar.zst").read_bytes() == (desk.folder / ARCHIVE).read_bytes()
    desk.tray.put("v01")
    extracted = desk.sit_down("extract", "cdrom", "-o", "out").expect()
    assert extracted.asked == ["v02", "v03", "v04"]
    assert sorted(path.name for path in (desk.folder / "out/images").iterdir()) == ["0000-app0", "0001-app1"]
    assert [path.name for path in desk.folder.iterdir() if path.name.startswith(".out")] == []


def test_what_a_push_would_do_is_told_from_any_one_disc(desk: Desk, registry: DebianRegistry) -> None:
    def planned() -> dict[str, object]:
        where = ("--registry", registry.host, "--plain-http", "--trust", "builder.pub")
        found = desk.cli.loader("push", "cdrom", *where, "--dry-run", "--json").expect().json
        assert isinstance(found, dict)
        return found

    desk.tray.put("v03")
    before = planned()
    assert before["blobs"] == {"bytes": 22_000_000, "send": 10, "skip": 0} | {"bytes": before["blobs"]["bytes"]}  # type: ignore[index]
    assert len(before["tags"]) == 2  # type: ignore[arg-type]
    desk.tray.put("v01")
    whole = desk.cli.loader(
        "push", "set", "--registry", registry.host, "--plain-http", "--trust", "builder.pub", "--dry-run", "--json"
    )
    assert whole.expect().json == before
    desk.push(registry.host).expect()
    desk.tray.put("p01")
    after = planned()
    assert after["blobs"] == {"bytes": 0, "send": 0, "skip": 10}
    assert after["tags"] == []


def test_a_frame_whose_end_is_scratched_away(desk: Desk, registry: DebianRegistry) -> None:
    # The layer that was never compressed is the last; without its frame's end the table on disc 4 tells.
    blocks = desk.folder / "set/v04/demo-1.v04.s001"
    desk.scratch("v04", *range(blocks.stat().st_size // CHUNK))
    ended = desk.push(registry.host).expect()
    assert re.search(r"disc 4: \d+ chunks? unreadable; to heal insert P1, 1, 2, 3 once more", ended.text)
    require_pushed(registry, desk.folder)


def test_a_loader_started_from_the_disc_goes_on_when_that_is_taken_out(desk: Desk) -> None:
    pyz.main(["-o", str(desk.folder)])
    shutil.copy(desk.folder / "airgap-loader.pyz", desk.folder / "set/v01")

    def answer(name: str, _: int) -> bool:
        # No other disc has it, and the first one is gone.
        (desk.folder / "set/v01/airgap-loader.pyz").unlink(missing_ok=True)
        return desk.put(name, 0)

    line = [sys.executable, "cdrom/airgap-loader.pyz", "verify", "cdrom", "--trust", "builder.pub"]
    env = {**desk.cli.variables(), "PYTHONPATH": ""}
    ended = at_terminal(line, cwd=desk.folder, env=env, answer=answer, presses_enter=True).expect()
    assert ended.asked == ["v02", "v03", "v04"]
    assert "every byte matched" in ended.text
