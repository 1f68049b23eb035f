"""``--site``: options that were not typed come from the site file."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import enum
import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from loader.bundle.errors import AirgapError
from loader.cli.console import Console
from loader.cli.groups import GroupTyper, takes_groups
from loader.cli.options import home

if TYPE_CHECKING:
    from loader.sitefile import Site

SiteOption = Annotated[
    Optional[Path], typer.Option("--site", metavar="FILE", help="what is the same for all bundles here (TOML)")
]
# Parameter of a command -> field of the site.
_FIELDS = {
    "trust": "trust",
    "state": "state",
    "registry": "registry",
    "authfile": "authfile",
    "cert_dir": "cert_dir",
    "context": "context",
    "mirrors": "mirrors",
    "report": "reports",
}
# An option beats the environment, and that a site file which nobody named.
_ENVIRONMENT = {"trust": "AIRGAP_TRUST", "authfile": "REGISTRY_AUTH_FILE"}


@functools.cache
def _places() -> tuple[Path, Path]:
    return home() / ".config/airgap-loader/site.toml", Path("/etc/airgap-loader/site.toml")


class Allowed:
    """The API server of the site in use, None where any will do."""

    server: Optional[str] = None


def find_site(given: Optional[Path]) -> Optional[Path]:
    """``--site``, else the user's, else the host's; None where there is none."""
    return given if given is not None else next((place for place in _places() if os.path.lexists(place)), None)


def takes_site(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the option ``--site``, whose file fills in options that were not typed.

    A command without any such option stays as it is.
    """
    signature = inspect.signature(command)
    if not _FIELDS.keys() & signature.parameters.keys():
        return command
    own = [
        inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        inspect.Parameter("site", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=SiteOption),
    ]

    @functools.wraps(command)
    def taking(*, ctx: typer.Context, site: Optional[Path] = None, **given: Any) -> None:
        path = find_site(site)
        if path is not None:
            try:
                given = _filled(ctx, signature, given, _read(path), named=site is not None)
            except AirgapError as error:
                Console(as_json=bool(given.get("as_json"))).failure(error)
                raise typer.Exit(error.exit_code) from error
        command(**given)

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()]
    # typer reads both: the signature for the order and defaults, the annotations for the types.
    taking.__dict__["__signature__"] = signature.replace(parameters=[*parameters, own[1], own[0]])
    taking.__annotations__ = {each.name: each.annotation for each in [*parameters, *own]}
    return taking


def _read(path: Path) -> "Site":
    from loader.sitefile import read_site

    site = read_site(path, home())
    Allowed.server = site.server
    return site


def _filled(
    ctx: typer.Context, signature: inspect.Signature, given: Mapping[str, Any], site: "Site", *, named: bool
) -> dict[str, Any]:
    """Return ``given`` with the site's values where nothing was typed."""
    filled = dict(given)
    for name, field in _FIELDS.items():
        value = getattr(site, field)
        source = ctx.get_parameter_source(name)
        if name not in given or value is None or source is None or source.name != "DEFAULT":
            continue
        default = signature.parameters[name].default
        if name == "report" and default is None:
            continue  # verify writes a report only where it is asked for
        if name == "registry" and "authfile" not in given and not given.get("documents"):
            continue  # layouts name no registry
        if not named and name in _ENVIRONMENT and os.environ.get(_ENVIRONMENT[name]):
            continue
        filled[name] = type(default)(value) if isinstance(default, enum.Enum) else value
    return filled


class SiteTyper(GroupTyper):
    """An app whose commands take ``--site``."""

    def command(self, name: Optional[str] = None, **options: Any) -> Callable[..., Any]:
        """Register a command, with the option if it can use it."""
        register = super().command(name, **options)

        def keep(function: Callable[..., Any]) -> Callable[..., Any]:
            register(takes_site(takes_groups(function)))
            return function

        return keep
