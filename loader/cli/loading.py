"""``load``, ``push`` and ``apply``: the verbs that change a registry and a cluster."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import contextlib
import functools
import importlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from loader.archivehash import ArchiveHash, hashed_ahead
from loader.bundle.errors import ConfigError
from loader.cli.app import app
from loader.cli.clusteroptions import ClusterFlags, scratch_folder
from loader.cli.console import Console, run
from loader.cli.nodeoptions import NodeFlags
from loader.cli.options import (
    AccessFlags,
    FilledSource,
    ImageGlobs,
    ImportFlags,
    OutputFlags,
    TransferFlags,
    TrustFlags,
    log_file,
    open_audit,
    open_registries,
    utc_now,
    who,
)
from loader.cli.prompt import NoPrompt, drive_options
from loader.cli.staging import DriveFlags, staged
from loader.cli.storing import Place, ToOption, push_to_storage
from loader.cli.timeouts import Timeout, seconds
from loader.interpreter import quick_turns

if TYPE_CHECKING:
    from loader.loadstate import LoadOptions, LoadPorts, State
    from loader.systemlog import Audit


RegistryOption = Annotated[
    Optional[str], typer.Option("--registry", metavar="R", help="host[:port][/prefix] here, if not the bundle's own")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the whole effect, write nothing")]
Only = Annotated[
    Optional[str], typer.Option("--only", metavar="mirrors,manifests,rook", help="apply only these documents")
]
ReportDir = Annotated[Path, typer.Option("--report", metavar="DIR", help="folder for the report")]
NoApply = Annotated[bool, typer.Option("--no-apply", help="push only; write the documents and print the oc lines")]


@dataclass(frozen=True)
class _Run:
    """Everything one of the three commands was given."""

    audit: "Audit"
    console: Console
    source: list[Path]
    trust: TrustFlags
    imports: ImportFlags
    drive: DriveFlags
    access: AccessFlags
    cluster: ClusterFlags
    report: Path
    options: "LoadOptions"
    documents_only: bool = False


@app.command("load")
def load_command(
    source: FilledSource,
    registry: RegistryOption = None,
    no_apply: NoApply = False,
    dry_run: DryRun = False,
    only: Only = None,
    *,
    nodes: NodeFlags,
    cluster: ClusterFlags,
    timeout: Timeout = None,
    report: ReportDir = Path(),
    trust: TrustFlags,
    drive: DriveFlags,
    imports: ImportFlags,
    access: TransferFlags,
    output: OutputFlags,
) -> None:
    """Verify, preflight, push, apply, report. A second run changes nothing."""
    console = output.console()
    audit = open_audit("load", source)

    def verb() -> None:
        with _ahead(source, reads=not dry_run and drive.stage is None) as begun:
            options = _options(
                registry=registry,
                apply=not no_apply,
                dry_run=dry_run,
                jobs=access.jobs,
                only=_only(only),
                nodes=nodes.chosen(),
                override=imports.override(),
                timeout=seconds(timeout),
                access=_typed_again(cluster, imports),
            )
            given = _Run(audit, console, source, trust, imports, drive, access, cluster, report, options, no_apply)
            _carry_out(given, begun)

    raise typer.Exit(run(console, verb, audit))


@app.command("push")
def push_command(
    source: FilledSource,
    registry: RegistryOption = None,
    to: ToOption = None,
    dry_run: DryRun = False,
    image: ImageGlobs = None,
    report: ReportDir = Path(),
    *,
    trust: TrustFlags,
    drive: DriveFlags,
    imports: ImportFlags,
    access: TransferFlags,
    output: OutputFlags,
) -> None:
    """The first half of load: verify and push."""
    console = output.console()
    audit = open_audit("push", source)

    def verb() -> None:
        images, override = tuple(image or ()), imports.override()
        if to is not None:
            place = Place(to, registry, images, dry_run, override, report)
            push_to_storage(console, source, trust.read(), place, imports.folder(), trust.signatures, audit)
            return
        chosen = {"images": images, "override": override, "jobs": access.jobs}
        with _ahead(source, reads=not dry_run and drive.stage is None) as begun:
            options = _options(registry=registry, apply=False, dry_run=dry_run, **chosen)
            given = _Run(audit, console, source, trust, imports, drive, access, ClusterFlags(), report, options)
            _carry_out(given, begun)

    raise typer.Exit(run(console, verb, audit))


@app.command("apply")
def apply_command(
    source: FilledSource,
    registry: RegistryOption = None,
    dry_run: DryRun = False,
    only: Only = None,
    *,
    nodes: NodeFlags,
    cluster: ClusterFlags,
    timeout: Timeout = None,
    report: ReportDir = Path(),
    trust: TrustFlags,
    no_prompt: NoPrompt = False,
    imports: ImportFlags,
    access: AccessFlags,
    output: OutputFlags,
) -> None:
    """The second half of load: check that every digest is in the registry, then apply."""
    console = output.console()
    audit = open_audit("apply", source)

    def verb() -> None:
        with _ahead(source, reads=not dry_run) as begun:
            options = _options(
                registry=registry,
                push=False,
                dry_run=dry_run,
                only=_only(only),
                nodes=nodes.chosen(),
                override=imports.override(),
                timeout=seconds(timeout),
                access=_typed_again(cluster, imports),
            )
            drive = DriveFlags(no_prompt)
            _carry_out(_Run(audit, console, source, trust, imports, drive, access, cluster, report, options), begun)

    raise typer.Exit(run(console, verb, audit))


def _options(**given: Any) -> "LoadOptions":
    from loader.loadstate import LoadOptions

    return LoadOptions(**given)


def _only(text: Optional[str]) -> tuple[str, ...]:
    from loader.site import ONLY

    # An empty text is no choice of all: it is a script's variable that was never set.
    names = tuple(text.split(",")) if text is not None else ()
    unknown = [name for name in names if name not in ONLY]
    if unknown:
        raise ConfigError(
            f"--only {unknown[0][:60]!a} is not known",
            why="there is no such part",
            hint=f"one or more of {','.join(ONLY)}",
        )
    return names


def _typed_again(cluster: ClusterFlags, imports: ImportFlags) -> str:
    """The options that a rollback must be given again, as a person types them."""
    given = (("--kubeconfig", cluster.kubeconfig), ("--context", cluster.context), ("--state", imports.state))
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given if value is not None)


@contextlib.contextmanager
def _ahead(source: list[Path], *, reads: bool) -> Iterator[Optional[ArchiveHash]]:
    """Import what a load needs, which takes one core a while; meanwhile hash the archive if it ``reads``."""
    with hashed_ahead(source if reads else ()) as begun:
        with quick_turns():
            importlib.import_module("loader.load")
            importlib.import_module("loader.oci.connect")
        yield begun


def _carry_out(given: _Run, begun: Optional[ArchiveHash]) -> None:
    from loader.load import load

    with contextlib.ExitStack() as stack:
        ports = _ports(given, stack)
        trust, drive = given.trust.read(), given.drive
        source = staged(given.console, given.source, trust, drive.stage, no_prompt=drive.no_prompt)
        state = load(source, trust, given.options, ports, signatures=given.trust.signatures, begun=begun)
    _conclude(given, state, ports.report.record)


def _ports(given: _Run, stack: contextlib.ExitStack) -> "LoadPorts":
    """What the load needs from outside; ``stack`` closes it."""
    from loader.cluster.waits import Clock
    from loader.history import History
    from loader.imports import ImportLog
    from loader.loadstate import LoadPorts
    from loader.report import Report
    from loader.vault import Vault

    console, options = given.console, given.options
    given.cluster.require_there()
    folder = given.imports.folder()
    if not options.dry_run:
        console.open_log(log_file(folder))
    instead = "--no-apply only pushes" if options.push else ""
    registries = stack.enter_context(contextlib.closing(open_registries(given.access, console.detail)))
    scratch = stack.enter_context(scratch_folder())
    return LoadPorts(
        registries=registries,
        kubectl=lambda: given.cluster.kubectl(console, scratch),
        history=History(folder),
        say=console.result,
        note=console.note,
        progress=console.progress,
        confirm=(lambda _: None) if given.cluster.yes else functools.partial(console.confirm, instead=instead),
        now=utc_now,
        report=Report(given.report, who(), Vault(folder)),
        imports=ImportLog(folder),
        verified=given.audit.verified,
        clock=Clock(),
        drive=drive_options(console, no_prompt=given.drive.no_prompt, folder=folder),
    )


def _conclude(given: _Run, state: "State", record: dict[str, Any]) -> None:
    from loader.effect import effect_document, effect_lines

    console = given.console
    if given.documents_only:
        _by_hand(given, state)
    if given.options.dry_run:
        console.text(effect_lines(state))
        console.document(effect_document(state))
        return
    console.result("report", f"{given.report / f'{state.name}.load.json'}, .html")
    console.document(record)


def _by_hand(given: _Run, state: "State") -> None:
    from loader.charts import lines_by_hand
    from loader.cluster.oclines import oc_lines
    from loader.cluster.rookauto import at_place
    from loader.extract import write_documents
    from loader.nodes import NodeOptions
    from loader.site import of_mirrors

    folder = given.report / f"{state.name}.documents"
    if given.options.dry_run:
        given.console.result("apply", f"not done: --no-apply. By hand, in {folder} once a run has written it:")
    else:
        write_documents(state.documents, folder)
        given.console.result("apply", f"not done: --no-apply. By hand, in {folder}:")
    nodes = given.options.nodes or NodeOptions()
    documents = [item.document for item in state.documents if nodes.mirrors == "cluster" or not of_mirrors(item)]
    lines = oc_lines(at_place(document, nodes.place) for document in documents)
    values = lines_by_hand({item.document.path: item.content for item in state.documents})
    given.console.text("\n".join([*lines, *values]))
