"""``--stage DIR`` for the verbs that have it: what they read is the copy."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader.cli.console import Console
from loader.cli.prompt import NoPrompt, drive_ports

if TYPE_CHECKING:
    from loader.bundle.verify import Trust

StageOption = Annotated[
    Optional[Path],
    typer.Option("--stage", metavar="DIR", help="copy the discs to DIR first, in any order, and go on from there"),
]


@dataclass(frozen=True)
class DriveFlags:
    """What is done where one drive reads the discs one after the other."""

    no_prompt: NoPrompt = False
    stage: StageOption = None


def staged(
    console: Console, source: Sequence[Path], trust: "Trust", folder: Optional[Path], *, no_prompt: bool
) -> list[Path]:
    """Return ``source`` with the discs in it replaced by their copy in ``folder``; as it is without a folder."""
    from loader.media.drive import Drive
    from loader.media.groups import bundle_groups
    from loader.media.places import is_disc
    from loader.media.staging import stage
    from loader.opening import all_signatures

    if folder is None:
        return list(source)
    given: list[Path] = []
    for group in bundle_groups(source, trust):
        if not is_disc(group[0]):
            given += group
            continue
        drive = Drive(group, trust, drive_ports(console, no_prompt=no_prompt))
        try:
            for note in drive.discs.notes:
                console.note("warning", note)
            signatures = all_signatures(drive.discs, group, ())
            with console.progress("copy", drive.media.archive.size) as on_bytes:
                given.append(stage(drive, signatures, folder, on_bytes))
        finally:
            drive.close()
        console.note("staged", str(given[-1]))
    return given
