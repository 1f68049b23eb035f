"""The app of ``airgap-bundler``; the commands register themselves on it."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import json
import sys
from typing import Annotated

import typer

from loader import __version__
from loader.cli.groups import GroupTyper

app = GroupTyper(
    name="airgap-bundler",
    help="Pack container images, a signed manifest and mirror policies into one archive.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from bundler.fetch import libzstd_version

        facts = {"libzstd": libzstd_version(), "program": "airgap-bundler", "version": __version__}
        if "--json" in sys.argv:
            print(json.dumps(facts, sort_keys=True))  # noqa: T201 - the result of this option
        else:
            print(f"airgap-bundler {__version__} (libzstd {facts['libzstd']})")  # noqa: T201
        raise typer.Exit


@app.callback()
def callback(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="with --version: as JSON")] = False,
) -> None:
    """Pack container images, a signed manifest and mirror policies into one archive."""
