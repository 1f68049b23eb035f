"""``airgap-bundler``: parse, call one verb, map errors to exit codes."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from loader import __version__
from loader.bundle.errors import ConfigError
from loader.cli.console import Console, run
from loader.cli.main import invoke
from loader.cli.options import (
    AccessFlags,
    Authfile,
    CaFile,
    CertDir,
    Jobs,
    JsonOption,
    PlainHttp,
    Quiet,
    TlsVerify,
    Verbose,
    now,
    open_registries,
)

app = typer.Typer(
    name="airgap-bundler",
    help="Pack container images, a signed manifest and mirror policies into one archive.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

KeyOption = Annotated[
    Optional[str], typer.Option("--key", metavar="KEY", help="signing key: a path, file:PATH or env:VARIABLE")
]
SignerOption = Annotated[
    Optional[str],
    typer.Option("--signer", metavar="NAME", help="label of the signature (default: key's file stem)"),
]
Passphrase = Annotated[
    Optional[Path], typer.Option("--passphrase-file", metavar="F", help="passphrase of the key, in a file")
]
Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="the archive NAME-VERSION.tar.zst")]


def _source_date() -> int:
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return now()
    if not (given.isascii() and given.isdigit() and len(given) <= 12):
        raise ConfigError("SOURCE_DATE_EPOCH is not a number of seconds", why=given[:60])
    return int(given)


@app.command("build")
def build_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="bundle.yaml")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="folder for the bundle")],
    key: KeyOption = None,
    signer: SignerOption = None,
    passphrase_file: Passphrase = None,
    locked: Annotated[bool, typer.Option("--locked", help="any change of the lock is an error")] = False,
    update: Annotated[
        Optional[list[str]], typer.Option("--update", metavar="IMAGE", help="resolve this image anew (repeatable)")
    ] = None,
    update_all: Annotated[bool, typer.Option("--update-all", help="resolve every image anew")] = False,
    jobs: Jobs = 3,
    authfile: Authfile = None,
    cert_dir: CertDir = None,
    tls_verify: TlsVerify = None,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write DIR/NAME-VERSION.tar.zst with its sidecars, and verify it."""
    console = Console(as_json=as_json, quiet=quiet, verbose=verbose)
    flags = AccessFlags(authfile, cert_dir, tls_verify, plain_http, ca_file)
    moves = (locked, tuple(update or ()), update_all)
    raise typer.Exit(
        run(console, lambda: _build(console, config, output, (key, signer, passphrase_file), moves, flags, jobs))
    )


def _build(
    console: Console,
    config_path: Path,
    output: Path,
    key: tuple[Optional[str], Optional[str], Optional[Path]],
    moves: tuple[bool, tuple[str, ...], bool],
    flags: AccessFlags,
    jobs: int,
) -> None:
    from bundler.build import BuildPorts, build
    from bundler.config import load_config
    from bundler.lock import lock_path, read_lock, unlocked, write_lock
    from bundler.sign import open_signer
    from bundler.sources import Sources

    locked, update, update_all = moves
    if locked and (update or update_all):
        raise ConfigError("--locked and --update exclude each other")
    config = load_config(config_path)
    lock_file = lock_path(config_path)
    before = read_lock(lock_file)
    uri, label, passphrase_file = key
    signers = [open_signer(uri, label=label, environ=os.environ, passphrase_file=passphrase_file)] if uri else []
    registries = open_registries(flags)
    try:
        ports = BuildPorts(
            open_source=Sources(registries).open,
            now=_source_date(),
            say=console.result,
            progress=console.progress,
            clock=time.monotonic,
            jobs=jobs,
            locked=locked,
        )
        locks = (before, unlocked(before, update, everything=update_all))
        built = build(config, locks, output, signers, ports)
    finally:
        registries.close()
    write_lock(lock_file, built.composition.lock)
    if not signers:
        console.note("warning", "the bundle is unsigned: no loader takes it until a signature is attached")
    console.document(_built_document(built))


def _built_document(built: Any) -> dict[str, Any]:
    manifest = built.composition.manifest
    return {
        "created": manifest.created,
        "id": built.composition.head.id,
        "images": [
            {"digest": i.digest, "repository": i.repository, "source": i.source, "tag": i.tag} for i in manifest.images
        ],
        "name": manifest.name,
        "path": str(built.path),
        "sequence": manifest.sequence,
        "sha256": built.sha256,
        "signers": [label for label, _ in built.composition.head.signatures],
        "size": built.size,
        "unchanged": built.unchanged,
        "version": manifest.version,
    }


@app.command()
def keygen(
    name: Annotated[str, typer.Argument(metavar="NAME", help="NAME.key and NAME.pub")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="folder for both")] = Path(),
    passphrase_file: Passphrase = None,
    as_json: JsonOption = False,
) -> None:
    """Make an ECDSA P-256 key pair; print the fingerprint for the paper slip."""
    from bundler.sign import write_key_pair

    console = Console(as_json=as_json)

    def verb() -> None:
        private, public, key = write_key_pair(name, output, passphrase_file)
        console.result("key", f"{private} (keep it secret, 0600)")
        console.result("public", f"{public} (give it to the far side by another way than the bundle)")
        console.result("print", f"fingerprint {key.fingerprint}")
        console.document({"fingerprint": key.fingerprint, "key": str(private), "public": str(public)})

    raise typer.Exit(run(console, verb))


@app.command()
def sign(
    bundle: Bundle,
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="signing key: a path, file:PATH or env:VARIABLE")],
    signer: SignerOption = None,
    passphrase_file: Passphrase = None,
) -> None:
    """Add a further signature, as a file beside the bundle."""
    from bundler.sign import open_signer, sign_bundle

    console = Console()

    def verb() -> None:
        private = open_signer(key, label=signer, environ=os.environ, passphrase_file=passphrase_file)
        for path in sign_bundle(bundle, private):
            console.result("signed", f"{path} by {private.label} ({private.public.fingerprint})")

    raise typer.Exit(run(console, verb))


@app.command("attach-signature")
def attach_signature_command(
    bundle: Bundle,
    signature: Annotated[Path, typer.Argument(metavar="SIG", help="a raw detached signature")],
    signer: Annotated[str, typer.Option("--signer", metavar="NAME", help="label of the signature")],
    public_key: Annotated[Path, typer.Option("--public-key", metavar="PUB", help="the key it must verify under")],
) -> None:
    """Store a signature that was made elsewhere (HSM, openssl dgst -sign) beside the bundle, once it verifies."""
    from bundler.sign import attach_signature

    console = Console()

    def verb() -> None:
        path = attach_signature(bundle, label=signer, public_key=public_key, signature=signature)
        console.result("attached", str(path))

    raise typer.Exit(run(console, verb))


def _version(value: bool) -> None:
    if value:
        from bundler.fetch import libzstd_version

        facts = {"libzstd": libzstd_version(), "program": "airgap-bundler", "version": __version__}
        if "--json" in sys.argv:
            print(json.dumps(facts, sort_keys=True))  # noqa: T201 - the result of this option
        else:
            print(f"airgap-bundler {__version__} (libzstd {facts['libzstd']})")  # noqa: T201
        raise typer.Exit


@app.callback()
def callback(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="with --version: as JSON")] = False,
) -> None:
    """Pack container images, a signed manifest and mirror policies into one archive."""


def main() -> None:
    """Entry point of ``airgap-bundler``."""
    invoke(app)
