"""The one command's story: verify, preflight, ask, push, apply, wait, report."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

from loader.admission import all_told, ask_registry, begun
from loader.archivehash import ArchiveHash, hashed
from loader.bundle.errors import AirgapError, ClusterError, Pending, RegistryError, StorageError
from loader.bundle.verify import Trust, verify_content
from loader.charts import helm_finding, helm_lines, helm_pending, values_of
from loader.cluster.apply import Applied, apply_plan, rehearse
from loader.cluster.kubectl import Kubectl
from loader.cluster.owners import Release
from loader.cluster.plan import Plan
from loader.cluster.prepare import prepare
from loader.cluster.stages import Stage
from loader.cluster.waits import Found, Patience, await_done
from loader.extract import write_documents
from loader.filling import Filled, open_filled
from loader.loadstate import LoadOptions, LoadPorts, State
from loader.nodes import NodeOptions, asked_of_nodes, clock_warnings, question, words_for
from loader.oci.model import RegistryTarget
from loader.oci.survey import Survey, missing_manifests
from loader.opening import Sources
from loader.push import push_bundle, require_complete, require_whole, summary
from loader.pushdrive import push_from_drive
from loader.report import Report
from loader.site import pairs, push_set, site_documents
from loader.units import counted, duration, human
from loader.verdict import signature_line

_PAST = {"create": "created", "patch": "patched", "unchanged": "unchanged", "skip": "skipped"}


def load(
    sources: Sources,
    trust: Trust,
    options: LoadOptions,
    ports: LoadPorts,
    *,
    signatures: Sequence[Path] = (),
    begun: Optional[ArchiveHash] = None,
) -> State:
    """Bring the bundle to its registry and its cluster; a second run changes nothing.

    Returns what the run found and did. Raises the error of the first step that fails; ``ports.report``
    says what was done until then. With ``dry_run`` nothing is written anywhere. ``begun``: a hash that may be the
    archive's.
    """
    drive = ports.drive
    if drive is not None and (options.dry_run or not options.push):
        drive = dataclasses.replace(drive, any_disc=True)
    with open_filled(sources, trust, signatures=signatures, say=ports.say, drive=drive) as filled:
        if options.dry_run:
            state = _verified(filled, options, ports)
            _preflight(state, options, ports)
            _rehearse(state)
            return state
        # Beside the verification, whose reads it shares: a slow medium is not read once more for it.
        with hashed(filled.bundle.stored, begun) as archive:
            state = _verified(filled, options, ports)
            try:
                _preflight(state, options, ports)
            except (ClusterError, RegistryError) as error:
                _report_refusal(error, state, options.verb, ports, archive)
                raise
            if filled.sidecar is not None and filled.sidecar.signers:
                filled.sidecar.compare(archive)
            _ask(state, ports)
            with ports.history.running():
                _carry_out(state, trust, options, ports, archive)
        return state


def _carry_out(state: State, trust: Trust, options: LoadOptions, ports: LoadPorts, archive: ArchiveHash) -> None:
    """Push and apply, with a report that is true at every moment; where it cannot be written nothing is pushed."""
    _begin_report(state, options.verb, ports)
    ports.imports.begin(state.bundle, trust, ports.report.record, verb=options.verb, reason=options.override)
    succeeded = False
    try:
        ports.history.record(state.bundle, when=ports.now(), reason=options.override)
        _push(state, options, ports)
        _apply(state, options, ports)
        ports.report.succeeded()
        succeeded = True
    except AirgapError as error:
        _show_way_back(error, options, ports.report)
        ports.report.failed(error)
        raise
    except KeyboardInterrupt:
        archive.stop()  # nobody waits for it
        raise
    finally:
        ports.report.finish(ports.now(), archive.row())
        ports.imports.finish(ports.report.record)
        if not succeeded:
            ports.note("report", str(ports.report.path))


def _preflight(state: State, options: LoadOptions, ports: LoadPorts) -> None:
    _preflight_registry(state, options, ports)
    _preflight_cluster(state, options, ports)
    _tell_effect(state, options, ports)


def _report_refusal(error: AirgapError, state: State, verb: str, ports: LoadPorts, archive: ArchiveHash) -> None:
    """Leave a report of a load that ended before its first write."""
    try:
        _begin_report(state, verb, ports)
        ports.report.failed(error)
        ports.report.finish(ports.now(), archive.row())
        ports.note("report", str(ports.report.path))
        if state.plan is not None and state.plan.by_hand:
            folder = ports.report.folder / f"{state.name}.documents"
            write_documents(state.documents, folder)
            ports.note("documents", f"for this registry, in {folder}")
    except StorageError as unwritten:
        ports.note("report", str(unwritten))


def _verified(filled: Filled, options: LoadOptions, ports: LoadPorts) -> State:
    bundle = filled.bundle
    complete = None
    if filled.drive is None and not filled.listed:
        with ports.progress("verify", bundle.unpacked) as on_bytes:
            complete = verify_content(bundle, on_bytes=on_bytes)
    ports.verified(bundle)
    before = ports.history.newest(bundle) if options.override else ports.history.check(bundle)
    ports.say("verify", signature_line(bundle, before))
    if filled.listed:
        ports.say("verify", "one disc: its list and documents are checked, images are compared by their digests alone")
    elif complete is None:
        ports.say("verify", "one drive: every byte is checked while it is sent, disc by disc; manifests and tags last")
    for warning in bundle.warnings:
        ports.say("warning", warning)
    target = RegistryTarget.parse(bundle.manifest.registry if options.registry is None else options.registry)
    by_repository = options.nodes is not None and options.nodes.by_repository
    documents = site_documents(bundle, str(target), only=options.only, by_repository=by_repository)
    images = push_set(bundle, target, options.images, filled.more, listed=filled.listed)
    registry = ports.registries.push(target.host)
    nothing = Survey(0, 0, 0, ())
    return State(bundle, complete, target, documents, images, registry, nothing, filled.more, filled.drive)


def _preflight_registry(state: State, options: LoadOptions, ports: LoadPorts) -> None:
    found = ask_registry(
        state.registry,
        state.push,
        str(state.target),
        jobs=options.jobs,
        trial=options.push and not options.dry_run,
        say=ports.say,
    )
    state.scheme, state.date = found.ping.scheme, found.ping.date
    state.survey, state.refused = found.survey, found.refused
    if not options.apply:  # else a finding among the others
        state.warnings = (*state.warnings, *clock_warnings(state.date, ports.now()))
        for warning in state.warnings:
            ports.say("warning", warning)
    if not options.push:
        _require_images(state, options)


def _require_images(state: State, options: LoadOptions) -> None:
    """Nodes pull by digest, so it is the digests that must be there, whatever the tags name by now."""
    missing = missing_manifests(state.push.images, state.registry, jobs=options.jobs)
    if missing or state.survey.send:
        raise RegistryError(
            f"the images of the bundle are not all in {state.target}",
            why=f"missing: {', '.join(missing[:5])}" if missing else f"{counted(state.survey.send, 'blob')} missing",
            hint="push them first: airgap-loader push, or load",
        )


def _preflight_cluster(state: State, options: LoadOptions, ports: LoadPorts) -> None:
    if not options.apply:
        return
    state.kubectl = ports.kubectl()
    images, nodes = state.bundle.manifest.images, options.nodes or NodeOptions()
    seen = {"scheme": state.scheme, "date": state.date, "now": ports.now()}
    asked = asked_of_nodes(nodes, images, state.target, ports.registries, **seen)
    state.cluster, state.plan = prepare(state.kubectl, pairs(state.documents), asked)
    for line in state.plan.portrait:
        ports.say("preflight", line)
    if state.plan.releases:
        left = helm_finding(state.plan.releases, state.documents)
        state.plan = dataclasses.replace(state.plan, findings=(*state.plan.findings, left))
    for finding in state.plan.findings:
        ports.say(finding.level, str(finding))
    # A blocker is the error of the report.
    state.warnings = (*state.warnings, *(str(one) for one in state.plan.findings if one.level == "warning"))
    if not options.dry_run:
        state.plan.require_clear()


def _tell_effect(state: State, options: LoadOptions, ports: LoadPorts) -> None:
    survey = state.survey
    moves = [move for move in survey.tags if move.before != move.after]
    if options.push:
        ports.say(
            "effect",
            f"{counted(survey.send, 'blob')} to send ({human(survey.bytes_to_send)}), {survey.skip} present · "
            f"{counted(len(moves), 'tag')} to move",
        )
    if state.plan is not None:
        writes = [f"{change} {change.action}" for change in state.plan.writes]
        ports.say("effect", ", ".join(writes) if writes else "no cluster object changes")
        if state.plan.nodes or state.plan.rook:
            ports.say("effect", words_for(state.plan.nodes, state.plan.rook) or "no node does anything")


def _rehearse(state: State) -> None:
    if state.kubectl is not None and state.plan is not None and not _blocked(state.plan):
        rehearse(state.kubectl, state.plan)


def _blocked(plan: Plan) -> bool:
    return any(finding.level == "blocker" for finding in plan.findings)


def _ask(state: State, ports: LoadPorts) -> None:
    if state.plan is not None and state.plan.writes and state.cluster is not None:
        cluster = state.cluster
        effect = question(state.plan.nodes, state.plan.rook)
        ports.confirm(
            f"{counted(len(state.plan.writes), 'object')} of cluster {cluster.server} "
            f"(context {cluster.context}, user {cluster.user}) will change.{effect} Go on?"
        )


def _begin_report(state: State, verb: str, ports: LoadPorts) -> None:
    about = (state.bundle, str(state.target), ports.now(), state.cluster)
    said = ports.report.begin(*about, verb=verb, warnings=state.warnings)
    if said:
        ports.say("report", said)


def _push(state: State, options: LoadOptions, ports: LoadPorts) -> None:
    if not options.push:
        ports.report.found(state.push.images)
        return
    jobs, more = options.jobs, state.more
    sending = (begun(state.push, state.refused), state.registry, state.survey)
    with ports.progress("push", state.survey.bytes_to_send) as meter:
        if state.drive is not None:
            saved = ports.drive.saved if ports.drive is not None else None
            done = push_from_drive(state.drive, *sending, jobs=jobs, meter=meter, more=more, saved=saved)
            state.pushed, state.complete = done
        else:
            complete = require_complete(state.complete)
            state.pushed = push_bundle(complete, *sending, jobs=jobs, meter=meter, more=more)
    state.pushed = all_told(state.pushed, state.push, state.refused)
    ports.report.pushed(state.pushed)
    ports.say("push", summary(state.pushed))
    require_whole(state.pushed, str(state.target))


def _apply(state: State, options: LoadOptions, ports: LoadPorts) -> None:
    """Apply what the plan holds and wait for it; images come first, so that nothing names one that is not there."""
    if not options.apply or state.kubectl is None or state.plan is None:
        return
    kubectl = state.kubectl
    patience = Patience(ports.clock, options.timeout, lambda text: ports.note("wait", text), ports.report.waited)

    def tell(applied: Applied) -> None:
        ports.say("apply", f"{applied} {_PAST[applied.action]}{f' ({applied.reason})' if applied.reason else ''}")

    if not state.plan.writes:
        ports.say("apply", "nothing to change: the cluster has it all")
    apply_plan(
        kubectl,
        state.plan,
        on_applied=tell,
        on_stage=lambda stage, found: wait_for(stage, found, kubectl, patience, ports.say),
        journal=ports.report.journal,
        patience=patience,
    )
    if state.plan.releases:
        _leave_to_helm(state, state.plan.releases, ports)


def _leave_to_helm(state: State, releases: Sequence[Release], ports: LoadPorts) -> None:
    """Write the values, show the lines that use them, and end as pending: a person upgrades the release."""
    folder = ports.report.directory / f"{state.name}.documents"
    write_documents(values_of(state.documents), folder)
    for line in helm_lines(releases, state.documents, folder):
        ports.say("helm", line)
    raise helm_pending(releases, state.documents, folder)


def wait_for(stage: Stage, found: Found, kubectl: Kubectl, patience: Patience, say: Callable[[str, str], None]) -> None:
    """Wait for what the cluster makes of ``stage``; nothing is said of what was there already.

    ``found`` was read a moment ago: it is good for the first look as long as nothing had to be waited for.
    """
    seen: Optional[Found] = found
    for wait in stage.waits:
        waited = await_done(wait, kubectl, patience, seen)
        seen = seen if waited.seconds < 1 else None
        if waited.seconds >= 1 or any(change.writes for change in stage.changes):
            say("wait", f"{waited.name}: {waited.text} ({duration(waited.seconds)})")


def _show_way_back(error: AirgapError, options: LoadOptions, report: Report) -> None:
    """Let the error's last line be the command that undoes what was done until then."""
    in_cluster = isinstance(error, ClusterError) and not isinstance(error, Pending)
    if in_cluster and report.changed and report.path is not None:
        error.why = "; ".join(part for part in (error.why, error.hint) if part)
        error.hint = f"airgap-loader rollback {shlex.quote(str(report.path))}{options.access}"
