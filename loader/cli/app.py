"""The app of ``airgap-loader``; the commands register themselves on it."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import json
import sys
from typing import Annotated

import typer

from loader import __version__
from loader.cli.site import SiteTyper

app = SiteTyper(
    name="airgap-loader",
    help="Verify a bundle, push its images, apply its documents.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if not value:
        return
    from loader.identity import libzstd_version, own_sha256

    facts = {
        "libzstd": libzstd_version(),
        "program": "airgap-loader",
        "sha256": own_sha256(sys.argv[0]),
        "version": __version__,
    }
    if "--json" in sys.argv:
        print(json.dumps(facts, sort_keys=True))  # noqa: T201 - the result of this option
    else:
        libzstd = facts["libzstd"] or "none"
        print(f"airgap-loader {__version__} (libzstd {libzstd}, sha256 {facts['sha256']})")  # noqa: T201
    raise typer.Exit


@app.callback()
def callback(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print version, libzstd and own SHA-256")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="with --version: as JSON")] = False,
) -> None:
    """Verify a bundle, push its images, apply its documents."""
