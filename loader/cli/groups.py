"""Groups of options: a dataclass whose fields are typer's parameters is one parameter of a command."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import typer


def takes_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options of every dataclass among its parameters, in its place; it gets them as that.

    A field's annotation and default are what a parameter's would be, so both stand in a module without "annotations"
    from __future__.
    """
    signature = inspect.signature(command)
    groups = {one.name: one.annotation for one in signature.parameters.values() if _is_group(one.annotation)}
    if not groups:
        return command
    spread = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for one in signature.parameters.values()
        for each in (_parameters(groups[one.name]) if one.name in groups else [one])
    ]

    @functools.wraps(command)
    def taking(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in dataclasses.fields(group)})
        command(**given)

    # typer reads both: the signature for the order and defaults, the annotations for the types.
    taking.__dict__["__signature__"] = signature.replace(parameters=spread)
    taking.__annotations__ = {each.name: each.annotation for each in spread}
    return taking


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _parameters(group: Any) -> list[inspect.Parameter]:
    return [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in dataclasses.fields(group)
    ]


class GroupTyper(typer.Typer):
    """An app whose commands take groups of options."""

    def command(self, name: str | None = None, **options: Any) -> Callable[..., Any]:
        """Register a command, with the options of its groups."""
        register = super().command(name, **options)

        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            register(takes_groups(function))
            return function

        return keep
