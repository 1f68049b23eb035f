"""The way back: a report read, compared with the cluster, shown, asked for, put back, waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import AirgapError, ClusterError, ConfigError, FormatError, TrustError
from loader.cluster.finding import Finding
from loader.cluster.kubectl import Kubectl
from loader.cluster.nodeeffect import PoolEffect
from loader.cluster.objects import JsonObject, Key
from loader.cluster.permissions import Access, require
from loader.cluster.restore import Restored, Step, put_back, steps, waited_again
from loader.cluster.rookeffect import RookEffect
from loader.cluster.survey import Survey, survey, versions_of
from loader.cluster.undo import Undo, Written, ceph_stays, staying, undos
from loader.cluster.undoeffect import nodes_after, rook_after
from loader.cluster.undowaits import needs_restart, waits_after
from loader.cluster.waits import Clock, Patience, await_done
from loader.nodes import question, words_for
from loader.otherloads import OtherLoads
from loader.presence import is_file, is_named
from loader.record import HEX, MAX_REPORT, Change, Record, decode, identity
from loader.report import Report
from loader.signing import read_small_file
from loader.units import counted, duration
from loader.vault import Vault

_BACK = "rolled-back"
_WHERE = "give NAME-VERSION.load.json as `load` left it; the state folder has a copy of each under loads/"


@dataclass(frozen=True)
class RollbackOptions:
    """What was asked for; ``timeout`` is in seconds for each wait, None for each one's own."""

    dry_run: bool = False
    force: bool = False
    keep_mirrors: bool = False
    downgrade_ceph: bool = False
    timeout: Optional[float] = None


@dataclass(frozen=True)
class RollbackPorts:
    """What a rollback needs from outside; ``confirm`` may be answered beforehand, ``ask`` never is."""

    kubectl: Kubectl
    vault: Vault
    loads: OtherLoads
    report: Report
    clock: Clock
    say: Callable[[str, str], None]
    note: Callable[[str, str], None]
    text: Callable[[str], None]
    document: Callable[[Any], None]
    confirm: Callable[[str], None]
    ask: Callable[[str], None]
    now: Callable[[], str]


@dataclass
class _State:
    record: Record
    changes: tuple[Change, ...]
    trusted: bool
    undos: tuple[Undo, ...]
    found: Survey
    past: frozenset[Key] = frozenset()
    steps: tuple[Step, ...] = ()
    nodes: tuple[PoolEffect, ...] = ()
    findings: tuple[Finding, ...] = ()
    rook: tuple[RookEffect, ...] = ()
    results: dict[Key, str] = field(default_factory=dict)


def rollback(path: Path, options: RollbackOptions, ports: RollbackPorts) -> None:
    """Put back what the load with the report at ``path`` changed, the last change first.

    Raises ``ConfigError`` for what is no report, ``TrustError`` for one that cannot be ours, ``ClusterError`` where
    someone changed an object since
    (nothing is written then) or where Ceph had to stay as it is. ``ports.document`` gets the effect of a dry run, and
    of any other run what became of each object, however it ends.
    """
    state = _read(path, ports)
    present = _present(state, ports)
    stays = _stays(state, present, options, ports)
    others = {} if options.force else ports.loads.having(state.record)
    planned = steps(state.undos, present, state.found, stays, others, force=options.force)
    state.steps = waited_again(planned, state.past)
    state.nodes, state.findings = nodes_after(ports.kubectl, state.found, state.steps, present)
    tags = {image.digest: image.tag or "" for image in state.record.images}
    state.rook = rook_after(ports.kubectl, state.steps, present, tags)
    _tell(state, ports)
    if options.dry_run:
        ports.document(_document(path, state, options))
        _require_unchanged(state, options)
        return ports.say("dry run", "nothing was written")
    _require_unchanged(state, options)
    writes = [step for step in state.steps if step.writes]
    if writes:
        require(ports.kubectl, [_access(step, state.found) for step in writes], state.found)
        _ask(state, writes, ports)
    if state.trusted:
        ports.report.resume(path, state.record, state.changes, verb=_verb(options), now=ports.now())
    try:
        _carry_out(state, stays, options, ports)
    finally:
        ports.document(_document(path, state, options))
    return None


