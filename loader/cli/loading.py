"""``load``, ``push`` and ``apply``: the verbs that change a registry and a cluster."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import contextlib
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from loader.bundle.errors import ConfigError, StorageError
from loader.cli.app import app
from loader.cli.console import Console, run
from loader.cli.nodeoptions import takes_node_options
from loader.cli.options import (
    AccessFlags,
    AllowOlder,
    Authfile,
    CaFile,
    CertDir,
    Crypto,
    CryptoOption,
    FilledSource,
    ImageGlobs,
    Jobs,
    JsonOption,
    LimitRate,
    PlainHttp,
    Quiet,
    Reason,
    Signatures,
    StateOption,
    TlsVerify,
    TrustOption,
    Verbose,
    log_file,
    make_trust,
    open_audit,
    open_registries,
    override_reason,
    state_folder,
    utc_now,
    who,
)
from loader.cli.prompt import NoPrompt, drive_options
from loader.cli.site import Allowed
from loader.cli.staging import StageOption, staged
from loader.cli.storing import Place, ToOption, push_to_storage
from loader.cli.timeouts import Timeout, seconds

if TYPE_CHECKING:
    from loader.cluster.kubectl import Call, Kubectl
    from loader.loadstate import LoadOptions, State
    from loader.nodes import NodeOptions
    from loader.systemlog import Audit


RegistryOption = Annotated[
    Optional[str], typer.Option("--registry", metavar="R", help="host[:port][/prefix] here, if not the bundle's own")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="print the whole effect, write nothing")]
Only = Annotated[
    Optional[str], typer.Option("--only", metavar="mirrors,manifests,rook", help="apply only these documents")
]
Kubeconfig = Annotated[Optional[Path], typer.Option("--kubeconfig", metavar="F", help="kubeconfig file")]
Context = Annotated[Optional[str], typer.Option("--context", metavar="C", help="context of the kubeconfig")]
Yes = Annotated[bool, typer.Option("--yes", help="answer the question before the cluster changes")]
ReportDir = Annotated[Path, typer.Option("--report", metavar="DIR", help="folder for the report")]
NoApply = Annotated[bool, typer.Option("--no-apply", help="push only; write the documents and print the oc lines")]


@dataclass(frozen=True)
class _Run:
    """Everything one of the three commands was given."""

    audit: "Audit"
    console: Console
    source: list[Path]
    trust: Optional[Path]
    signatures: list[Path]
    crypto: Crypto
    state: Optional[Path]
    access: AccessFlags
    report: Path
    options: "LoadOptions"
    kubeconfig: Optional[Path] = None
    context: Optional[str] = None
    yes: bool = False
    documents_only: bool = False
    no_prompt: bool = False
    stage: Optional[Path] = None


@app.command("load")
@takes_node_options
def load_command(
    source: FilledSource,
    trust: TrustOption = None,
    registry: RegistryOption = None,
    no_apply: NoApply = False,
    dry_run: DryRun = False,
    only: Only = None,
    nodes: Optional["NodeOptions"] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Timeout = None,
    yes: Yes = False,
    report: ReportDir = Path(),
    signature: Signatures = None,
    crypto: CryptoOption = Crypto.auto,
    no_prompt: NoPrompt = False,
    stage: StageOption = None,
    state: StateOption = None,
    allow_older: AllowOlder = False,
    reason: Reason = None,
    jobs: Jobs = 3,
    limit_rate: LimitRate = None,
    authfile: Authfile = None,
    cert_dir: CertDir = None,
    tls_verify: TlsVerify = None,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Verify, preflight, push, apply, report. A second run changes nothing."""
    console = Console(as_json=as_json, quiet=quiet, verbose=verbose)
    audit = open_audit("load", source)

    def verb() -> None:
        how = {"only": _only(only), "override": override_reason(allow_older, reason), "timeout": seconds(timeout)}
        where = {"registry": registry, "nodes": nodes, "access": cluster_options(kubeconfig, context, state)}
        options = _options(apply=not no_apply, dry_run=dry_run, jobs=jobs, **where, **how)
        access = AccessFlags(authfile, cert_dir, tls_verify, plain_http, ca_file, limit_rate)
        given = (console, source, trust, signature or [], crypto, state, access, report, options)
        _carry_out(_Run(audit, *given, kubeconfig, context, yes, no_apply, no_prompt, stage))

    raise typer.Exit(run(console, verb, audit))


