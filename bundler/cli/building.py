"""``build``: config to bundle."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bundler.cli.app import app
from bundler.cli.opening import PlatformOption, RewriteIndex, chosen_config, opened_sources, tell_names
from bundler.cli.options import AlsoOption, KeyOption, Passphrase, SignerOption, given_signer, source_date
from loader.bundle.errors import ConfigError
from loader.cli.console import Console, run
from loader.cli.options import (
    AccessFlags,
    Authfile,
    CaFile,
    CertDir,
    Crypto,
    Jobs,
    JsonOption,
    LimitRate,
    PlainHttp,
    Quiet,
    TlsVerify,
    TrustOption,
    Verbose,
    make_trust,
)

if TYPE_CHECKING:
    from bundler.delta import Base


@app.command("build")
def build_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="bundle.yaml")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="folder for the bundle")],
    key: KeyOption = None,
    signer: SignerOption = None,
    passphrase_file: Passphrase = None,
    also: AlsoOption = None,
    locked: Annotated[bool, typer.Option("--locked", help="any change of the lock is an error")] = False,
    update: Annotated[
        Optional[list[str]], typer.Option("--update", metavar="IMAGE", help="resolve this image anew (repeatable)")
    ] = None,
    update_all: Annotated[bool, typer.Option("--update-all", help="resolve every image anew")] = False,
    base: Annotated[
        Optional[Path], typer.Option("--base", metavar="PREVIOUS", help="a bundle or its head: leave out what it has")
    ] = None,
    trust: TrustOption = None,
    platform: PlatformOption = None,
    rewrite_index: RewriteIndex = False,
    jobs: Jobs = 3,
    limit_rate: LimitRate = None,
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
    flags = AccessFlags(authfile, cert_dir, tls_verify, plain_http, ca_file, limit_rate)
    moves = (locked, tuple(update or ()), update_all)
    raise typer.Exit(
        run(
            console,
            lambda: _build(
                console,
                (config, platform, rewrite_index),
                output,
                (key, signer, passphrase_file, bool(also)),
                (base, trust),
                moves,
                flags,
                jobs,
            ),
        )
    )


def _build(
    console: Console,
    wanted: tuple[Path, Optional[list[str]], bool],
    output: Path,
    key: tuple[Optional[str], Optional[str], Optional[Path], bool],
    previous: tuple[Optional[Path], Optional[Path]],
    moves: tuple[bool, tuple[str, ...], bool],
    flags: AccessFlags,
    jobs: int,
) -> None:
    from bundler.build import BuildPorts, build
    from bundler.lock import lock_path, read_lock, unlocked, write_lock

    locked, update, update_all = moves
    if locked and (update or update_all):
        raise ConfigError("--locked and --update exclude each other")
    config = chosen_config(*wanted)
    lock_file = lock_path(wanted[0])
    before = read_lock(lock_file)
    uri, label, passphrase_file, sigstore = key
    if sigstore and uri is None:
        raise ConfigError("--also sigstore needs --key", hint="sign --also sigstore adds it later")
    signers = [given_signer(uri, label, passphrase_file)] if uri else []
    tell_names(console, config)
    with opened_sources(console, config, flags) as sources:
        ports = BuildPorts(
            open_source=sources.open,
            now=source_date(),
            say=console.result,
            progress=console.progress,
            clock=time.monotonic,
            jobs=jobs,
            locked=locked,
            base=_base(*previous),
            sigstore=sigstore,
        )
        locks = (before, unlocked(before, update, everything=update_all))
        built = build(config, locks, output, signers, ports)
    write_lock(lock_file, built.composition.lock)
    if not signers:
        console.note("warning", "the bundle is unsigned: no loader takes it until a signature is attached")
    console.document(_built_document(built))


def _base(path: Optional[Path], trust: Optional[Path]) -> Optional["Base"]:
    from bundler.base import open_base

    if path is None:
        if trust is not None:
            raise ConfigError("--trust goes with --base", hint="it says whose signature the base must have")
        return None
    return open_base(path, make_trust(trust, Crypto.auto))


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