def _document(path: Path, state: _State, options: RollbackOptions) -> dict[str, Any]:
    return {
        "bundle": {"id": state.record.bundle.id, "name": state.record.bundle.name},
        "cluster": {"context": state.found.context, "server": state.found.server, "user": state.found.user},
        "dryRun": options.dry_run,
        "findings": [{"hint": one.hint, "level": "warning", "text": one.text} for one in state.findings],
        "nodes": [{"count": pool.count, "effect": pool.effect, "pool": pool.pool} for pool in state.nodes],
        "objects": [
            {
                "action": step.action,
                "conflicts": list(step.conflicts),
                "diff": step.diff,
                "kind": step.undo.key.kind,
                "name": step.undo.key.name,
                "namespace": step.undo.key.namespace,
                "reason": step.reason,
                "result": state.results.get(step.undo.key),
            }
            for step in state.steps
        ],
        "report": str(path),
        "rook": [{"count": effect.count, "part": effect.part, "text": effect.text} for effect in state.rook],
        "trusted": state.trusted,
    }


def _read(path: Path, ports: RollbackPorts) -> _State:
    if not is_file(path):
        why = "not a regular file" if is_named(path) else "no such file"
        raise ConfigError(f"{path} is not the report of a load", why=why, hint=_WHERE)
    data = read_small_file(path, MAX_REPORT)
    record, changes = _decoded(data, path)
    if record.cluster is None:
        raise ConfigError(
            f"{path} changed no cluster",
            why="its load only pushed images, or ended before it knew the cluster",
            hint="nothing is to put back",
        )
    trusted = ports.vault.sealed(identity(record.bundle.id, record.cluster.server), data)
    past = _past(record, changes)
    ordered = undos([_written(change, ports.vault) for change in changes if _is_open(change) or change in past])
    found = survey(ports.kubectl, versions_of(undo.key.of_kind for undo in ordered))
    ports.say("preflight", f"cluster {found.server} (context {found.context}, user {found.user})")
    if record.cluster.is_other(found.server, found.uid):
        anew = f"; the one there has another uid ({found.uid})" if found.server == record.cluster.server else ""
        raise ClusterError(
            f"{path} is of another cluster",
            why=f"it is of {record.cluster.server}, the kubeconfig's context {found.context} is {found.server}{anew}",
            hint="--kubeconfig and --context choose the cluster",
        )
    keys = frozenset(_key(change) for change in past)
    return _State(record, changes, trusted, ordered, found, keys)


def _decoded(data: bytes, path: Path) -> tuple[Record, tuple[Change, ...]]:
    try:
        return decode(data, str(path))
    except FormatError as error:
        raise ConfigError(f"{path} is not the report of a load", why=error.why or error.message, hint=_WHERE) from error


def _past(record: Record, changes: Sequence[Change]) -> list[Change]:
    """Return what an earlier rollback put back, if it ended before it had seen what the cluster made of it."""
    last = record.runs[-1] if record.runs else None
    ended_early = last is not None and last.verb.startswith("rollback") and record.state not in {"complete", _BACK}
    return [change for change in changes if change.row.restored] if ended_early else []


def _key(change: Change) -> Key:
    return Key(change.row.api_version or "", change.row.kind, change.row.namespace, change.row.name)


def _is_open(change: Change) -> bool:
    return change.row.action in {"create", "patch"} and not change.row.restored


def _written(change: Change, vault: Vault) -> Written:
    row = change.row
    key = _key(change)
    before, after = (_secret(item, row.kind, vault) for item in (change.before, change.after))
    return Written(row.document, key, before, after, row.uid, row.ceph_version)


def _secret(item: Optional[dict[str, Any]], kind: str, vault: Vault) -> Optional[dict[str, Any]]:
    """Return a state of an object; of a Secret the report has the hash alone."""
    if item is None or kind != "Secret":
        return item
    digest = item.get("sha256")
    if not isinstance(digest, str) or HEX.fullmatch(digest) is None:
        why = "a report has only the SHA-256 of a Secret"
        raise TrustError("the report is not one of this loader's: a Secret", why=why, hint="nothing was changed")
    return vault.kept(digest)


def _present(state: _State, ports: RollbackPorts) -> Mapping[Key, JsonObject]:
    served = [undo.key for undo in state.undos if state.found.resource(undo.key.api_version, undo.key.kind)]
    return ports.kubectl.read(served)


def _stays(
    state: _State, present: Mapping[Key, JsonObject], options: RollbackOptions, ports: RollbackPorts
) -> dict[Key, str]:
    """Return what is not put back, and why."""
    stays = {undo.key: "--keep-mirrors" for undo in state.undos if undo.of_mirrors and options.keep_mirrors}
    for undo in state.undos:
        if undo.key.kind != "CephCluster" or not undo.of_rook or undo.key in state.past:
            continue
        why = ceph_stays(undo, present.get(undo.key), _daemons(ports.kubectl, undo.key.namespace or ""))
        if why and not options.downgrade_ceph:
            stays.update(dict.fromkeys(staying(state.undos, undo), why))
        elif why:
            ports.say("warning", f"{undo.key}: {why}; --force-ceph-downgrade does it all the same")
    return stays


