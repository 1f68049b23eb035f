"""``trust``: the keys of this host."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader.bundle.errors import ConfigError
from loader.cli.app import app
from loader.cli.console import Console, run
from loader.cli.options import (
    KeyFlags,
    OutputFlags,
    StateFlags,
    TrustOption,
    trust_folder,
    utc_now,
)
from loader.cli.site import SiteTyper

if TYPE_CHECKING:
    from loader.keyring import Keyring

trust_app = SiteTyper(no_args_is_help=True, rich_markup_mode=None)
app.add_typer(trust_app, name="trust", help="The trusted keys: add, list, remove, revoke, reset-sequence.")
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="a key's name, or its fingerprint")]


def _keyring(trust: Optional[Path]) -> "Keyring":
    from loader.keyring import Keyring

    return Keyring(trust_folder(trust))


@trust_app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="the new public key (PEM)")],
    fingerprint: Annotated[
        Optional[str], typer.Option("--fingerprint", metavar="sha256:…", help="what the paper slip says")
    ] = None,
    endorsed_by: Annotated[
        Optional[list[Path]],
        typer.Option("--endorsed-by", metavar="SIG", help="a trusted key's signature over FILE (repeatable)"),
    ] = None,
    name: Annotated[
        Optional[str], typer.Option("--name", metavar="NAME", help="what to call it (default: the file's stem)")
    ] = None,
    *,
    trust: KeyFlags,
    output: OutputFlags,
) -> None:
    """Trust a key whose fingerprint was compared, or that trusted keys signed."""
    console = output.console()

    def verb() -> None:
        from loader.signing import find_check

        if fingerprint is None and not endorsed_by:
            raise ConfigError(
                f"{file} is not trusted for being there",
                why="a key counts by its fingerprint, which came to you on paper, or by the word of trusted keys",
                hint="--fingerprint sha256:… from the slip, or --endorsed-by SIG",
            )
        ring = _keyring(trust.trust)
        key, endorsers = ring.add(
            file,
            name=name,
            fingerprint=fingerprint,
            endorsements=endorsed_by or (),
            check=find_check(trust.crypto.value),
        )
        by = f"endorsed by {', '.join(endorsers)}" if endorsers else "fingerprint compared"
        console.result("trusted", f"{key.name} {key.fingerprint} {key.algorithm} ({by}) in {ring.folder}")
        _warn(console, ring)
        console.document({"endorsedBy": list(endorsers), "fingerprint": key.fingerprint, "name": key.name})

    raise typer.Exit(run(console, verb))


@trust_app.command("list")
def list_command(trust: TrustOption = None, *, output: OutputFlags) -> None:
    """Show every key, its fingerprint, and whether it counts."""
    console = output.console()

    def verb() -> None:
        ring = _keyring(trust)
        rows = ring.listed()
        for row in rows:
            console.result(row.state, f"{row.key.name} {row.key.fingerprint} {row.key.algorithm}")
        if not rows:
            console.result("none", f"no key in {ring.folder}")
        fault = _warn(console, ring) if rows else "there is no key"
        console.document(
            {
                "fault": fault or None,
                "folder": str(ring.folder),
                "keys": [
                    {
                        "algorithm": row.key.algorithm,
                        "fingerprint": row.key.fingerprint,
                        "name": row.key.name,
                        "state": row.state,
                    }
                    for row in rows
                ],
            }
        )

    raise typer.Exit(run(console, verb))


@trust_app.command()
def remove(name: KeyName, trust: TrustOption = None, *, output: OutputFlags) -> None:
    """Take a key out. It can be added again; a key that must never count again is revoked."""
    console = output.console()

    def verb() -> None:
        ring = _keyring(trust)
        key = ring.remove(name)
        console.result("removed", f"{key.name} {key.fingerprint} from {ring.folder}")
        console.document({"fingerprint": key.fingerprint, "folder": str(ring.folder), "name": key.name})

    raise typer.Exit(run(console, verb))


@trust_app.command()
def revoke(name: KeyName, trust: TrustOption = None, *, output: OutputFlags) -> None:
    """Never let a key count again: its fingerprint goes under revoked in policy.toml."""
    console = output.console()

    def verb() -> None:
        ring = _keyring(trust)
        fingerprint = ring.revoke(name)
        console.result("revoked", f"{fingerprint} in {ring.folder}; every other site needs the same line")
        fault = _warn(console, ring)
        console.document({"fault": fault or None, "fingerprint": fingerprint, "folder": str(ring.folder)})

    raise typer.Exit(run(console, verb))


def _warn(console: Console, ring: "Keyring") -> str:
    """Say so where the keys and the policy can't both hold: nothing is loaded then."""
    fault = ring.fault()
    if fault:
        console.note("warning", f"nothing can be loaded with this folder: {fault}")
    return fault


@trust_app.command("reset-sequence")
def reset_sequence(
    bundle: Annotated[str, typer.Argument(metavar="NAME", help="the bundle's name, without version")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="why, for the record")],
    key: Annotated[
        Optional[str], typer.Option("--key", metavar="sha256:…", help="only what this key signed (default: every key)")
    ] = None,
    *,
    state: StateFlags,
    output: OutputFlags,
) -> None:
    """Forget which sequence of a bundle was loaded last, so that a lower one is taken again."""
    console = output.console()

    def verb() -> None:
        from loader.history import History

        forgotten = History(state.folder()).reset(bundle, fingerprint=key, when=utc_now(), reason=reason)
        for entry in forgotten:
            console.result("forgotten", f"{entry.name} sequence {entry.sequence} under {entry.fingerprint}")
        console.note("warning", "an older bundle of this name is taken now, whoever offers it first")
        rows = [{"fingerprint": one.fingerprint, "name": one.name, "sequence": one.sequence} for one in forgotten]
        console.document({"forgotten": rows})

    raise typer.Exit(run(console, verb))
