"""``import``: the config of another tool as a ``bundle.yaml``."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from bundler.cli.app import app
from loader.bundle.errors import ConfigError
from loader.cli.console import Console, run
from loader.cli.options import OutputFlags

if TYPE_CHECKING:
    from bundler.foreign import Foreign


@app.command("import")
def import_command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="oc-mirror's ImageSetConfiguration v2alpha1, or Hauler's Images")
    ],
    registry: Annotated[
        Optional[str], typer.Option("--registry", metavar="R", help="registry in the airgap, host[:port][/prefix]")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="the config to write")] = Path(
        "bundle.yaml"
    ),
    *,
    said: OutputFlags,
) -> None:
    """Write a config from another tool's; what has no counterpart is listed."""
    console = said.console()
    raise typer.Exit(run(console, lambda: _import(console, file, registry, output)))


def _require_keys(found: "Foreign", file: Path, folder: Path) -> None:
    """Raise ``ConfigError`` for the keys that cannot be read, with their lines in the file that names them."""
    from bundler.config import read_file
    from bundler.imagesignatures import read_signing_key
    from bundler.requirements import MAX_KEY

    faults: dict[str, tuple[str, str]] = {}
    for image in found.images:
        if image.key is not None:
            try:
                read_signing_key(image.key, read_file(folder / image.key, MAX_KEY))
            except ConfigError as error:
                faults.setdefault(image.key, (f"{file}:{image.line}", f"key {error}"))
    if faults:
        raise ConfigError(
            f"{file} names keys that cannot be read",
            faults=list(faults.values()),
            hint=f"the config looks for them from its own folder, {folder}: put them there, or take key out",
        )


def _import(console: Console, file: Path, registry: Optional[str], output: Path) -> None:
    from bundler.cli.starting import write_new
    from bundler.config import parse_config, read_file
    from bundler.foreign import CAPS, read_foreign
    from bundler.starter import PLACEHOLDER, foreign_config

    found = read_foreign(read_file(file, CAPS.size), str(file))
    _require_keys(found, file, output.parent)
    bundle = re.sub(r"[^a-z0-9]+", "-", file.name.partition(".")[0].lower()).strip("-")[:48].strip("-") or "images"
    text = foreign_config(output.name, registry or PLACEHOLDER, bundle, found)
    config = parse_config(text.encode(), directory=output.parent, what=f"the config made of {file}", read=read_file)
    write_new(output, text)
    for line, note in found.notes:
        console.note("note", f"{file}:{line}: {note}")
    for line, what in found.unsupported:
        console.result("left out", f"{file}:{line}: {what}")
    console.result("written", f"{output} ({len(config.images)} images of {found.tool})")
    if registry is None:
        console.note("next", f"put your registry in {output}: it says {PLACEHOLDER}")
    console.document(
        {
            "images": [str(image.name) for image in config.images],
            "notes": [{"line": line, "text": note} for line, note in found.notes],
            "path": str(output),
            "tool": found.tool,
            "unsupported": [{"line": line, "text": what} for line, what in found.unsupported],
        }
    )
