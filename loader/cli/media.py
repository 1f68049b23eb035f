"""``join``: the archive back from the discs of a media set."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

from pathlib import Path
from typing import Annotated

import typer

from loader.bundle.errors import ConfigError
from loader.cli.app import app
from loader.cli.console import Console, run
from loader.cli.options import Crypto, CryptoOption, JsonOption, Quiet, Source, TrustOption, make_trust


@app.command()
def join(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="the archive to write")],
    trust: TrustOption = None,
    crypto: CryptoOption = Crypto.auto,
    as_json: JsonOption = False,
    quiet: Quiet = False,
) -> None:
    """Put the archive together again from a media set, healed from parity where needed."""
    console = Console(as_json=as_json, quiet=quiet)

    def verb() -> None:
        from loader.media.join import join_archive
        from loader.media.places import find_archive
        from loader.media.verifying import media_document
        from loader.opening import damage_lines, media_notes, open_media

        if find_archive(source) is not None:
            raise ConfigError(f"{source[0]} is an archive already", hint="join takes the discs of a media set")
        with open_media(source, make_trust(trust, crypto)) as media:
            for step, text in media_notes(media):
                console.note(step, text)
            with console.progress("join", media.source.size) as on_bytes:
                join_archive(media, output, on_bytes)
            for step, text in damage_lines(media):
                console.note(step, text)
            archive = media.discs.media.archive
            console.result("joined", f"{output}  {archive.size} bytes, SHA-256 {archive.sha256}")
            console.document(
                {"path": str(output), "sha256": archive.sha256, "size": archive.size, **media_document(media)}
            )

    raise typer.Exit(run(console, verb))
