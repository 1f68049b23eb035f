"""Starting an app: arguments in skopeo's manner, usage errors in three lines with exit code 2."""

from __future__ import annotations

import sys

import typer

from loader.cli.options import spread_flags


def invoke(app: typer.Typer) -> None:
    """Run ``app`` on the process's arguments and exit with its code."""
    app(args=spread_flags(sys.argv[1:]))