def _daemons(kubectl: Kubectl, namespace: str) -> Sequence[JsonObject]:
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments?labelSelector=rook_cluster%3D{namespace}"
    items = (kubectl.get_raw(path) or {}).get("items")
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _tell(state: _State, ports: RollbackPorts) -> None:
    for step in state.steps:
        ports.say("effect", str(step))
        ports.text("\n".join(f"  {line}" for line in step.diff.splitlines()))
    if not any(step.writes for step in state.steps):
        ports.say("effect", "nothing to put back")
    if state.nodes or state.rook:
        ports.say("effect", words_for(state.nodes, state.rook) or "no node does anything")
    for finding in state.findings:
        # What would stop a load must not keep a person from the way back.
        ports.say("warning", str(finding))
    if needs_restart(state.steps):
        ports.say(
            "warning",
            "Rook keeps CSI images that fall away until its operator starts anew: oc -n NAMESPACE rollout restart "
            "deployment/rook-ceph-operator",
        )


def _require_unchanged(state: _State, options: RollbackOptions) -> None:
    changed = [step for step in state.steps if step.conflicts and not options.force]
    if changed:
        raise ClusterError(
            f"{counted(len(changed), 'object')} of the report changed since",
            why="; ".join(f"{step.undo.key}: {', '.join(step.conflicts[:5])}" for step in changed),
            hint="look at the diffs of --dry-run; --force puts back what was there before the load all the same",
        )


def _ask(state: _State, writes: Sequence[Step], ports: RollbackPorts) -> None:
    found = state.found
    where = f"cluster {found.server} (context {found.context}, user {found.user})"
    if state.trusted:
        nodes = question(state.nodes, state.rook)
        return ports.confirm(f"{counted(len(writes), 'object')} of {where} will be put back.{nodes} Go on?")
    ports.say("warning", "this state folder did not see the report written: each object is asked for")
    for step in writes:
        ports.ask(f"{step} on {where}: go on?")
    return None


def _access(step: Step, found: Survey) -> Access:
    key = step.undo.key
    resource = found.resource(key.api_version, key.kind)
    if resource is None:
        raise ClusterError(f"{key} cannot be put back", why=f"{key.api_version} {key.kind} is not served any more")
    name = "" if step.verb == "create" else key.name
    return Access(step.verb, key.group, resource.plural, key.namespace or "", name)


def _carry_out(state: _State, stays: Mapping[Key, str], options: RollbackOptions, ports: RollbackPorts) -> None:
    patience = Patience(ports.clock, options.timeout, lambda text: ports.note("wait", text), _heard(state, ports))
    try:
        for number, step in enumerate(state.steps):
            _note(put_back(ports.kubectl, step, state.found, force=options.force, patience=patience), state, ports)
            for wait in waits_after(state.steps[: number + 1], state.steps[number + 1 :]):
                waited = await_done(wait, ports.kubectl, patience)
                ports.say("wait", f"{waited.name}: {waited.text} ({duration(waited.seconds)})")
        _require_ceph(stays)
        if state.trusted:
            ports.report.succeeded("complete" if ports.report.changed else _BACK)
    except AirgapError as error:
        if state.trusted:
            ports.report.failed(error)
        raise
    finally:
        if state.trusted:
            ports.report.finish(ports.now())
            ports.loads.undone(state.record, ports.report.record)


def _heard(state: _State, ports: RollbackPorts) -> Callable[[Any], None]:
    return ports.report.waited if state.trusted else lambda waited: None


def _note(restored: Restored, state: _State, ports: RollbackPorts) -> None:
    key = restored.key
    state.results[key] = restored.text
    if state.trusted and restored.done:
        ports.report.restored(key.api_version, key.kind, key.namespace, key.name)
    ports.say("rollback", str(restored))


def _verb(options: RollbackOptions) -> str:
    flags = {
        "--force": options.force,
        "--keep-mirrors": options.keep_mirrors,
        "--force-ceph-downgrade": options.downgrade_ceph,
    }
    return " ".join(["rollback", *(flag for flag, given in flags.items() if given)])


def _require_ceph(stays: Mapping[Key, str]) -> None:
    kept = [key for key, why in stays.items() if why != "--keep-mirrors"]
    if kept:
        raise ClusterError(
            f"{counted(len(kept), 'object')} stayed as the load left them",
            why=next(why for key, why in stays.items() if key in kept),
            hint="load a bundle with this Ceph or a newer one; --force-ceph-downgrade risks the data of the cluster",
        )
