"""``completion``: what a shell needs to complete this program's commands and options."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import importlib
from typing import Annotated

import typer

from bundler.cli.app import app
from loader.cli.completion import Shell, completion_script


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash or zsh")]) -> None:
    """Print a completion script: source <(airgap-bundler completion bash)."""
    from bundler.cli import VERBS

    for module in VERBS:
        importlib.import_module(module)
    typer.echo(completion_script(app, "airgap-bundler", shell), nl=False)
