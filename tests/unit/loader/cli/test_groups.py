"""A dataclass of options is one parameter of a command."""

# No "annotations" from __future__ here: typer reads the options from annotations that are objects.

from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from loader.cli.groups import GroupTyper, takes_groups


@dataclass(frozen=True)
class Colour:
    shade: Annotated[str, typer.Option("--shade", help="how dark")] = "light"
    loud: Annotated[bool, typer.Option("--loud")] = False


@dataclass(frozen=True)
class Paint(Colour):
    coats: Annotated[int, typer.Option("--coats", min=1)] = 1


@dataclass
class Wall:
    """A command, and what it was given."""

    seen: dict[str, Any] = field(default_factory=dict)

    def app(self) -> typer.Typer:
        app = GroupTyper()

        @app.command()
        def wall(
            name: Annotated[str, typer.Argument()],
            wide: Annotated[bool, typer.Option("--wide")] = False,
            *,
            paint: Paint,
        ) -> None:
            self.seen.update(name=name, wide=wide, paint=paint)

        return app


@pytest.mark.parametrize(
    ("typed", "paint"),
    [
        ([], Paint()),
        (["--shade", "dark", "--coats", "2"], Paint("dark", False, 2)),
        (["--loud", "--wide"], Paint(loud=True)),
    ],
)
def test_a_command_gets_what_was_typed_as_one(typed: list[str], paint: Paint) -> None:
    wall = Wall()
    assert CliRunner().invoke(wall.app(), ["north", *typed]).exit_code == 0
    assert wall.seen == {"name": "north", "wide": "--wide" in typed, "paint": paint}


def test_the_help_has_the_options_of_a_group_in_its_place() -> None:
    shown = CliRunner().invoke(Wall().app(), ["--help"]).stdout
    places = [shown.index(option) for option in ("--wide", "--shade", "--loud", "--coats")]
    assert places == sorted(places)
    assert "how dark" in shown


def test_a_value_out_of_range_is_refused_as_that_of_any_option() -> None:
    assert CliRunner().invoke(Wall().app(), ["north", "--coats", "0"]).exit_code == 2


def test_a_command_without_groups_stays_as_it_is() -> None:
    def plain(name: str = "") -> None:
        raise AssertionError(name)

    assert takes_groups(plain) is plain
