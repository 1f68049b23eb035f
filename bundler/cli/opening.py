"""What ``build`` and ``plan`` open in the same way: the config as the options narrow it, and the images' sources."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader.cli.console import Console
from loader.cli.options import AccessFlags, now, open_registries

if TYPE_CHECKING:
    from bundler.config import BuildConfig
    from bundler.sources import Sources

PlatformOption = Annotated[
    Optional[list[str]],
    typer.Option("--platform", metavar="P", help="only this os/arch[/variant] of every image (repeatable)"),
]
RewriteIndex = Annotated[
    bool, typer.Option("--rewrite-index", help="replace an index that loses platforms by one without them")
]


@dataclass(frozen=True)
class PlatformFlags:
    """Which platforms of the images; those from the command line win over all of the config's own."""

    platform: PlatformOption = None
    rewrite_index: RewriteIndex = False

    def config(self, path: Path) -> "BuildConfig":
        """Read the config as they narrow it."""
        from bundler.config import load_config, narrowed

        return narrowed(load_config(path), self.platform or (), rewrite=self.rewrite_index)


def tell_names(console: Console, config: "BuildConfig") -> None:
    """Say what the images' names leave open: digests that change on the way, hosts and tags that were filled in."""
    from bundler.imagelist import normalised
    from bundler.skopeo import new_digests

    for line in new_digests(config.images):
        console.note("warning", line)
    for image in normalised(config.images):
        console.note(
            "note", f"line {image.line}: {image.written} is {image.name}; write the whole name if it is not meant"
        )


@contextlib.contextmanager
def opened_sources(console: Console, config: "BuildConfig", flags: AccessFlags) -> Iterator["Sources"]:
    """Open registries, and copy what only skopeo reads into a private folder; both end with the context."""
    from bundler.clock import clock_warnings
    from bundler.skopeo import Skopeo, copied_layouts
    from bundler.sources import Sources
    from loader.cluster.process import ProcessRunner

    program = shutil.which("skopeo", path=os.environ.get("PATH", os.defpath))
    skopeo = Skopeo(program, ProcessRunner(os.environ), Path(tempfile.gettempdir()))
    registries = open_registries(flags, console.detail)
    try:
        with copied_layouts(config.images, skopeo) as layouts:
            yield Sources(registries, layouts)
        for line in clock_warnings(registries.dates(), now()):
            console.note("warning", line)
    finally:
        registries.close()
