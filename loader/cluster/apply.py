"""A plan carried out: every write in order, each checked in the API server's answer, all read back at the end."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Protocol

from loader.bundle.errors import ClusterError
from loader.cluster.diff import essence
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, key_of, objects_in, resource_version, with_version
from loader.cluster.patches import overlaid, patched
from loader.cluster.plan import Change, Plan, decide
from loader.cluster.retry import Retry
from loader.cluster.stages import Stage, stages
from loader.cluster.waits import FIRST_PAUSE, Clock, Found, Patience, Wait
from loader.cluster.wishes import Wish

# Operators write their status all the time, so a few lost races are normal; more mean that someone fights us.
TRIES = 6
_PAUSE = 0.2  # seconds before the second try, doubled each time
ESTABLISH_TIMEOUT = 30.0  # seconds a CRD may take until its kind is served


@dataclass(frozen=True)
class Applied:
    """What happened to one object; ``action`` is create, patch, unchanged or skip, versions are resourceVersions."""

    kind: str
    namespace: Optional[str]
    name: str
    action: str
    document: str
    reason: str
    version_before: Optional[str]
    version_after: Optional[str]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f" in {self.namespace}" if self.namespace else "")


@dataclass(frozen=True)
class Outcome:
    """What became of a change: the change as it was sent, and the object as it is stored (None: skipped)."""

    change: Change
    applied: Applied
    stored: Optional[JsonObject]


class Journal(Protocol):
    """Keeps what was there before; a write whose ``begin`` fails is not made."""

    def begin(self, changes: Sequence[Change], *, again: bool = False) -> None:
        """Note what is about to be written; ``again`` for one that lost a race and was decided anew."""
        ...

    def done(self, outcomes: Sequence[Outcome]) -> None:
        """Note what was written."""
        ...


class _NoJournal:
    def begin(self, changes: Sequence[Change], *, again: bool = False) -> None:
        pass

    def done(self, outcomes: Sequence[Outcome]) -> None:
        pass


def apply_plan(
    kubectl: Kubectl,
    plan: Plan,
    *,
    on_applied: Callable[[Applied], None] = lambda applied: None,
    on_stage: Callable[[Stage, Found], None] = lambda stage, found: None,
    journal: Journal | None = None,
    patience: Patience | None = None,
) -> tuple[Applied, ...]:
    """Make every change of ``plan`` and return what happened, in order.

    Each object as the API server stored it has what was asked, at once and again when its stage is written; then
    ``on_stage`` may wait for what the cluster makes of it: it is given what was read of its waits' objects. A failure
    is a ``ClusterError`` that names what was applied before it; what is there already is not undone, and the same
    command goes on from there.
    """
    plan.require_clear()
    run = _Run(kubectl, on_applied, journal or _NoJournal(), patience or Patience(Clock()))
    try:
        for stage in stages(plan.changes, plan.rook_version):
            for batch in _batches(stage.changes):
                run.carry_out(batch)
            on_stage(stage, run.read_back(stage.waits))
    except ClusterError as error:
        raise run.interrupted(error) from error
    return tuple(run.done)


def rehearse(kubectl: Kubectl, plan: Plan) -> None:
    """Send every write as a server-side dry run: schemas, admission and ownership are checked, nothing is stored.

    What stands on objects that only the real run makes (a new namespace, a new kind) is left out.
    """
    plan.require_clear()
    for batch in _batches(change for change in plan.writes if _stands_alone(change, plan)):
        if batch[0].patch_type == "apply":
            versions = [change.resource_version for change in batch]
            kubectl.apply([change.body or {} for change in batch], versions, _several(batch), dry_run=True)
            continue
        for change in batch:
            if change.patch_type is None:
                kubectl.create(change.body or {}, str(change), dry_run=True)
            else:
                kubectl.patch(_key(change), change.patch_type, change.body or {}, dry_run=True)


def _stands_alone(change: Change, plan: Plan) -> bool:
    """Tell whether nothing that ``change`` needs is itself still to be made by ``plan``."""
    created = [_key(other) for other in plan.writes if other.action == "create"]
    if change.namespace in {key.name for key in created if key.kind == "Namespace"}:
        return False
    if change.action == "patch" and change.resource_version is None:
        return False
    return not (_wish(change).wave and any(key.kind == "CustomResourceDefinition" for key in created))


def holds(change: Change, stored: JsonObject) -> bool:
    """Tell whether ``stored`` has what ``change`` asked for.

    Server-side apply is judged by the API server alone: it may spell a value another way (``1000m`` as ``1``).
    """
    if change.body is None or change.patch_type == "apply":
        return True
    after = overlaid(stored, change.body)
    if change.patch_type is not None:
        after = patched(stored, change.body, change.patch_type)
    return essence(after) == essence(stored)


class _Run:
    def __init__(
        self, kubectl: Kubectl, on_applied: Callable[[Applied], None], journal: Journal, patience: Patience
    ) -> None:
        self._kubectl = kubectl
        self._tell = on_applied
        self._journal = journal
        self._clock = patience.clock
        self._retry = Retry(patience)
        self._written: list[Change] = []
        self.done: list[Applied] = []

    def carry_out(self, batch: tuple[Change, ...]) -> None:
        """Make the changes of ``batch``: one, or several of one document that are applied in one call."""
        if not batch[0].writes:
            self._note([(change, change.action, change.before) for change in batch])
            return
        self._journal.begin(batch)
        if batch[0].patch_type == "apply":
            self._apply(batch)
        else:
            for change in batch:
                self._write(change)

    def _apply(self, batch: tuple[Change, ...]) -> None:
        what = _several(batch)
        versions = [change.resource_version for change in batch]
        bodies = [change.body or {} for change in batch]
        answers = self._retry(lambda: self._kubectl.apply(bodies, versions, what))
        stored = {key_of(item, f"an answer to applying {what}"): item for item in answers}
        self._accepted([(change, stored.get(_key(change))) for change in batch])
        self._establish([key for key in stored if key.kind == "CustomResourceDefinition"])

    def _write(self, change: Change) -> None:
        """Create or patch one object; lost races are read and decided anew, never forced."""
        met = self._retry.met
        for attempt in itertools.count(1):
            stored = self._send(change)
            if stored is not None:
                return self._accepted([(change, stored)])
            if attempt == TRIES:
                raise ClusterError(
                    f"{change} was changed by someone else each of {TRIES} times it was read",
                    why="the API server answered Conflict (409)",
                    hint="find out who keeps writing it (its managedFields tell), then run the same command again",
                    retryable=True,
                )
            self._clock.sleep(_PAUSE * 2 ** (attempt - 1))
            fresh = self._decided_anew(change)
            # A write whose answer was lost has most likely been made, and what it made is ours.
            lost = self._retry.met > met
            if not fresh.writes and lost:
                return self._accepted([(change, fresh.before)])
            change = fresh
            if not change.writes:
                return self._note([(change, change.action, change.before)])
            self._journal.begin([change], again=not lost)
        return None

    def _send(self, change: Change) -> Optional[Mapping[str, Any]]:
        body, patch_type = change.body, change.patch_type
        if body is None:
            raise RuntimeError(f"{change} has nothing to send")
        if patch_type is None:
            return self._retry(lambda: self._kubectl.create(body, str(change)))
        guarded = with_version(body, change.resource_version or resource_version(self._read(_key(change))))
        return self._retry(lambda: self._kubectl.patch(_key(change), patch_type, guarded))

    def _read(self, key: Key) -> Optional[JsonObject]:
        return self._retry(lambda: self._kubectl.read([key])).get(key)

    def _decided_anew(self, change: Change) -> Change:
        fresh, findings = decide(_wish(change), self._read(_key(change)))
        Plan((fresh,), findings).require_clear()
        return fresh

    def _accepted(self, answers: Sequence[tuple[Change, Optional[JsonObject]]]) -> None:
        """Note what was written, then check each answer: what is stored is on record even where it does not hold."""
        outcomes = []
        for change, stored in answers:
            after = resource_version(stored)
            same = after is not None and after == change.resource_version
            outcomes.append((change, "unchanged" if same else change.action, stored))
        self._note(outcomes)
        for change, stored in answers:
            if stored is None or not holds(change, stored):
                raise _not_held(change, stored)
            self._written.append(change)

    def _note(self, outcomes: Sequence[tuple[Change, str, Optional[JsonObject]]]) -> None:
        noted = [Outcome(change, _applied(change, action, stored), stored) for change, action, stored in outcomes]
        self._journal.done(noted)
        for outcome in noted:
            self.done.append(outcome.applied)
            self._tell(outcome.applied)

    def _establish(self, keys: list[Key]) -> None:
        """Wait until the API server serves the kinds of new CRDs, which it does a moment after it stored them."""
        deadline = self._clock.now() + ESTABLISH_TIMEOUT
        while keys:
            current = self._retry(functools.partial(self._kubectl.read, tuple(keys)))
            keys = [key for key in keys if not _established(current.get(key))]
            if keys and self._clock.now() > deadline:
                why = f"not Established after {ESTABLISH_TIMEOUT:.0f} s"
                raise ClusterError(f"{keys[0]} is not served", why=why, hint=f"oc describe crd {keys[0].name}")
            if keys:
                self._clock.sleep(FIRST_PAUSE)

    def read_back(self, waits: Sequence[Wait]) -> Found:
        """Read everything written once more: an operator or a webhook may have put it back.

        In the same call what ``waits`` look at first.
        """
        # Only the last change of an object tells its final state.
        last = {_key(change): change for change in self._written}
        self._written = []
        keys = (*last, *(key for wait in waits for key in wait.keys))
        found = self._retry(lambda: self._kubectl.read(dict.fromkeys(keys)))
        for key, change in last.items():
            item = found.get(key)
            if item is None or not holds(change, item):
                raise _not_held(change, item)
        return found

    def interrupted(self, error: ClusterError) -> ClusterError:
        """Return ``error`` with what was applied before it."""
        names = [f"{applied} ({applied.action})" for applied in self.done if applied.action in {"create", "patch"}]
        before = f"applied before it: {', '.join(names)}" if names else "this run changed nothing before it"
        why = f"{error.why}; {before}" if error.why else before
        return type(error)(error.message, why=why, hint=error.hint, retryable=error.retryable)


def _applied(change: Change, action: str, stored: Optional[JsonObject]) -> Applied:
    return Applied(
        kind=change.kind,
        namespace=change.namespace,
        name=change.name,
        action=action,
        document=change.document,
        reason=change.reason,
        version_before=change.resource_version,
        version_after=resource_version(stored) if change.writes else change.resource_version,
    )


def _batches(changes: Iterable[Change]) -> Iterable[tuple[Change, ...]]:
    """Group neighbours that go in one call: server-side applied objects of one document and wave."""

    def group(change: Change) -> tuple[bool, str, str, int]:
        wave = change.wish.wave if change.wish is not None else 0
        return change.writes, change.patch_type or "", change.document, wave

    return (tuple(batch) for _, batch in itertools.groupby(changes, group))


def _several(batch: tuple[Change, ...]) -> str:
    return str(batch[0]) + (f" and {len(batch) - 1} more of {batch[0].document}" if len(batch) > 1 else "")


def _established(crd: Optional[JsonObject]) -> bool:
    conditions = objects_in(crd, "status", "conditions")
    return any(item.get("type") == "Established" and item.get("status") == "True" for item in conditions)


def _wish(change: Change) -> Wish:
    if change.wish is None:
        raise RuntimeError(f"{change} has no wish")
    return change.wish


def _key(change: Change) -> Key:
    return _wish(change).key


def _not_held(change: Change, stored: Optional[JsonObject]) -> ClusterError:
    why = "it is gone again" if stored is None else "the stored object does not have what was asked"
    return ClusterError(
        f"{change} was accepted but does not hold",
        why=why,
        hint="an admission webhook or an operator changes it back: find the owner in its managedFields",
    )
