"""``rollback``: the way back from ``load`` and ``apply``."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from loader.bundle.errors import ConfigError
from loader.cli.app import app
from loader.cli.clusteroptions import ClusterFlags, scratch_folder
from loader.cli.console import Console, run
from loader.cli.options import OutputFlags, StateFlags, log_file, utc_now, who
from loader.cli.timeouts import Timeout, seconds

ReportFile = Annotated[Path, typer.Argument(metavar="REPORT.json", help="NAME-VERSION.load.json of the load")]
Force = Annotated[bool, typer.Option("--force", help="put back what someone else changed since, too")]
KeepMirrors = Annotated[
    bool, typer.Option("--keep-mirrors", help="leave the mirror objects, and so the nodes, as they are")
]
ForceCephDowngrade = Annotated[
    bool, typer.Option("--force-ceph-downgrade", help="put back an older Ceph: its data may be lost")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print what would be put back, write nothing")]


@app.command("rollback")
def rollback_command(
    report: ReportFile,
    dry_run: DryRun = False,
    force: Force = False,
    keep_mirrors: KeepMirrors = False,
    force_ceph_downgrade: ForceCephDowngrade = False,
    timeout: Timeout = None,
    *,
    cluster: ClusterFlags,
    state: StateFlags,
    output: OutputFlags,
) -> None:
    """Put back what a load changed in the cluster, the last change first."""
    console = output.console()

    def verb() -> None:
        from loader.cluster.waits import Clock
        from loader.otherloads import OtherLoads
        from loader.report import Report
        from loader.rollback import RollbackOptions, RollbackPorts, rollback
        from loader.vault import Vault

        cluster.require_there()
        options = RollbackOptions(dry_run, force, keep_mirrors, force_ceph_downgrade, seconds(timeout))
        vault = Vault(state.folder())
        if not dry_run:
            console.open_log(log_file(state.folder()))
        with scratch_folder() as scratch, _alone(state.folder(), dry_run):
            ports = RollbackPorts(
                kubectl=cluster.kubectl(console, scratch),
                vault=vault,
                loads=OtherLoads(state.folder()),
                report=Report(report.parent, who(), vault),
                clock=Clock(),
                say=console.result,
                note=console.note,
                text=console.text,
                document=console.hold,
                confirm=(lambda _: None) if cluster.yes else console.confirm,
                ask=lambda question: _ask(console, question),
                now=utc_now,
            )
            rollback(report, options, ports)
            console.held()

    raise typer.Exit(run(console, verb))


def _alone(folder: Path, dry_run: bool) -> contextlib.AbstractContextManager[None]:
    """Keep other runs off the state folder, unless nothing is written."""
    from loader.history import History

    return contextlib.nullcontext() if dry_run else History(folder).running()


def _ask(console: Console, question: str) -> None:
    """Ask where ``--yes`` does not count."""
    if not sys.stdin.isatty():
        raise ConfigError(
            "each object of this report has to be agreed to, and nobody can be asked",
            why="stdin is not a terminal, and this state folder did not see the report written",
            hint="name the folder of the load with --state, or run this on a terminal",
        )
    console.confirm(question)
