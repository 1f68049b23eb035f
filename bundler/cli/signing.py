"""``keygen``, ``sign``, ``attach-signature``: keys and signatures."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.app import app
from bundler.cli.options import KEY_HELP, AlsoOption, Passphrase, SignerOption, given_signer
from loader.bundle.errors import ConfigError
from loader.cli.console import run
from loader.cli.options import OutputFlags

Signable = Annotated[
    Path, typer.Argument(metavar="BUNDLE|SETDIR", help="the archive, or the folder that media wrote its discs to")
]


@app.command()
def keygen(
    name: Annotated[str, typer.Argument(metavar="NAME", help="NAME.key and NAME.pub")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="folder for both")] = Path(),
    passphrase_file: Passphrase = None,
    *,
    said: OutputFlags,
) -> None:
    """Make an ECDSA P-256 key pair; print the fingerprint for the paper slip."""
    from bundler.sign import write_key_pair

    console = said.console()

    def verb() -> None:
        private, public, key = write_key_pair(name, output, passphrase_file)
        console.result("key", f"{private} (keep it secret, 0600)")
        console.result("public", f"{public} (give it to the far side by another way than the bundle)")
        console.result("print", f"fingerprint {key.fingerprint}")
        console.document({"fingerprint": key.fingerprint, "key": str(private), "public": str(public)})

    raise typer.Exit(run(console, verb))


@app.command()
def sign(
    bundle: Signable,
    key: Annotated[str, typer.Option("--key", metavar="KEY", help=KEY_HELP)],
    signer: SignerOption = None,
    passphrase_file: Passphrase = None,
    also: AlsoOption = None,
    *,
    said: OutputFlags,
) -> None:
    """Add a further signature: as a file beside the bundle, or onto every disc of a media set's folder."""
    from bundler.setsign import sign_set
    from bundler.sign import sign_bundle

    console = said.console()

    def verb() -> None:
        private = given_signer(key, signer, passphrase_file)
        if also and bundle.is_dir():
            raise ConfigError("--also sigstore is for an archive", why=f"{bundle} is a folder of discs")
        signed = sign_set(bundle, private) if bundle.is_dir() else sign_bundle(bundle, private, sigstore=bool(also))
        for path in signed:
            console.result("signed", f"{path} by {private.label} ({private.public.fingerprint})")
        paths = [str(path) for path in signed]
        console.document({"fingerprint": private.public.fingerprint, "paths": paths, "signer": private.label})

    raise typer.Exit(run(console, verb))


@app.command("attach-signature")
def attach_signature_command(
    bundle: Signable,
    signature: Annotated[Path, typer.Argument(metavar="SIG", help="a raw detached signature")],
    signer: Annotated[str, typer.Option("--signer", metavar="NAME", help="label of the signature")],
    public_key: Annotated[Path, typer.Option("--public-key", metavar="PUB", help="the key it must verify under")],
    *,
    said: OutputFlags,
) -> None:
    """Store a signature that was made elsewhere (HSM, openssl dgst -sign), once it verifies."""
    from bundler.setsign import attach_set_signature
    from loader.attach import Signature, attach_signature, check_label
    from loader.signing import CryptographyCheck

    console = said.console()

    def verb() -> None:
        if bundle.is_dir():
            label = check_label(signer)
            paths = attach_set_signature(bundle, label=label, public_key=public_key, signature=signature)
        else:
            given = Signature(signer, public_key, signature)
            paths = [attach_signature([bundle], given, CryptographyCheck())]
        for path in paths:
            console.result("attached", str(path))
        console.document({"paths": [str(path) for path in paths], "signer": signer})

    raise typer.Exit(run(console, verb))
