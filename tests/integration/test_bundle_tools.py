"""A bundle in the hands of an officer who has stock tools alone (README-VERIFY, README-BY-HAND)."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import resource
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from bundler.build import Built
from loader import zstd
from loader.attach import Signature, attach_signature
from loader.bundle.errors import FormatError
from loader.opening import open_bundle
from loader.signing import CryptographyCheck
from tests.support.builds import MemoryImage, Outside, run_build
from tests.support.bundles import make_policy, make_signer, make_trust, private_pem, zstd_frame
from tests.support.cli import Cli
from tests.support.images import make_image, make_layer
from tests.support.programs import program
from tests.support.refusals import refused

BUILDER = make_signer("builder")
SHARED = make_layer("shared", 5 * 2**20)
PLAIN = b"".join(b"line %d of a layer nobody compressed\n" % number for number in range(60_000))
IMAGES = {
    "docker.io/x/one:1": make_image(layers=[SHARED], name="one"),
    "quay.io/y/two:2": make_image(layers=[SHARED, PLAIN], name="two", platforms=["linux/amd64"], oci_types=True),
}
DIRECTORIES = dict(zip(("0000-one", "0001-two"), IMAGES.values()))


def run(*words: object, folder: Path | None = None, stdin: bytes = b"", status: int = 0) -> bytes:
    done = subprocess.run([str(word) for word in words], cwd=folder, input=stdin, capture_output=True, timeout=120)
    assert done.returncode == status, f"exit {done.returncode}: {done.stdout!r} {done.stderr!r}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return run_build(
        Outside({name: MemoryImage(image) for name, image in IMAGES.items()}), tmp_path_factory.mktemp("out")
    )


@pytest.fixture(scope="module")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree that ``zstd -dc X | tar -x`` leaves."""
    folder = tmp_path_factory.mktemp("unpacked")
    sh = program("sh")
    program("zstd")
    run(sh, "-c", f"zstd -dc {built.path} | tar -x", folder=folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_zstd_and_tar_unpack_what_was_packed(built: Built, unpacked: Path) -> None:
    head = ["SHA256SUMS", "SHA256SUMS.builder.sig", "bundle.json"]
    assert files(unpacked) == sorted([*head, *(file.path for file in built.composition.manifest.files)])
    for directory, image in DIRECTORIES.items():
        for digest, data in image.blobs.items():
            assert (unpacked / "images" / directory / digest[7:]).read_bytes() == data


def test_a_shared_layer_is_stored_once(unpacked: Path) -> None:
    name = hashlib.sha256(SHARED).hexdigest()
    one, two = (unpacked / "images" / directory / name for directory in DIRECTORIES)
    assert one.stat().st_ino == two.stat().st_ino


def test_zstd_finds_every_frame_sound(built: Built) -> None:
    run(program("zstd"), "-t", built.path)
    assert b"frames" in run(program("zstd"), "-lv", built.path).lower()


def test_sha256sum_checks_every_file(unpacked: Path) -> None:
    said = run(program("sha256sum"), "--check", "--strict", "SHA256SUMS", folder=unpacked)
    assert said.count(b": OK\n") == len((unpacked / "SHA256SUMS").read_bytes().splitlines())


def test_busybox_unpacks_and_checks(built: Built, unpacked: Path, tmp_path: Path) -> None:
    busybox = program("busybox")
    run(program("sh"), "-c", f"zstd -dc {built.path} | {busybox} tar -x", folder=tmp_path)
    assert files(tmp_path) == files(unpacked)
    run(busybox, "sha256sum", "-c", "SHA256SUMS", folder=tmp_path)
    run(busybox, "sha256sum", "-c", f"{built.path.name}.sha256", folder=built.path.parent)


def test_openssl_verifies_the_list_and_the_sidecar(built: Built, unpacked: Path, tmp_path: Path) -> None:
    public = tmp_path / "builder.pub"
    public.write_bytes(BUILDER.public.pem)
    sidecar = built.path.with_name(f"{built.path.name}.sha256")
    beside = sidecar.with_name(f"{sidecar.name}.builder.sig")
    for signature, signed in ((unpacked / "SHA256SUMS.builder.sig", unpacked / "SHA256SUMS"), (beside, sidecar)):
        said = run(program("openssl"), "dgst", "-sha256", "-verify", public, "-signature", signature, signed)
        assert said == b"Verified OK\n"
        changed = tmp_path / "changed"
        changed.write_bytes(signed.read_bytes() + b"\n")
        run(program("openssl"), "dgst", "-sha256", "-verify", public, "-signature", signature, changed, status=1)
    run(program("sha256sum"), "-c", "--strict", sidecar.name, folder=sidecar.parent)


def test_the_fingerprint_is_what_openssl_prints(tmp_path: Path) -> None:
    der = run(program("openssl"), "pkey", "-pubin", "-outform", "DER", stdin=BUILDER.public.pem)
    assert BUILDER.public.fingerprint == f"sha256:{hashlib.sha256(der).hexdigest()}"
    said = run(program("openssl"), "dgst", "-sha256", "-r", stdin=der)
    assert said.split()[0].decode() == BUILDER.public.fingerprint[7:]


def test_a_signature_that_openssl_made_counts(built: Built, unpacked: Path, tmp_path: Path) -> None:
    approver = make_signer("approver")
    (tmp_path / "approver.key").write_bytes(private_pem(approver._private))
    (tmp_path / "approver.pub").write_bytes(approver.public.pem)
    archive = tmp_path / built.path.name
    shutil.copy(built.path, archive)
    made = tmp_path / "made.sig"
    run(
        program("openssl"), "dgst", "-sha256", "-sign", tmp_path / "approver.key", "-out", made, unpacked / "SHA256SUMS"
    )
    attach_signature([archive], Signature("approver", tmp_path / "approver.pub", made), CryptographyCheck())
    with open_bundle(archive, make_trust(make_policy(approver))) as bundle:
        assert [signer.key.name for signer in bundle.signers] == ["approver"]


def test_python_s_tarfile_reads_the_same_members(built: Built) -> None:
    plain = run(program("zstd"), "-dc", built.path)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        entries = tar.getmembers()
    listed = built.composition.manifest.files
    assert [entry.name for entry in entries[3:]] == [file.path for file in listed]
    assert [entry.linkname for entry in entries[3:]] == [file.link_to or "" for file in listed]
    assert {(entry.mode, entry.uid, entry.gid, entry.mtime, entry.uname) for entry in entries} == {(0o644, 0, 0, 0, "")}


def test_gnu_tar_and_busybox_list_the_same(built: Built) -> None:
    plain = run(program("zstd"), "-dc", built.path)
    assert run(program("tar"), "-t", stdin=plain) == run(program("busybox"), "tar", "-t", stdin=plain)
    said = run(program("tar"), "-tv", "--numeric-owner", stdin=plain).decode().splitlines()
    assert {line[:10] for line in said} == {"-rw-r--r--", "hrw-r--r--"}


def layout(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_skopeo_copies_a_directory_of_the_tree(directory: str, unpacked: Path, tmp_path: Path) -> None:
    source = unpacked / "images" / directory
    run(program("skopeo"), "copy", "--all", f"dir:{source}", f"dir:{tmp_path / 'copy'}")
    assert layout(tmp_path / "copy") == layout(source)
    raw = run(program("skopeo"), "inspect", "--raw", f"dir:{source}")
    assert raw == DIRECTORIES[directory].data


def test_the_zstd_program_decodes_for_a_loader_that_has_no_library() -> None:
    decoder = zstd._Decoder(zstd._cli(program("zstd")))
    frame = zstd_frame(PLAIN)
    assert decoder.decode(memoryview(frame), memoryview(bytearray(len(PLAIN)))) == PLAIN
    for damaged in (frame[:-1], frame[:-1] + bytes([frame[-1] ^ 1]), b"", b"no frame"):
        with refused(FormatError, "does not decode"):
            decoder.decode(memoryview(damaged), memoryview(bytearray(len(PLAIN))))
    bomb = zstd_frame(bytes(2**30 // 16)) * 16
    with refused(FormatError, "does not decode"):
        decoder.decode(memoryview(bomb), memoryview(bytearray(1000)))


def size_of(folder: Path) -> int:
    """Bytes on disk below ``folder``."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if path.exists())


def test_nothing_is_staged_while_building(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, temporary = tmp_path / "out", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    seen: list[int] = []
    sources = {
        name: MemoryImage(image, before=lambda _: seen.append(size_of(tmp_path))) for name, image in IMAGES.items()
    }
    done = run_build(Outside(sources), out)
    assert len(seen) >= 5
    assert max(seen) <= done.path.stat().st_blocks * 512 + 64 * 1024
    assert list(temporary.iterdir()) == []


@pytest.fixture
def layouts(tmp_path: Path) -> Cli:
    """A config over two layouts on disk, and a key."""
    cli = Cli(tmp_path)
    lines = ["name: demo", 'version: "1"', "registry: registry.example:5000", "images:"]
    for number, (name, image) in enumerate(IMAGES.items()):
        image.write(tmp_path / "mirror" / str(number))
        lines += [f"- image: {name}", f"  from: dir:mirror/{number}"]
    (tmp_path / "bundle.yaml").write_text("\n".join(lines) + "\n")
    (tmp_path / "builder.key").write_bytes(private_pem(BUILDER._private))
    return cli


@pytest.mark.parametrize("limit", [1, 100_000, 5_000_000])
def test_a_disk_that_fills_up_leaves_nothing_behind(limit: int, layouts: Cli) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = layouts.command("airgap-bundler", "build", "bundle.yaml", "-o", "out", "--key", "builder.key")
    done = subprocess.run(
        command, cwd=layouts.folder, env=layouts.variables(), capture_output=True, text=True, preexec_fn=small_files
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stderr
    assert os.strerror(errno.EFBIG) in done.stderr
    assert "Traceback" not in done.stderr
    out = layouts.folder / "out"
    assert not out.exists() or list(out.iterdir()) == []
    layouts.bundler("build", "bundle.yaml", "-o", "out", "--key", "builder.key").expect()
    assert (out / "demo-1.tar.zst").is_file()


def test_an_output_folder_that_cannot_be_made(layouts: Cli) -> None:
    done = layouts.bundler("build", "bundle.yaml", "-o", "/proc/out", "--key", "builder.key")
    assert done.status == 1
    assert "/proc" in done.three_lines[0]
