"""``join``: the archive back from the discs of a media set."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loader.bundle.errors import ConfigError
from loader.cli.app import app
from loader.cli.console import Console, run
from loader.cli.options import Crypto, CryptoOption, JsonOption, Quiet, Source, TrustOption, make_trust

if TYPE_CHECKING:
    from loader.bundle.verify import Trust


def _ask(no_prompt: bool, line: str) -> bool:
    """Ask for a disc and wait for Enter; False where nobody can answer."""
    if no_prompt or not sys.stdin.isatty():
        return False
    typer.echo(f"{line}, then press Enter: ", err=True, nl=False)
    return sys.stdin.readline() != ""


@app.command()
def join(
    source: Source,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="the archive to write")],
    trust: TrustOption = None,
    crypto: CryptoOption = Crypto.auto,
    no_prompt: Annotated[
        bool, typer.Option("--no-prompt", help="never ask for another disc: end with exit code 5")
    ] = False,
    as_json: JsonOption = False,
    quiet: Quiet = False,
) -> None:
    """Put the archive together again from a media set, healed from parity; one drive is asked for disc after disc."""
    console = Console(as_json=as_json, quiet=quiet)

    def verb() -> None:
        from loader.media.join import JoinPorts, join_archive
        from loader.media.opened import open_media
        from loader.media.places import find_archive

        if find_archive(source) is not None:
            raise ConfigError(f"{source[0]} is an archive already", hint="join takes the discs of a media set")
        trusted = make_trust(trust, crypto)
        with console.progress("join", _size(source, trusted)) as on_bytes:
            ports = JoinPorts(lambda line: _ask(no_prompt, line), console.note, on_bytes)
            archive = join_archive(lambda: open_media(source, trusted), output, ports).archive
        console.result("joined", f"{output}  {archive.size} bytes, SHA-256 {archive.sha256}")
        console.document({"path": str(output), "sha256": archive.sha256, "size": archive.size})

    raise typer.Exit(run(console, verb))


def _size(source: list[Path], trust: "Trust") -> int:
    from loader.media.opened import open_media

    with open_media(source, trust) as media:
        return media.source.size
