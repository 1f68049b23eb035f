"""``build``: config to bundle."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from bundler.cli.app import app
from bundler.cli.opening import PlatformFlags, opened_sources, tell_names
from bundler.cli.options import AlsoOption, LockFlags, SigningFlags, source_date
from loader.bundle.errors import ConfigError
from loader.cli.console import run
from loader.cli.options import KeyFlags, OutputFlags, TransferFlags, TrustOption

if TYPE_CHECKING:
    from bundler.delta import Base
    from bundler.lock import Lock
    from loader.cli.console import Console


@app.command("build")
def build_command(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="bundle.yaml")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="folder for the bundle")],
    *,
    signing: SigningFlags,
    also: AlsoOption = None,
    lock: LockFlags,
    base: Annotated[
        Optional[Path], typer.Option("--base", metavar="PREVIOUS", help="a bundle or its head: leave out what it has")
    ] = None,
    trust: TrustOption = None,
    platforms: PlatformFlags,
    access: TransferFlags,
    said: OutputFlags,
) -> None:
    """Write DIR/NAME-VERSION.tar.zst with its sidecars, and verify it."""
    console = said.console()

    def verb() -> None:
        from bundler.build import BuildPorts, build
        from bundler.lock import lock_path
        from bundler.lockmerge import keep_lock

        lock.require_sense()
        _require_key(also, signing)
        chosen = platforms.config(config)
        lock_file = lock_path(config)
        before = _lock(console, lock_file)
        signer = signing.open()
        tell_names(console, chosen)
        with opened_sources(console, chosen, access) as sources:
            ports = BuildPorts(
                open_source=sources.open,
                now=source_date(),
                say=console.result,
                progress=console.progress,
                clock=time.monotonic,
                jobs=access.jobs,
                locked=lock.locked,
                base=_base(base, trust),
                sigstore=bool(also),
            )
            built = build(chosen, (before, lock.unlocked(before)), output, [signer] if signer else [], ports)
        keep_lock(lock_file, before, built.composition.lock, lambda text: console.note("warning", text))
        if not built.composition.head.signatures:
            console.note("warning", "the bundle is unsigned: no loader takes it until a signature is attached")
        console.document(_built_document(built))

    raise typer.Exit(run(console, verb))


def _require_key(also: AlsoOption, signing: SigningFlags) -> None:
    if also and signing.key is None:
        raise ConfigError(
            "--also sigstore needs --key",
            why="it signs once more, with the same key",
            hint="sign --also sigstore adds it later",
        )


def _lock(console: "Console", path: Path) -> "Lock":
    """Read the lock, and say now if it cannot be written: layers of an hour come first. An old build changes none."""
    from bundler.lockreading import read_lock

    if not os.access(path.absolute().parent, os.W_OK):
        console.note("warning", f"{path} cannot be written: a build that changes it ends with an error")
    return read_lock(path)


def _base(path: Optional[Path], trust: Optional[Path]) -> Optional["Base"]:
    from bundler.base import open_base

    if path is None:
        if trust is not None:
            raise ConfigError(
                "--trust goes with --base",
                why="without a base there is nothing whose signature it would check",
                hint="it says whose signature the base must have",
            )
        return None
    return open_base(path, KeyFlags(trust).read())


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
