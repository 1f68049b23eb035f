"""``init``: a first ``bundle.yaml``."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from bundler.cli.app import app
from loader.bundle.errors import ConfigError, StorageError
from loader.cli.console import Console, run
from loader.cli.options import OutputFlags


@app.command("init")
def init_command(
    rook: Annotated[
        Optional[str], typer.Option("--rook", metavar="VERSION", help="take the images of this Rook release")
    ] = None,
    registry: Annotated[
        Optional[str], typer.Option("--registry", metavar="R", help="registry in the airgap, host[:port][/prefix]")
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="print the Rook releases that are known")] = False,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="the config to write")] = Path(
        "bundle.yaml"
    ),
    *,
    said: OutputFlags,
) -> None:
    """Write a commented config; with --rook its images are the release's own."""
    console = said.console()
    raise typer.Exit(run(console, lambda: _list(console) if listing else _init(console, rook, registry, output)))


def _list(console: Console) -> None:
    from bundler.rookpresets import load_releases

    releases = list(load_releases().values())
    for release in releases:
        ceph = release.images["ceph"].rpartition(":")[2]
        console.text(f"{release.version:<9} {len(release.images)} images, Ceph {ceph}")
    console.document(
        {
            "releases": [
                {
                    "images": dict(release.images),
                    "optional": [{"image": item.image, "needs": item.needs} for item in release.optional],
                    "version": release.version,
                }
                for release in releases
            ]
        }
    )


def _init(console: Console, rook: Optional[str], registry: Optional[str], output: Path) -> None:
    from bundler.config import parse_config, read_file
    from bundler.rookpresets import find_release, load_releases
    from bundler.starter import PLACEHOLDER, plain_config, rook_config

    release = None
    if rook is not None:
        release = find_release(rook, load_releases())
        if release.version.lstrip("v") != rook.lstrip("v"):
            console.note("warning", f"no images are known for Rook {rook}; these are those of {release.version}")
    target = registry or PLACEHOLDER
    text = rook_config(output.name, target, release) if release else plain_config(output.name, target)
    config = parse_config(text.encode(), directory=output.parent, what=f"the config for {target}", read=read_file)
    write_new(output, text)
    console.result("written", f"{output} ({len(config.images)} images)")
    if registry is None:
        console.note("next", f"put your registry in {output}: it says {PLACEHOLDER}")
    console.document(
        {
            "images": [str(image.name) for image in config.images],
            "path": str(output),
            "registry": config.registry,
            "rook": release.version if release else None,
        }
    )


def write_new(path: Path, text: str) -> None:
    """Write a config that is not there yet."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
        except OSError:
            path.unlink(missing_ok=True)  # half a config, or none, would stand in the way of the next
            raise
    except FileExistsError as error:
        raise ConfigError(
            f"{path} is there already", why="it is never overwritten", hint="name another with -o"
        ) from error
    except OSError as error:
        raise StorageError(f"cannot write {path}", why=error.strerror or str(error)) from error
