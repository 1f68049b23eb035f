"""Discs from outside: made by the program, checked by stock tools, read in place, loaded when one is lost."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from loader.bundle.mediaset import CHUNK
from loader.media.iso9660 import IsoDisc
from loader.media.places import ImageFile
from tests.support.bundles import full_recipe, make_signer, private_pem
from tests.support.cli import Cli, Ran
from tests.support.programs import program
from tests.support.registry import RegistryServer

ARCHIVE = "demo-1.tar.zst"
APPLETS = ("sh", "cat", "cut", "diff", "find", "grep", "head", "sha256sum", "sort", "cp", "echo", "tar", "mkdir")


class Discs:
    """A bundle, its keys, and its media set as folders and as images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cli = Cli(folder, path=os.environ["PATH"])
        (folder / ARCHIVE).write_bytes(full_recipe().archive())
        for name in ("builder", "approver"):
            signer = make_signer(name)
            (folder / f"{name}.pub").write_bytes(signer.public.pem)
            (folder / f"{name}.key").write_bytes(private_pem(signer._private))
        (folder / "loader.pyz").write_bytes(b"a loader\n" * 1000)
        self.make("set", "--loader", "loader.pyz").expect()
        self.make("images", "--iso").expect()

    def make(self, output: str, *options: str, size: str = "4MiB") -> Ran:
        common = ("--volume-size", size, "--parity", "1", "--key", "builder.key")
        return self.cli.bundler("media", ARCHIVE, "-o", output, *common, *options)

    def loader(self, verb: str, *args: object) -> Ran:
        return self.cli.loader(verb, *args, "--trust", "builder.pub")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Discs:
    return Discs(tmp_path_factory.mktemp("discs"))


@pytest.fixture
def discs(made: Discs, tmp_path: Path) -> Discs:
    """A copy of the set that a test may damage."""
    copy = Discs.__new__(Discs)
    copy.folder = tmp_path
    copy.cli = Cli(tmp_path, path=os.environ["PATH"])
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    return copy


def typed_lines(readme: Path) -> str:
    """What a person types: the lines indented by four spaces."""
    lines = [line[4:] for line in readme.read_text("ascii").splitlines() if line.startswith("    ")]
    assert lines
    return "\n".join(lines) + "\n"


