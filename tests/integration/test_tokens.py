"""Keys as they are really kept: in a token (SoftHSM2, by ``pkcs11:`` and by pkcs11-tool), behind a passphrase."""

from __future__ import annotations

import os
import pty
import subprocess
import tarfile

import pytest

from tests.support.cli import Cli
from tests.support.images import make_image
from tests.support.programs import program

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "1234-pin"
KEYS = {
    "p256": ("EC", "ec_paramgen_curve:P-256"),
    "p384": ("EC", "ec_paramgen_curve:P-384"),
    "rsa3072": ("RSA", "rsa_keygen_bits:3072"),
}
NAME = "demo-1.tar.zst"


def address(key: str) -> str:
    return f"pkcs11:token=builders;object={key}?module-path={MODULE}"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "store").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'store'}\nobjectstore.backend = file\n")
    (folder / "pin").write_text(f"{PIN}\n")
    make_image(platforms=["linux/amd64"], layer_size=6_000_000).write(folder / "mirror/0")
    (folder / "bundle.yaml").write_text(
        'name: demo\nversion: "1"\nsequence: 3\nregistry: registry.example:5000\n'
        "images:\n- {image: docker.io/team/app:v1, from: 'dir:mirror/0'}\n"
    )
    cli = Cli(folder, environ={"SOFTHSM2_CONF": str(folder / "softhsm2.conf"), "SOURCE_DATE_EPOCH": "1700000000"})
    init = ("--init-token", "--free", "--label", "builders", "--pin", PIN, "--so-pin", "so-pin-1")
    command(cli, program("softhsm2-util"), *init)
    for number, (name, (kind, option)) in enumerate(KEYS.items()):
        make = ("genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", "private.pem")
        command(cli, program("openssl"), *make)
        command(cli, program("openssl"), "pkey", "-in", "private.pem", "-pubout", "-out", f"{name}.pub")
        store = (
            "--import",
            "private.pem",
            "--token",
            "builders",
            "--label",
            name,
            "--id",
            f"0{number + 1}",
            "--pin",
            PIN,
        )
        command(cli, program("softhsm2-util"), *store)
        (folder / "private.pem").unlink()
    return cli


