"""Both programs with all of their commands."""

from __future__ import annotations

import importlib

import typer

import bundler.cli
import loader.cli
from loader.cli.completion import Shell, completion_script

_PACKAGES = {"airgap-bundler": bundler.cli, "airgap-loader": loader.cli}
NAMES = tuple(_PACKAGES)


def whole_app(program: str) -> typer.Typer:
    """The app of ``program``, every command registered."""
    package = _PACKAGES[program]
    for module in package.VERBS:
        importlib.import_module(module)
    app: typer.Typer = importlib.import_module(f"{package.__name__}.app").app
    return app


def completion(program: str, shell: Shell) -> bytes:
    """The completion script of ``program``."""
    return completion_script(whole_app(program), program, shell).encode("ascii")
