"""``media`` and ``iso``: the bundle onto discs."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import os
from pathlib import Path
from typing import Annotated, Optional

import typer

from bundler.cli.app import app
from bundler.cli.options import SigningFlags
from loader.bundle.errors import ConfigError
from loader.cli.console import Console, run
from loader.cli.options import OutputFlags

Output = Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="a new or empty folder for the discs")]


@app.command("media")
def media_command(
    bundle: Annotated[Optional[Path], typer.Argument(metavar="BUNDLE", help="the archive NAME-VERSION.tar.zst")] = None,
    output: Annotated[
        Optional[Path], typer.Option("-o", "--output", metavar="DIR", help="a new or empty folder for the discs")
    ] = None,
    medium: Annotated[
        Optional[str], typer.Option("--medium", metavar="M", help="cd dvd dvd-dl bd25 bd50 bd100 usb-fat32")
    ] = None,
    volume_size: Annotated[
        Optional[str], typer.Option("--volume-size", metavar="N", help="bytes per disc, with MB, MiB, GB or GiB")
    ] = None,
    parity: Annotated[int, typer.Option("--parity", metavar="M", min=0, help="parity discs: any M may be lost")] = 0,
    loader: Annotated[
        Optional[str], typer.Option("--loader", metavar="FILE|none", help="put this airgap-loader.pyz on every disc")
    ] = None,
    iso: Annotated[bool, typer.Option("--iso", help="ISO images instead of folders")] = False,
    check: Annotated[
        Optional[Path], typer.Option("--check", metavar="DEVICE|DIR|ISO", help="compare a burned disc with its lists")
    ] = None,
    *,
    signing: SigningFlags,
    said: OutputFlags,
) -> None:
    """Write the media set of BUNDLE: one folder or ISO image per disc. Or --check a burned one."""
    console = said.console()

    def verb() -> None:
        if check is not None:
            if any((bundle, output, medium, volume_size, parity, loader, signing.key, signing.signer, iso)):
                raise ConfigError(
                    "--check goes alone", why="it looks at a disc, and writes none", hint="media --check DISC"
                )
            _check(console, check)
            return
        if bundle is None or output is None:
            raise ConfigError(
                "media needs BUNDLE and -o DIR",
                why="without --check a set is written",
                hint="airgap-bundler media BUNDLE -o DIR --medium dvd",
            )
        _make(console, bundle, output, (medium, volume_size, parity, loader, iso), signing)

    raise typer.Exit(run(console, verb))


def _make(
    console: Console,
    bundle: Path,
    output: Path,
    wanted: tuple[Optional[str], Optional[str], int, Optional[str], bool],
    signing: SigningFlags,
) -> None:
    from bundler.iso import find_xorriso
    from bundler.media import MediaOptions, MediaPorts, make_media
    from bundler.medium import capacity_of, parse_size

    medium, volume_size, parity, loader, iso = wanted
    if (medium is None) == (volume_size is None):
        raise ConfigError(
            "give one of --medium and --volume-size",
            why="they say the same in two ways, and one of them is needed",
            hint="--medium dvd, or --volume-size 25GB",
        )
    if iso and signing.key is None:
        raise ConfigError(
            "--iso needs --key",
            why="signatures stand on the discs and can't be added to an image",
            hint="without a key: media -o SETDIR, then sign or attach-signature SETDIR, then iso SETDIR",
        )
    signer = signing.open()
    options = MediaOptions(
        capacity_of(medium) if medium is not None else parse_size(volume_size or ""),
        parity,
        Path(loader) if loader is not None and loader != "none" else None,
        find_xorriso(os.environ.get("PATH")) if iso else None,
    )
    made = make_media(bundle, output, options, signer, MediaPorts(console.result, console.progress))
    media = made.media
    console.result("set", f"{media.k} data and {media.m} parity discs, set id {media.set_id}")
    if signer is None:
        console.note("warning", "the set is unsigned: sign or attach-signature it before it is burned")
    console.document(
        {
            "bundle": media.bundle.id,
            "discs": [
                {"name": volume.name, "path": str(path), "size": volume.size}
                for volume, path in zip(media.volumes, made.paths)
            ],
            "k": media.k,
            "m": media.m,
            "setId": media.set_id,
            "signers": list(made.signers),
        }
    )


def _check(console: Console, source: Path) -> None:
    from loader.cli.reading import check_given_discs

    check_given_discs(console, [source], None)


@app.command("iso")
def iso_command(
    folder: Annotated[Path, typer.Argument(metavar="SETDIR", help="the folder of a signed set")],
    output: Output,
    *,
    said: OutputFlags,
) -> None:
    """Write the ISO images of a signed set."""
    console = said.console()

    def verb() -> None:
        from bundler.iso import find_xorriso
        from bundler.setsign import make_images

        images = make_images(folder, output, find_xorriso(os.environ.get("PATH")), console.result)
        console.document({"images": [str(image) for image in images]})

    raise typer.Exit(run(console, verb))
