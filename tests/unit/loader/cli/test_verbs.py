"""A verb is found in the module that is named for it, and no other module is imported to run it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest
import typer

import bundler.cli
import loader.cli

APPS = {"loader": loader.cli, "bundler": bundler.cli}


@pytest.mark.parametrize("name", APPS)
def test_every_command_is_listed_with_its_module(name: str) -> None:
    package = APPS[name]
    for module in package.VERBS:
        importlib.import_module(module)
    app: typer.Typer = importlib.import_module(f"{name}.cli.app").app
    names = {
        command.name or command.callback.__name__: command for command in app.registered_commands if command.callback
    }
    modules = {verb: module for module, verbs in package.VERBS.items() for verb in verbs}
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    assert sorted([*names, *[group for group in groups if group]]) == sorted(modules)
    for verb, command in names.items():
        assert command.callback is not None
        assert command.callback.__module__ == modules[verb]


@pytest.mark.parametrize(
    ("package", "verb", "kept_out"),
    [
        (loader.cli, "verify", ["loader.cli.loading", "loader.bundle.verify", "rich", "urllib3"]),
        (loader.cli, "load", ["loader.cli.reading", "loader.bundle.verify", "rich", "urllib3"]),
        (bundler.cli, "build", ["bundler.cli.media", "yaml", "cryptography", "rich"]),
    ],
)
def test_help_costs_little(package: ModuleType, verb: str, kept_out: list[str]) -> None:
    script = (
        "import sys, contextlib, io\n"
        f"sys.argv = ['program', {verb!r}, '--help']\n"
        f"from {package.__name__} import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n    main()\n"
        f"print([name for name in {kept_out!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
