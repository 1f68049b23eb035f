"""``login``: a registry login, tried and kept."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import contextlib
import dataclasses
import getpass
import os
import sys
from typing import Annotated

import typer

from loader.bundle.errors import ConfigError
from loader.cli.app import app
from loader.cli.console import run
from loader.cli.options import (
    AccessFlags,
    OutputFlags,
    home,
    open_registries,
)

_MAX_PASSWORD = 64 * 1024  # identity tokens of clouds are some KiB


@app.command()
def login(
    registry: Annotated[str, typer.Argument(metavar="REGISTRY", help="host[:port][/prefix]")],
    user: Annotated[str, typer.Option("-u", "--username", metavar="USER", help="user name")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="read the password from stdin (default: ask on the terminal)")
    ] = False,
    *,
    access: AccessFlags,
    output: OutputFlags,
) -> None:
    """Try a login and keep it in the auth file, as skopeo and podman do."""
    console = output.console()

    def verb() -> None:
        from loader.oci.environment import AccessOptions, Environment
        from loader.oci.login import keep_login, login_file, make_credential
        from loader.oci.model import RegistryTarget

        target = RegistryTarget.parse(registry)
        credential = make_credential(user, _password(password_stdin))
        environment = Environment.from_mapping(os.environ, home=home(), uid=os.getuid())
        path = login_file(AccessOptions(authfile=access.authfile), environment)
        # The file is about to be written: that it is not there yet is no fault of the options.
        flags = dataclasses.replace(access, authfile=None)
        with contextlib.closing(open_registries(flags, console.detail, kept_logins=False)) as registries:
            if registries.answers_anyone(target.host):
                console.note(
                    "warning", f"{target.host} asks nobody for a login: whether this one is right can't be told"
                )
            else:
                registries.try_login(target.host, credential)
        keep_login(path, str(target), credential)
        console.result("login", f"{user} at {target}, kept in {path}")
        console.document({"authfile": str(path), "registry": str(target), "user": user})

    raise typer.Exit(run(console, verb))


def _password(from_stdin: bool) -> str:
    if from_stdin:
        text = sys.stdin.read(_MAX_PASSWORD + 1)
        if len(text) > _MAX_PASSWORD:
            raise ConfigError("this is no password", why=f"more than {_MAX_PASSWORD} characters came on stdin")
        return text.removesuffix("\n").removesuffix("\r")
    if not sys.stdin.isatty():
        raise ConfigError(
            "nobody can be asked for the password",
            why="stdin is not a terminal",
            hint="--password-stdin reads it there",
        )
    return getpass.getpass("password: ")