@app.command("push")
def push_command(
    source: FilledSource,
    trust: TrustOption = None,
    registry: RegistryOption = None,
    to: ToOption = None,
    dry_run: DryRun = False,
    image: ImageGlobs = None,
    report: ReportDir = Path(),
    signature: Signatures = None,
    crypto: CryptoOption = Crypto.auto,
    no_prompt: NoPrompt = False,
    stage: StageOption = None,
    state: StateOption = None,
    allow_older: AllowOlder = False,
    reason: Reason = None,
    jobs: Jobs = 3,
    limit_rate: LimitRate = None,
    authfile: Authfile = None,
    cert_dir: CertDir = None,
    tls_verify: TlsVerify = None,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """The first half of load: verify and push."""
    console = Console(as_json=as_json, quiet=quiet, verbose=verbose)
    audit = open_audit("push", source)

    def verb() -> None:
        override = override_reason(allow_older, reason)
        if to is not None:
            place = Place(to, registry, tuple(image or ()), dry_run, override, report)
            folder = state_folder(state)
            push_to_storage(console, source, make_trust(trust, crypto), place, folder, signature or (), audit)
            return
        options = _options(
            registry=registry,
            apply=False,
            dry_run=dry_run,
            jobs=jobs,
            images=tuple(image or ()),
            override=override,
        )
        access = AccessFlags(authfile, cert_dir, tls_verify, plain_http, ca_file, limit_rate)
        given = (console, source, trust, signature or [], crypto, state, access, report, options)
        _carry_out(_Run(audit, *given, no_prompt=no_prompt, stage=stage))

    raise typer.Exit(run(console, verb, audit))


@app.command("apply")
@takes_node_options
def apply_command(
    source: FilledSource,
    trust: TrustOption = None,
    registry: RegistryOption = None,
    dry_run: DryRun = False,
    only: Only = None,
    nodes: Optional["NodeOptions"] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Timeout = None,
    yes: Yes = False,
    report: ReportDir = Path(),
    signature: Signatures = None,
    crypto: CryptoOption = Crypto.auto,
    no_prompt: NoPrompt = False,
    state: StateOption = None,
    allow_older: AllowOlder = False,
    reason: Reason = None,
    authfile: Authfile = None,
    cert_dir: CertDir = None,
    tls_verify: TlsVerify = None,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """The second half of load: check that every digest is in the registry, then apply."""
    console = Console(as_json=as_json, quiet=quiet, verbose=verbose)
    audit = open_audit("apply", source)

    def verb() -> None:
        options = _options(
            registry=registry,
            push=False,
            dry_run=dry_run,
            only=_only(only),
            nodes=nodes,
            override=override_reason(allow_older, reason),
            timeout=seconds(timeout),
            access=cluster_options(kubeconfig, context, state),
        )
        access = AccessFlags(authfile, cert_dir, tls_verify, plain_http, ca_file)
        given = (console, source, trust, signature or [], crypto, state, access, report, options)
        _carry_out(_Run(audit, *given, kubeconfig, context, yes, no_prompt=no_prompt))

    raise typer.Exit(run(console, verb, audit))


def _options(**given: Any) -> "LoadOptions":
    from loader.loadstate import LoadOptions

    options = LoadOptions(**given)
    if options.nodes is not None:
        options.nodes.check()
    return options


def _only(text: Optional[str]) -> tuple[str, ...]:
    from loader.site import ONLY

    names = tuple(text.split(",")) if text else ()
    unknown = [name for name in names if name not in ONLY]
    if unknown:
        raise ConfigError(f"--only {unknown[0][:60]} is not known", hint=f"one or more of {','.join(ONLY)}")
    return names


def cluster_options(kubeconfig: Optional[Path], context: Optional[str], state: Optional[Path]) -> str:
    """The options that a rollback must be given again, as a person types them."""
    given = (("--kubeconfig", kubeconfig), ("--context", context), ("--state", state))
    return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given if value is not None)


def _carry_out(given: _Run) -> None:
    from loader.cluster.waits import Clock
    from loader.history import History
    from loader.imports import ImportLog
    from loader.load import load
    from loader.loadstate import LoadPorts
    from loader.report import Report
    from loader.vault import Vault

    console, options = given.console, given.options
    folder = state_folder(given.state)
    if not options.dry_run:
        console.open_log(log_file(folder))
    registries = open_registries(given.access, console.detail)
    report = Report(given.report, who(), Vault(folder))
    with contextlib.closing(registries), scratch_folder() as scratch:
        ports = LoadPorts(
            registries=registries,
            kubectl=lambda: make_kubectl(console, given.kubeconfig, given.context, scratch),
            history=History(folder),
            say=console.result,
            note=console.note,
            progress=console.progress,
            confirm=(lambda _: None) if given.yes else console.confirm,
            now=utc_now,
            report=report,
            imports=ImportLog(folder),
            verified=given.audit.verified,
            clock=Clock(),
            drive=drive_options(console, no_prompt=given.no_prompt, folder=folder),
        )
        trust = make_trust(given.trust, given.crypto)
        source = staged(console, given.source, trust, given.stage, no_prompt=given.no_prompt)
        state = load(source, trust, options, ports, signatures=given.signatures)
    _conclude(given, state, report.record)


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

    folder = given.report / f"{state.name}.documents"
    if not given.options.dry_run:
        write_documents(state.documents, folder)
    given.console.result("apply", f"not done: --no-apply. By hand, in {folder}:")
    place = given.options.nodes.place if given.options.nodes is not None else None
    lines = oc_lines(at_place(item.document, place) for item in state.documents)
    values = lines_by_hand({item.document.path: item.content for item in state.documents})
    given.console.text("\n".join([*lines, *values]))


@contextlib.contextmanager
def scratch_folder() -> Iterator[Callable[[], Path]]:
    """A folder for kubectl's discovery cache, made once it is asked for: a dry run leaves nothing in the user's own."""
    with contextlib.ExitStack() as stack:

        def folder() -> Path:
            try:
                return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airgap-loader-")))
            except OSError as error:
                raise StorageError(
                    "there is no folder for kubectl's cache",
                    why=str(error),
                    hint="set TMPDIR to one that can be written",
                ) from error

        yield folder


def make_kubectl(
    console: Console, kubeconfig: Optional[Path], context: Optional[str], scratch: Callable[[], Path]
) -> "Kubectl":
    """Return the user's oc or kubectl; its discovery cache goes to ``scratch``."""
    from loader.cluster.kubectl import Kubectl, find_program
    from loader.cluster.process import ProcessRunner

    def trace(call: "Call") -> None:
        console.detail(str(call))

    path = os.environ.get("PATH")
    return Kubectl(
        find_program(lambda name: shutil.which(name, path=path)),
        ProcessRunner(dict(os.environ)),
        kubeconfig=kubeconfig,
        context=context,
        cache_dir=scratch(),
        only_server=Allowed.server,
        trace=trace,
    )