def command(cli: Cli, *argv: str) -> None:
    environ = {**os.environ, **(cli.environ or {})}
    done = subprocess.run(argv, cwd=cli.folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def token(cli: Cli, *argv: str) -> None:
    command(cli, program("pkcs11-tool"), "--module", MODULE, "--login", "--pin", PIN, *argv)


@pytest.mark.parametrize("key", KEYS)
def test_a_bundle_signed_by_a_token(key: str, cli: Cli) -> None:
    built = cli.bundler(
        "build", "bundle.yaml", "-o", f"out-{key}", "--key", address(key), "--passphrase-file", "pin"
    ).expect()
    assert f"signed by {key}" in built.out
    assert PIN not in built.out + built.err
    cli.loader("verify", f"out-{key}/{NAME}", "--trust", f"{key}.pub").expect()
    digest = "-sha384" if key == "p384" else "-sha256"
    side = f"out-{key}/{NAME}.sha256"
    command(cli, program("openssl"), "dgst", digest, "-verify", f"{key}.pub", "-signature", f"{side}.{key}.sig", side)
    # Tokens draw new numbers for each ECDSA signature: the bundle is the same, and is there already.
    again = cli.bundler("build", "bundle.yaml", "-o", f"out-{key}", "--key", address(key), "--passphrase-file", "pin")
    assert again.expect().out.split("id ")[-1] == built.out.split("id ")[-1]


def test_a_stopped_build_goes_on_whatever_the_token_signs_this_time(cli: Cli) -> None:
    sign = ("--key", address("p256"), "--passphrase-file", "pin")
    whole = cli.bundler("build", "bundle.yaml", "-o", "out-whole", *sign).expect().out.split("id ")[-1]
    archive = (cli.folder / "out-whole" / NAME).read_bytes()
    (cli.folder / "out-stopped").mkdir()
    (cli.folder / f"out-stopped/.{NAME}.part").write_bytes(archive[: len(archive) * 3 // 4])
    again = cli.bundler("build", "bundle.yaml", "-o", "out-stopped", *sign).expect().out
    assert "proven good" in again
    assert again.split("id ")[-1] == whole
    assert (cli.folder / "out-stopped" / NAME).read_bytes() == archive


def test_the_pin_by_the_address_and_the_key_by_its_id(cli: Cli) -> None:
    uri = f"pkcs11:token=builders;id=%01?module-path={MODULE}&pin-source=file:{cli.folder / 'pin'}"
    cli.bundler("build", "bundle.yaml", "-o", "out-id", "--key", uri, "--signer", "hsm").expect()
    cli.loader("verify", f"out-id/{NAME}", "--trust", "p256.pub").expect()


REFUSED = {
    "no module": ("pkcs11:token=builders;object=p256", "module-path"),
    "a module that is none": ("pkcs11:object=p256?module-path=/etc/hostname", "/etc/hostname"),
    "another token": (f"pkcs11:token=other;object=p256?module-path={MODULE}", "no such token"),
    "another key": (f"pkcs11:token=builders;object=other?module-path={MODULE}", "no such private key"),
    "a PIN in the address": (f"pkcs11:object=p256?module-path={MODULE}&pin-value={PIN}", "does not belong"),
    "no key": (f"pkcs11:token=builders?module-path={MODULE}", "no private key"),
    "an unknown word": (f"pkcs11:token=builders;key=p256?module-path={MODULE}", "key"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_address_with(name: str, cli: Cli) -> None:
    uri, word = REFUSED[name]
    ran = cli.bundler("build", "bundle.yaml", "-o", "never", "--key", uri, "--passphrase-file", "pin")
    assert ran.status == 2, ran.err
    assert word in "".join(ran.three_lines)
    assert PIN not in ran.err
    assert not list((cli.folder / "never").glob("*")) if (cli.folder / "never").exists() else True


def test_a_wrong_pin_and_no_pin(cli: Cli) -> None:
    (cli.folder / "wrong").write_text("0000-pin\n")
    command_line = ("build", "bundle.yaml", "-o", "never", "--key", address("p256"))
    ran = cli.bundler(*command_line, "--passphrase-file", "wrong")
    assert (ran.status, "PIN is wrong" in ran.three_lines[1]) == (2, True), ran.err
    ran = cli.bundler(*command_line)
    assert (ran.status, "--passphrase-file" in ran.three_lines[-1]) == (2, True), ran.err


def signed_by_tool(cli: Cli, key: str, file: str) -> str:
    """Sign ``file`` as the key's holder would, who has neither our program nor our archive."""
    command(cli, program("openssl"), "dgst", "-sha256", "-binary", "-out", "digest", file)
    token(
        cli,
        "--sign",
        "--mechanism",
        "ECDSA",
        "--signature-format",
        "openssl",
        "--id",  # OpenSC 0.23 takes any private key of the token where a label alone is given
        f"0{[*KEYS].index(key) + 1}",
        "-i",
        "digest",
        "-o",
        "s",
    )
    return "s"


def test_the_hand_off_for_archive_sidecar_and_media_set(cli: Cli) -> None:
    ran = cli.bundler("build", "bundle.yaml", "-o", "handed").expect()
    assert "unsigned" in ran.err
    assert cli.loader("verify", f"handed/{NAME}", "--trust", "p256.pub").status == 3
    with tarfile.open(cli.folder / "handed/demo-1.head.tar") as head:
        head.extract("SHA256SUMS", cli.folder / "handed", set_attrs=False)
    attach = ("attach-signature", f"handed/{NAME}", "--signer", "hsm", "--public-key", "p256.pub")
    for file in ("handed/SHA256SUMS", f"handed/{NAME}.sha256"):
        cli.bundler(*attach, signed_by_tool(cli, "p256", file)).expect()
    cli.loader("verify", f"handed/{NAME}", "--trust", "p256.pub").expect()
    side = f"handed/{NAME}.sha256"
    command(cli, program("openssl"), "dgst", "-sha256", "-verify", "p256.pub", "-signature", f"{side}.hsm.sig", side)
    cli.bundler("media", f"handed/{NAME}", "-o", "discs", "--volume-size", "6MB").expect()
    assert cli.loader("verify", "discs", "--trust", "p256.pub").status == 3
    made = signed_by_tool(cli, "p256", "discs/v01/SHA256SUMS")
    cli.bundler("attach-signature", "discs", "--signer", "hsm", "--public-key", "p256.pub", made).expect()
    cli.loader("verify", "discs", "--trust", "p256.pub").expect()
    other = signed_by_tool(cli, "p256", f"handed/{NAME}.sha256")
    ran = cli.bundler("attach-signature", "discs", "--signer", "other", "--public-key", "p256.pub", other)
    assert ran.status == 3, ran.err


def on_terminal(cli: Cli, answer: bytes, *argv: str) -> int:
    """Run the bundler with a terminal, typing ``answer`` when it asks; its exit status."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        cli.command("airgap-bundler", *argv),
        cwd=cli.folder,
        env=cli.variables(),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while b"passphrase of" not in seen and b"PIN of" not in seen:
            seen += os.read(ours, 1024)
        os.write(ours, answer)
        while True:
            seen += os.read(ours, 1024)
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    assert answer.strip() not in seen
    return process.wait(timeout=60)


def test_a_locked_key_and_a_token_ask_on_a_terminal(cli: Cli) -> None:
    (cli.folder / "word").write_text("open sesame\n")
    cli.bundler("keygen", "locked", "--passphrase-file", "word").expect()
    assert on_terminal(cli, b"open sesame\n", "build", "bundle.yaml", "-o", "asked", "--key", "locked.key") == 0
    cli.loader("verify", f"asked/{NAME}", "--trust", "locked.pub").expect()
    assert on_terminal(cli, b"open barley\n", "sign", f"asked/{NAME}", "--key", "locked.key") == 2
    assert on_terminal(cli, PIN.encode() + b"\n", "sign", f"asked/{NAME}", "--key", address("p384")) == 0
    ran = cli.bundler("sign", f"asked/{NAME}", "--key", "locked.key")
    assert (ran.status, "--passphrase-file" in ran.three_lines[-1]) == (2, True), ran.err
