"""``report``: the page of a bundle alone."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.app import app
from loader.cli.console import run
from loader.cli.options import OutputFlags


@app.command("report")
def report_command(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="an archive, its .head.tar, or one disc of a media set")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE.html", help="the page to write")],
    *,
    said: OutputFlags,
) -> None:
    """Write the page of a bundle: what is inside, its sizes, what is shared, what each document does."""
    console = said.console()

    def verb() -> None:
        from bundler.output import write_file
        from bundler.report import claim_page
        from loader.claims import read_claim

        page = claim_page(read_claim(bundle), bundle)
        write_file(output, page)
        console.result("report", str(output))
        console.document({"path": str(output), "size": len(page)})

    raise typer.Exit(run(console, verb))
