"""``serve``: a read-only registry straight out of the bundle."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

from pathlib import Path
from typing import Annotated, Optional

import typer

from loader.cli.app import app
from loader.cli.console import Console, run
from loader.cli.options import (
    AllowOlder,
    Crypto,
    CryptoOption,
    FilledSource,
    JsonOption,
    Quiet,
    Reason,
    Signatures,
    StateOption,
    TrustOption,
    Verbose,
    make_trust,
    override_reason,
    state_folder,
    utc_now,
)


@app.command("serve")
def serve_command(
    source: FilledSource,
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="address; port 0 is any free one")] = (
        "127.0.0.1:5000"
    ),
    tls_cert: Annotated[
        Optional[Path], typer.Option("--tls-cert", metavar="F", help="certificate and its chain (PEM)")
    ] = None,
    tls_key: Annotated[Optional[Path], typer.Option("--tls-key", metavar="F", help="its private key (PEM)")] = None,
    trust: TrustOption = None,
    signature: Signatures = None,
    crypto: CryptoOption = Crypto.auto,
    state: StateOption = None,
    allow_older: AllowOlder = False,
    reason: Reason = None,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Be a read-only registry of the bundle for podman, skopeo, CRI-O, containerd: by tag and by digest."""
    console = Console(as_json=as_json, quiet=quiet, verbose=verbose)

    def verb() -> None:
        from loader.distribution.server import Listen
        from loader.history import History
        from loader.serve import ServeOptions, ServePorts, serve

        options = ServeOptions(Listen.parse(listen), tls_cert, tls_key, override_reason(allow_older, reason))
        ports = ServePorts(
            history=History(state_folder(state)),
            say=console.result,
            note=console.note,
            trace=console.detail,
            progress=console.progress,
            now=utc_now,
            ready=console.document,
        )
        serve(source, make_trust(trust, crypto), options, ports, signatures=signature or ())

    raise typer.Exit(run(console, verb))
