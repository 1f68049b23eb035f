"""``push --to containers-storage:``: the way of ``push`` where there is no registry."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader.bundle.errors import ConfigError
from loader.cli.console import Console
from loader.cli.options import log_file, utc_now, who

if TYPE_CHECKING:
    from loader.bundle.verify import Trust
    from loader.systemlog import Audit

ToOption = Annotated[
    Optional[str],
    typer.Option("--to", metavar="containers-storage:", help="podman's and CRI-O's storage here, by skopeo"),
]


@dataclass(frozen=True)
class Place:
    """What was asked of ``push --to``."""

    target: str
    registry: Optional[str]
    globs: tuple[str, ...]
    dry_run: bool
    override: Optional[str]
    report: Path


def push_to_storage(
    console: Console,
    sources: list[Path],
    trust: "Trust",
    place: Place,
    state: Path,
    signatures: Sequence[Path],
    audit: "Audit",
) -> None:
    """Store the images, print their names and leave a report; ``ConfigError`` where there is no skopeo."""
    from loader.cluster.process import ProcessRunner
    from loader.history import History
    from loader.imports import ImportLog
    from loader.report import Report
    from loader.storage import StoreOptions, StorePorts, store
    from loader.vault import Vault

    if place.registry is not None:
        raise ConfigError("--registry goes without --to", why="they are two places", hint="run it once for each")
    skopeo = shutil.which("skopeo", path=os.environ.get("PATH"))
    if skopeo is None:
        raise ConfigError(
            f"--to {place.target} needs skopeo",
            why="skopeo is not on PATH",
            hint="dnf install skopeo, or apt-get install skopeo; extract --format oci-archive needs no other program",
        )
    if not place.dry_run:
        console.open_log(log_file(state))
    report = Report(place.report, who(), Vault(state))
    ports = StorePorts(
        skopeo=skopeo,
        run=ProcessRunner(dict(os.environ)),
        history=History(state),
        imports=ImportLog(state),
        report=report,
        verified=audit.verified,
        say=console.result,
        note=console.note,
        trace=console.detail,
        progress=console.progress,
        now=utc_now,
    )
    options = StoreOptions(place.target, place.globs, place.dry_run, place.override)
    stored = store(sources, trust, options, ports, signatures=signatures)
    if report.path is not None:
        console.result("report", f"{report.path}, .html")
    console.document({"stored": stored})
