"""``extract``: images and documents to disk."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import enum
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader.bundle.errors import ConfigError
from loader.cli.app import app
from loader.cli.console import Console, run
from loader.cli.options import (
    FilledSource,
    ImageGlobs,
    OutputFlags,
    StateFlags,
    TrustFlags,
)
from loader.cli.prompt import can_ask
from loader.cli.staging import DriveFlags, staged

if TYPE_CHECKING:
    from loader.bundle.verify import Trust, VerifiedBundle
    from loader.filling import Filled
    from loader.picked import Picked


class Format(str, enum.Enum):
    """What images become."""

    dir = "dir"
    oci = "oci"
    oci_archive = "oci-archive"


@dataclass(frozen=True)
class _Wish:
    """What was asked for."""

    output: Path
    globs: tuple[str, ...]
    documents: bool
    registry: Optional[str]
    kind: Format
    platform: Optional[str]


@app.command()
def extract(
    source: FilledSource,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="folder to write to; for an archive also FILE.tar")
    ],
    image: ImageGlobs = None,
    documents: Annotated[bool, typer.Option("--documents", help="the documents instead of the images")] = False,
    registry: Annotated[
        Optional[str], typer.Option("--registry", metavar="R", help="with --documents: render them for R")
    ] = None,
    kind: Annotated[
        Format,
        typer.Option("--format", help="a skopeo dir layout for each image, one OCI layout, or that as one tar file"),
    ] = Format.dir,
    platform: Annotated[
        Optional[str], typer.Option("--platform", metavar="P", help="only this one, such as linux/arm64")
    ] = None,
    *,
    trust: TrustFlags,
    drive: DriveFlags,
    state: StateFlags,
    said: OutputFlags,
) -> None:
    """Write verified images for skopeo, podman, containerd and k3s, or the documents."""
    console = said.console()

    def verb() -> None:
        from loader.filling import open_filled

        wish = _Wish(output, tuple(image or ()), documents, registry, kind, platform)
        _require_sense(wish)
        given = trust.read()
        taken = _taken(console, source, given, drive, output)
        with open_filled(taken, given, signatures=trust.signatures, say=console.note) as filled:
            _tell(console, filled.bundle, state.folder())
            paths = _write(console, filled, wish)
            lines = _lines(filled.bundle, {*paths}, output) if wish.documents else ()
        _remove_copy(taken, source, output)
        for path in paths:
            console.result("wrote", str(path))
        if lines:
            console.result("apply", f"by hand, in {output}:")
            console.text("\n".join(lines))
        console.document({"lines": list(lines), "written": [str(path) for path in paths]})

    raise typer.Exit(run(console, verb))


def _tell(console: Console, bundle: "VerifiedBundle", state: Path) -> None:
    """Say what is no reason to refuse."""
    from loader.history import History
    from loader.verdict import replay_line

    console.note("replay", replay_line(bundle, History(state)))
    for warning in bundle.warnings:
        console.note("warning", warning)


def _taken(console: Console, source: list[Path], trust: "Trust", drive: DriveFlags, output: Path) -> list[Path]:
    """What to read: discs of one drive are copied first, to ``--stage`` or beside what is written."""
    from loader.media.groups import bundle_groups
    from loader.media.opendrive import is_enough
    from loader.media.places import is_disc

    stage = drive.stage
    if stage is None and can_ask(no_prompt=drive.no_prompt):
        discs = [group for group in bundle_groups(source, trust) if is_disc(group[0])]
        if discs and not is_enough(discs[0], trust):
            stage = _copy_folder(output)
    return staged(console, source, trust, stage, no_prompt=drive.no_prompt)


def _copy_folder(output: Path) -> Path:
    # "." has no name to hide another one behind.
    output = output.absolute()
    return output.with_name(f".{output.name}.discs")


def _remove_copy(taken: list[Path], source: list[Path], output: Path) -> None:
    """Remove a copy that was made beside the output; one that was asked for by --stage stays."""
    if taken != source and any(path.parent == _copy_folder(output) for path in taken):
        shutil.rmtree(_copy_folder(output), ignore_errors=True)


def _require_sense(wish: _Wish) -> None:
    from loader.oci.platforms import is_platform

    if wish.registry is not None and not wish.documents:
        raise ConfigError(
            "--registry goes with --documents", why="images keep the names they have", hint="leave it out"
        )
    if wish.documents and (wish.platform is not None or wish.kind is not Format.dir or wish.globs):
        raise ConfigError(
            "--documents goes without --image, --format and --platform", why="those choose images", hint="run it twice"
        )
    if wish.platform is not None and not is_platform(wish.platform):
        raise ConfigError(
            f"--platform {wish.platform[:60]} is none", why="os/architecture[/variant]", hint="linux/amd64"
        )


def _write(console: Console, filled: "Filled", wish: _Wish) -> list[Path]:
    from loader.alone import alone_in
    from loader.bundle.verify import verify_content
    from loader.extract import Extracting, extract_layouts, total_blobs, write_documents
    from loader.oci.model import RegistryTarget
    from loader.ocilayout import docker_manifest, write_archive, write_layout
    from loader.picked import pick
    from loader.site import attachments_of, chosen_images, site_documents

    bundle = filled.bundle
    images = chosen_images(bundle.manifest.images, wish.globs)
    attached = attachments_of(bundle, images) if wish.kind is Format.dir and wish.platform is None else []
    picked = pick(bundle, [*images, *attached], wish.platform)
    with console.progress("verify", bundle.unpacked) as on_bytes:
        complete = verify_content(bundle, on_bytes=on_bytes)
    if wish.documents:
        target = str(RegistryTarget.parse(bundle.manifest.registry if wish.registry is None else wish.registry))
        with alone_in(wish.output):
            return write_documents(site_documents(bundle, target), wish.output)
    with console.progress("extract", sum(total_blobs(picked).values())) as on_bytes:
        work = Extracting(complete, filled.more, on_bytes)
        if wish.kind is Format.dir:
            with alone_in(wish.output):
                return extract_layouts(work, picked, wish.output)
        if wish.kind is Format.oci:
            return [write_layout(work, picked, wish.output)]
        path = write_archive(work, picked, _archive_path(bundle, picked, wish.output))
        _tell_import(console, path, takes_all=len(picked) == 1 or bool(docker_manifest(bundle, picked)))
        return [path]


def _lines(bundle: "VerifiedBundle", written: set[Path], output: Path) -> tuple[str, ...]:
    """What a person types to apply the documents ``written`` under ``output``, in their order."""
    from loader.charts import lines_by_hand
    from loader.chartvalues import FOLDER
    from loader.cluster.oclines import oc_lines

    documents = [item for item in bundle.manifest.documents if output / item.path in written]
    values = {item.path: bundle.read(item.path) for item in documents if item.path.startswith(FOLDER)}
    return (*oc_lines(documents), *lines_by_hand(values))


def _tell_import(console: Console, path: Path, *, takes_all: bool) -> None:
    """Say how nodes import an archive."""
    console.note("import", f"containerd: ctr -n k8s.io images import {path}")
    console.note("import", f"k3s, RKE2: put it into the agent's images folder, or k3s ctr images import {path}")
    if takes_all:
        console.note("import", f"podman: podman load -i {path}")
    else:
        console.note("import", "podman: one image a file (--image), or one platform (--platform)")


def _archive_path(bundle: "VerifiedBundle", picked: "list[Picked]", output: Path) -> Path:
    """The file that was named, or one in the folder that was: named after the bundle, or the one image in it."""
    if output.suffix == ".tar" and not output.is_dir():
        return output
    whole = f"{bundle.manifest.name}-{bundle.manifest.version}"
    name = picked[0].owner.path.rpartition("/")[2] if len(picked) == 1 else whole
    return output / f"{name}.oci.tar"
