"""``serve``: a read-only registry straight out of the bundle."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

from pathlib import Path
from typing import Annotated, Optional

import typer

from loader.cli.app import app
from loader.cli.console import run
from loader.cli.options import (
    FilledSource,
    ImportFlags,
    OutputFlags,
    TrustFlags,
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
    *,
    trust: TrustFlags,
    imports: ImportFlags,
    output: OutputFlags,
) -> None:
    """Be a read-only registry of the bundle for podman, skopeo, CRI-O, containerd: by tag and by digest."""
    console = output.console()

    def verb() -> None:
        from loader.distribution.server import Listen
        from loader.history import History
        from loader.serve import ServeOptions, ServePorts, serve

        options = ServeOptions(Listen.parse(listen), tls_cert, tls_key, imports.override())
        ports = ServePorts(
            history=History(imports.folder()),
            say=console.result,
            note=console.note,
            trace=console.detail,
            progress=console.progress,
            now=utc_now,
            ready=console.document,
        )
        serve(source, trust.read(), options, ports, signatures=trust.signatures)

    raise typer.Exit(run(console, verb))
