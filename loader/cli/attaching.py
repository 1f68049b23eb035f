"""``attach-signature``: the security team's own signature, on the far side."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

from pathlib import Path
from typing import Annotated, Optional

import typer

from loader.cli.app import app
from loader.cli.console import run
from loader.cli.options import Crypto, CryptoOption, OutputFlags


@app.command("attach-signature")
def attach_signature_command(
    source: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE... SIG", help="the archive or the discs, then the raw detached signature"),
    ],
    signer: Annotated[str, typer.Option("--signer", metavar="NAME", help="label of the signature")],
    public_key: Annotated[Path, typer.Option("--public-key", metavar="PUB", help="the key it must verify under")],
    output: Annotated[
        Optional[Path], typer.Option("-o", "--output", metavar="DIR", help="store it there, not beside SOURCE")
    ] = None,
    crypto: CryptoOption = Crypto.auto,
    *,
    said: OutputFlags,
) -> None:
    """Check a signature over the bundle's SHA256SUMS (openssl dgst -sign) and store it beside; policies count it."""
    console = said.console()

    def verb() -> None:
        from loader.attach import Signature, attach_signature
        from loader.bundle.errors import ConfigError
        from loader.signing import find_check

        *sources, signature = source
        if not sources:
            raise ConfigError(
                "attach-signature needs SOURCE and SIG",
                why="two were expected and one came",
                hint="first the archive, then the signature",
            )
        given = Signature(signer, public_key, signature)
        path = attach_signature(sources, given, find_check(crypto.value), output=output)
        console.result("attached", str(path))
        if output is not None:
            console.note("next", f"--signature {path} with verify, load and push: it does not stand beside the bundle")
        console.document({"path": str(path)})

    raise typer.Exit(run(console, verb))
