"""What typer made of our annotations, on every Python: names, metavars and help are the ones we wrote."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from release.programs import NAMES, whole_app


def commands() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for program in NAMES:
        group: Any = typer.main.get_command(whole_app(program))
        found.update({f"{program} {name}": command for name, command in group.commands.items()})
    return found


def test_the_commands_of_the_contract_are_there() -> None:
    loader = {f"airgap-loader {name}" for name in ("verify", "inspect", "extract", "load", "push", "apply")}
    bundler = {f"airgap-bundler {name}" for name in ("build", "keygen", "sign", "attach-signature")}
    assert loader | bundler <= set(commands())


# Their stdout is a script or a session.
_PLAIN = {"airgap-bundler completion", "airgap-loader completion"}


@pytest.mark.parametrize("name", sorted(commands().keys() - _PLAIN))
def test_every_command_takes_what_all_of_them_take(name: str) -> None:
    command = commands()[name]
    for each in getattr(command, "commands", {name: command}).values():
        options = {option for parameter in each.params for option in parameter.opts}
        assert {"--json", "-q", "-v"} <= options


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_parameter_is_as_it_was_declared(name: str) -> None:
    parameters = {parameter.name: parameter for parameter in commands()[name].params}
    assert [key for key, parameter in parameters.items() if not parameter.help] == []
    options = {option for parameter in parameters.values() for option in parameter.opts}
    # What typer makes of a parameter whose annotation it could not read.
    assert [option for option in options if option.startswith(("--as-", "--no-quiet"))] == []
    if "as_json" in parameters:
        assert parameters["as_json"].opts == ["--json"]
    if "output" in parameters:
        assert parameters["output"].opts == ["-o", "--output"]
