"""``find-images``: what manifests, lists, charts and clusters name."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from bundler.cli.app import app
from loader.bundle.errors import ConfigError
from loader.cli.console import Console, run
from loader.cli.options import OutputFlags
from loader.presence import is_file

if TYPE_CHECKING:
    from bundler.configmerge import Merged
    from bundler.discovery import Found


@app.command("find-images")
def find_images_command(
    paths: Annotated[
        Optional[list[Path]],
        typer.Argument(metavar="PATH…", help="manifests, images.txt, kustomizations, charts, or folders of them"),
    ] = None,
    from_cluster: Annotated[
        bool, typer.Option("--from-cluster", help="what the pods of a cluster run, by digest")
    ] = False,
    values: Annotated[
        Optional[list[Path]], typer.Option("--values", metavar="FILE", help="render charts with it (repeatable)")
    ] = None,
    add_to: Annotated[
        Optional[Path], typer.Option("--add-to", metavar="CONFIG", help="add what a bundle.yaml lacks to its images")
    ] = None,
    kubeconfig: Annotated[Optional[Path], typer.Option("--kubeconfig", metavar="F", help="of --from-cluster")] = None,
    context: Annotated[Optional[str], typer.Option("--context", metavar="C", help="of --from-cluster")] = None,
    *,
    said: OutputFlags,
) -> None:
    """List the images that files or a cluster name, each with why and where."""
    console = said.console()

    def verb() -> None:
        if not paths and not from_cluster:
            raise ConfigError(
                "nothing to look at",
                why="no path was given, and no cluster",
                hint="name files or folders, or give --from-cluster",
            )
        absent = [path for path in values or [] if not is_file(path)]
        if absent:
            raise ConfigError(f"--values {absent[0]} is no file", why="nothing has that name, or it is something else")
        found = _look(paths or [], values or [])
        if from_cluster:
            found.occurrences += _cluster(kubeconfig, context).occurrences
        _tell(console, found, add_to)

    raise typer.Exit(run(console, verb))


def _look(paths: list[Path], values: list[Path]) -> "Found":
    from bundler.discovery import Finder
    from bundler.helm import Helm
    from loader.cluster.process import ProcessRunner

    helm = Helm(shutil.which("helm", path=os.environ.get("PATH", os.defpath)), ProcessRunner(os.environ), values)
    finder = Finder(helm.render)
    for path in paths:
        finder.look(path)
    return finder.found


def _cluster(kubeconfig: Optional[Path], context: Optional[str]) -> "Found":
    from bundler.clusterimages import running_images
    from loader.cluster.process import ProcessRunner

    path = os.environ.get("PATH", os.defpath)
    program = shutil.which("oc", path=path) or shutil.which("kubectl", path=path)
    if program is None:
        raise ConfigError("--from-cluster needs oc or kubectl", why="neither is on PATH", hint="install one of them")
    argv = [program]
    argv += ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    argv += ["--context", context] if context else []
    return running_images(argv, ProcessRunner(os.environ))


def _tell(console: Console, found: "Found", add_to: Optional[Path]) -> None:
    from bundler.discovery import document, lines

    for step, text in lines(found):
        console.result(step, text)
    for place, note in found.notes:
        console.note("note", f"{place}: {note}")
    merged = _add(found, add_to) if add_to else None
    for image in merged.added if merged else ():
        console.result("added", f"{image} to {add_to}")
    for image, why in merged.left if merged else ():
        console.result("left", f"{image}: {why} in {add_to}")
    console.document({**document(found), **_merged_document(merged)})
    if not found.problems:
        return
    if console.as_json:
        # The document has them; a second one would be no JSON any more.
        raise typer.Exit(ConfigError.exit_code)
    raise ConfigError(
        "not everything could be read: images may be missing above",
        faults=found.problems,
        hint="mend these, or leave them out, and run the same command again",
    )


def _merged_document(merged: "Optional[Merged]") -> dict[str, object]:
    left = [{"image": image, "why": why} for image, why in merged.left] if merged else []
    return {"added": list(merged.added) if merged else [], "left": left}


def _add(found: "Found", path: Path) -> "Merged":
    from bundler.config import CAPS, read_file
    from bundler.configmerge import with_images
    from bundler.output import rewrite_file

    images = [(name, places[0].why) for name, places in found.images(certain=True).items()]
    merged = with_images(read_file(path, CAPS.size), images, str(path))
    if merged.added:
        rewrite_file(path, merged.data)
    return merged
