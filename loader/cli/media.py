"""``join``: the archive back from the discs of a media set."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from loader.bundle.errors import ConfigError
from loader.cli.app import app
from loader.cli.console import run
from loader.cli.options import KeyFlags, OutputFlags, Source
from loader.cli.prompt import NoPrompt, drive_ports


@app.command()
def join(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="the archive to write")],
    *,
    trust: KeyFlags,
    no_prompt: NoPrompt = False,
    said: OutputFlags,
) -> None:
    """Put the archive together again from a media set, healed from parity; one drive is asked for disc after disc."""
    console = said.console()

    def verb() -> None:
        from loader.media.drive import Drive
        from loader.media.join import join_archive
        from loader.media.places import find_archive

        if find_archive(source) is not None:
            raise ConfigError(
                f"{source[0]} is an archive already",
                why="there is nothing to join",
                hint="join takes the discs of a media set",
            )
        drive = Drive(source, trust.read(), drive_ports(console, no_prompt=no_prompt))
        with contextlib.closing(drive), console.progress("join", drive.media.archive.size) as on_bytes:
            for note in drive.discs.notes:
                console.note("warning", note)
            archive = join_archive(drive, output, on_bytes).archive
        console.result("joined", f"{output}  {archive.size} bytes, SHA-256 {archive.sha256}")
        console.document({"path": str(output), "sha256": archive.sha256, "size": archive.size})

    raise typer.Exit(run(console, verb))