@pytest.fixture(params=["debian", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """A shell and the PATH of its tools: Debian's own, or busybox and openssl alone."""
    if request.param == "debian":
        return program("sh"), os.environ["PATH"]
    tools = tmp_path / "busybox"
    tools.mkdir()
    for applet in APPLETS:
        (tools / applet).symlink_to(program("busybox"))
    (tools / "openssl").symlink_to(program("openssl"))
    return str(tools / "sh"), str(tools)


def type_lines(shell: tuple[str, str], disc: Path, key: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shell[0]],
        input=typed_lines(disc / "README-VERIFY.txt"),
        env={"PATH": shell[1], "KEY": str(key)},
        cwd=disc,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("disc", ["v01", "v02", "p01"])
def test_the_readme_checks_a_single_disc(discs: Discs, shell: tuple[str, str], disc: str) -> None:
    folder = discs.folder / "set" / disc
    for path in folder.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    found = type_lines(shell, folder, discs.folder / "builder.pub")
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    # The set's list, and the bundle's own by the same key; the approver's signature is another key's.
    assert found.stdout.count("Verified OK") == 2
    assert "FAILED" not in found.stdout
    assert f"demo-1.{disc}.s001: OK" in found.stdout
    assert found.stdout.splitlines()[-3] == "nothing unlisted"
    fingerprint = make_signer("builder").public.fingerprint.partition(":")[2]
    assert fingerprint in found.stdout
    assert fingerprint in (folder / "README-VERIFY.txt").read_text()
    # The key's label, wherever it lay on the machine that wrote the disc.
    assert "/trusted/builder.pub}" in (folder / "README-VERIFY.txt").read_text()
    assert "-verify /trusted/builder.pub" in (folder / "README-BY-HAND.txt").read_text()


@pytest.mark.parametrize("harm", ["segment", "common", "unlisted", "signature"])
def test_the_readme_finds_what_is_wrong(discs: Discs, shell: tuple[str, str], harm: str) -> None:
    folder = discs.folder / "set/v01"
    if harm == "unlisted":
        (folder / "SHA256SUMS.sh").write_text("echo\n")
    else:
        path = {"segment": "demo-1.v01.s001", "common": "airgap-loader.pyz", "signature": "SHA256SUMS"}[harm]
        data = bytearray((folder / path).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / path).write_bytes(data)
    found = type_lines(shell, folder, discs.folder / "builder.pub")
    text = found.stdout + found.stderr
    if harm == "unlisted":
        assert "SHA256SUMS.sh" in text
        assert "nothing unlisted" not in text
    elif harm == "signature":
        assert text.count("Verified OK") == 1
    else:
        assert f"{path}: FAILED" in text


def test_a_name_on_the_disc_cannot_say_that_it_verified(discs: Discs, shell: tuple[str, str]) -> None:
    folder = discs.folder / "set/v01"
    (folder / "SHA256SUMS.builder.sig").unlink()
    (folder / "SHA256SUMS.builder\nVerified OK\n.sig").mkdir()
    found = type_lines(shell, folder, discs.folder / "builder.pub")
    signed, odd = found.stdout.partition("set.json: OK")[::2]
    assert "Verified OK" not in signed
    assert "not by this key" in signed
    assert odd.count("Verified OK") == 2  # the bundle's own, and the name that stands out in step 4
    assert "Verified OK\n.sig\n" in odd


def test_data_discs_joined_by_cat_are_the_archive(made: Discs) -> None:
    line = "cat set/*/demo-1.v??.s??? | zstd -dc | tar -t"
    found = subprocess.run(line, shell=True, cwd=made.folder, capture_output=True, text=True, check=True)
    paths = found.stdout.splitlines()
    assert paths[0] == "SHA256SUMS"
    assert set(full_recipe().contents) <= set(paths)


def test_by_hand(made: Discs, tmp_path: Path) -> None:
    text = (made.folder / "set/v01/README-BY-HAND.txt").read_text()
    for disc in ("v01", "v02"):
        for path in (made.folder / "set" / disc).glob("demo-1.v*"):
            shutil.copy(path, tmp_path)
    lines = typed_lines(made.folder / "set/v01/README-BY-HAND.txt").splitlines()
    until = next(number for number, line in enumerate(lines) if line.startswith("skopeo "))
    script = "\n".join(line for line in lines[:until] if "/media/DISC" not in line)
    script = script.replace("/trusted/builder.pub", str(made.folder / "builder.pub"))
    found = subprocess.run(["sh"], input=script, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert f"{ARCHIVE}: OK" in found.stdout
    assert "FAILED" not in found.stdout + found.stderr
    assert "Verified OK" in found.stdout
    first = next(line for line in lines if line.startswith("skopeo "))
    layout = re.search(r"dir:(\S+)", first)
    assert layout
    assert (tmp_path / "unpacked" / layout[1] / "manifest.json").is_file()
    assert "oc apply --server-side --field-manager=airgap-loader -f documents/before-rook/common.json" in text


def test_images_hold_what_folders_do_and_are_read_in_place(made: Discs, tmp_path: Path) -> None:
    made.cli.bundler(
        "media", ARCHIVE, "-o", tmp_path / "plain", "--volume-size", "4MiB", "--key", "builder.key"
    ).expect()
    made.cli.bundler("iso", tmp_path / "plain", "-o", tmp_path / "iso").expect()
    for name in ("v01", "v02"):
        image = tmp_path / f"iso/{name}.iso"
        out = tmp_path / f"by-xorriso-{name}"
        run = ("-osirrox", "on", "-indev", str(image), "-extract", "/", str(out))
        subprocess.run([program("xorriso"), *run], check=True, capture_output=True)
        with ImageFile(str(image)) as source:
            disc = IsoDisc(source, str(image))
            ours = {}
            for path in disc.entries():
                extent = disc.open(path)
                data = bytearray(extent.size)
                assert extent.read_into(0, memoryview(data)) == extent.size
                ours[path] = bytes(data)
            label = disc.label
        theirs = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        folder = tmp_path / "plain" / name
        assert ours == theirs
        assert ours == {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
        assert re.fullmatch(r"DEMO_[0-9A-F]{4}_" + name.upper(), label)
        assert image.stat().st_size <= 4 * CHUNK


def test_the_same_bundle_gives_the_same_images(made: Discs) -> None:
    made.make("images-again", "--iso").expect()
    for name in ("v01", "v02", "p01"):
        one, two = (made.folder / folder / f"{name}.iso" for folder in ("images", "images-again"))
        assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(two.read_bytes()).digest()
        assert hashlib.sha256(one.read_bytes()).hexdigest() in (made.folder / "images/TRANSFER-RECORD.txt").read_text()


def test_an_image_with_something_behind_it_is_read_as_from_a_stick(discs: Discs) -> None:
    image = discs.folder / "images/v01.iso"
    with image.open("ab") as stream:
        stream.write(bytes(5 * CHUNK))
    discs.loader("verify", discs.folder / "images").expect()


@pytest.mark.parametrize("lost", ["v01", "v02", "p01"])
@pytest.mark.parametrize("kind", ["set", "images"])
def test_verify_with_a_disc_lost(made: Discs, kind: str, lost: str) -> None:
    suffix = ".iso" if kind == "images" else ""
    left = [made.folder / kind / f"{name}{suffix}" for name in ("p01", "v02", "v01") if name != lost]
    found = made.loader("verify", *left, "--json").expect().json
    assert found["verified"] is True
    assert found["healable"] is (True if lost[0] == "v" else None)
    assert [disc["name"] for disc in found["media"]["discs"] if not disc["here"]] == [lost]


def test_verify_with_too_many_lost_names_them(made: Discs) -> None:
    found = made.loader("verify", made.folder / "set/v02").expect(5)
    assert "disc v01 of demo-1 is not here" in found.three_lines[0]
    assert "v01 (DEMO_" in found.three_lines[-1]


def test_verify_of_damage_that_parity_covers_and_that_it_does_not(discs: Discs) -> None:
    segment = discs.folder / "set/v01/demo-1.v01.s001"
    data = bytearray(segment.read_bytes())
    data[CHUNK + 7] ^= 1
    segment.write_bytes(data)
    found = discs.loader("verify", "set", "--json").expect().json
    assert found["healable"] is True
    assert [disc["badChunks"] for disc in found["media"]["discs"]] == [[1], [], []]
    discs.loader("verify", "--disc", "set/v01").expect(5)
    discs.loader("verify", "--disc", "set/v02").expect()
    for passed_over in (("--report", "r"), ("--sidecar",), ("--stage", "s")):
        said = discs.loader("verify", "--disc", "set/v02", *passed_over).expect(2).three_lines
        assert passed_over[0] in said[0]
    lost = discs.loader("verify", "set/v01", "set/v02").expect(5)
    assert "disc v01: 1 of 3 chunks unreadable" in " ".join(lost.three_lines)


def test_join_and_extract_from_what_is_left(discs: Discs) -> None:
    left = ("images/p01.iso", "set/v02")
    discs.loader("join", *left, "-o", "joined.tar.zst").expect()
    assert (discs.folder / "joined.tar.zst").read_bytes() == full_recipe().archive()
    discs.loader("join", *left, "-o", "joined.tar.zst").expect(2)
    discs.loader("extract", *left, "-o", "out").expect()
    assert (discs.folder / "out/images/0000-app0/manifest.json").is_file()
    assert not list(discs.folder.glob(".*.part"))


def test_inspect_needs_any_one_disc(made: Discs) -> None:
    for name in ("set/v02", "images/p01.iso"):
        found = made.loader("inspect", name, "--json", "--documents").expect().json
        assert found["verified"] is True
        assert found["documentTexts"] == {"documents/before-rook/common.json": '{"kind": "List"}\n'}
    assert made.cli.loader("inspect", "set/v02", "--json").expect().json["verified"] is False


def test_push_from_discs_with_one_lost(made: Discs, tmp_path: Path) -> None:
    with RegistryServer() as registry:
        access = ("--registry", registry.host, "--plain-http", "--report", tmp_path, "--state", tmp_path / "state")
        ran = made.loader("push", "images/v02.iso", "set/p01", *access).expect()
        assert "disc v01 is not here" in ran.out + ran.err
        assert registry.store.tags[("apps/app0", "v1")] == full_recipe().manifest.images[0].digest


def test_an_older_set_in_the_folder_is_not_mixed(made: Discs) -> None:
    before = sorted(path.name for path in (made.folder / "set").iterdir())
    found = made.make("set").expect(2)
    assert "is not empty" in found.three_lines[0]
    assert sorted(path.name for path in (made.folder / "set").iterdir()) == before


def test_signing_elsewhere(discs: Discs) -> None:
    common = ("--volume-size", "4MiB", "--parity", "1")
    discs.cli.bundler("media", ARCHIVE, "-o", "bare", *common).expect()
    discs.loader("verify", "bare").expect(3)
    discs.cli.bundler("iso", "bare", "-o", "bare-iso").expect(2)
    # Nobody has signed it yet: the officer finds name and fingerprint on paper.
    text = (discs.folder / "bare/v01/README-VERIFY.txt").read_text("ascii")
    assert "signed\n   after this text was written: the paper slip (TRANSFER-RECORD.txt) has the signer's name" in text
    assert "sha256:" not in text
    line = ["openssl", "dgst", "-sha256", "-sign", "builder.key", "-out", "hsm.sig", "bare/v01/SHA256SUMS"]
    subprocess.run(line, cwd=discs.folder, check=True)
    attach = ("attach-signature", "bare", "hsm.sig", "--signer", "hsm", "--public-key")
    discs.cli.bundler(*attach, "approver.pub").expect(3)
    discs.cli.bundler(*attach, "builder.pub").expect()
    discs.cli.bundler("sign", "bare", "--key", "approver.key").expect()
    discs.cli.bundler("iso", "bare", "-o", "bare-iso").expect()
    discs.loader("verify", "bare-iso").expect()
    record = (discs.folder / "bare-iso/TRANSFER-RECORD.txt").read_text()
    for name in ("builder", "approver"):
        assert make_signer(name).public.fingerprint in record
    assert "nobody yet" not in record


def test_media_check_tells_the_bad_chunks(discs: Discs) -> None:
    image = discs.folder / "images/v01.iso"
    discs.cli.bundler("media", "--check", image).expect()
    data = bytearray(image.read_bytes())
    where = data.rfind((discs.folder / "set/v01/demo-1.v01.s001").read_bytes()[2 * CHUNK :][:4096])
    data[where + 5] ^= 1
    image.write_bytes(data)
    found = discs.cli.bundler("media", "--check", image).expect(5)
    assert "v01 chunk 2: wrong hash" in found.out
    told = discs.cli.bundler("media", "--check", image, "--json").expect(5).json
    assert told["error"]["code"] == 5
    assert told["discs"][0] == {"badChunks": [2], "name": "v01", "seen": True}
    assert "goes alone" in discs.cli.bundler("media", ARCHIVE, "--check", image).expect(2).three_lines[0]


def test_a_disc_of_another_build_is_named(discs: Discs) -> None:
    (discs.folder / ARCHIVE).write_bytes(full_recipe().change(sequence=8).archive())
    discs.make("newer").expect()
    found = discs.loader("verify", "set/v01", "newer/v02").expect(5)
    assert "newer/v02 is a disc of another build of demo-1" in " ".join(found.three_lines)
    discs.loader("verify", "set/v01", "newer/v02", "set/p01").expect()


@pytest.mark.parametrize(
    ("size", "words"), [("1MiB", "do not fit"), ("4.7GB", "is not a size"), ("12XB", "is not a size")]
)
def test_a_size_that_cannot_be(made: Discs, size: str, words: str) -> None:
    assert words in made.make("never", size=size).expect(2).three_lines[0]
    assert not (made.folder / "never").exists() or not list((made.folder / "never").iterdir())
