"""Objects put back one by one: what would happen to each, and its doing; never over someone else's change."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from loader.bundle.errors import ClusterError
from loader.cluster.apply import TRIES
from loader.cluster.content import NEVER_DELETED, held
from loader.cluster.diff import essence, object_diff
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, resource_version, text, with_version
from loader.cluster.pullsecret import closed, opened
from loader.cluster.retry import Retry
from loader.cluster.revert import merge_body, missing_from, taken_back
from loader.cluster.survey import Resource, Survey
from loader.cluster.undo import Undo
from loader.cluster.waits import Patience

_PAUSE = 0.2
# What the sides of a diff are.
THEN = ("cluster", "before the load")
_VERBS = {"restore": "patch", "delete": "delete", "create": "create"}


@dataclass(frozen=True)
class Step:
    """What happens to one object: ``restore``, ``delete``, ``create`` (again), ``none`` or ``keep``.

    ``again``: an earlier run put it back and did not see the end of its wait.
    """

    undo: Undo
    action: str
    diff: str = ""
    body: Optional[Mapping[str, Any]] = None
    conflicts: tuple[str, ...] = ()
    reason: str = ""
    version: Optional[str] = None
    again: bool = False

    @property
    def writes(self) -> bool:
        """Tell whether this is sent to the API server."""
        return self.action in _VERBS

    @property
    def kept(self) -> bool:
        """Tell whether the object stays as the load left it."""
        return self.action == "keep"

    @property
    def verb(self) -> str:
        """Return the permission this needs."""
        return _VERBS[self.action]

    def __str__(self) -> str:
        return f"{self.undo.key} {self.action}" + (f" ({self.reason})" if self.reason else "")


@dataclass(frozen=True)
class Restored:
    """What became of a step; ``done`` where the object is as it was before the load."""

    key: Key
    text: str
    done: bool

    def __str__(self) -> str:
        return f"{self.key} {self.text}"


def steps(
    undos: Sequence[Undo],
    present: Mapping[Key, JsonObject],
    found: Survey,
    stays: Mapping[Key, str],
    others: Mapping[Key, str],
    *,
    force: bool,
) -> tuple[Step, ...]:
    """Return what would happen to each object; one of a kind no longer served is gone. Pure.

    ``stays`` says why an object is not put back, ``others`` which other load has it too: it is not deleted. A
    namespace stays with what is kept in it.
    """
    planned = tuple(
        Step(undo, "keep", reason=stays[undo.key])
        if undo.key in stays
        else _unless_shared(step_for(undo, present.get(undo.key), force=force), others)
        for undo in undos
        if undo.key in stays or undo.before is None or found.resource(undo.key.api_version, undo.key.kind)
    )
    homes = {step.undo.key.namespace: step.undo.key for step in planned if step.kept}
    return tuple(
        Step(step.undo, "keep", reason=f"{homes[step.undo.key.name]} is kept")
        if step.action == "delete" and step.undo.key.kind == "Namespace" and step.undo.key.name in homes
        else step
        for step in planned
    )


def _unless_shared(step: Step, others: Mapping[Key, str]) -> Step:
    load = others.get(step.undo.key)
    if step.action != "delete" or load is None:
        return step
    return Step(step.undo, "keep", reason=f"{load} has it too: roll that back first")


def waited_again(planned: Sequence[Step], past: Collection[Key]) -> tuple[Step, ...]:
    """Return ``planned``, of which ``past`` are put back already: they are waited for, unless changed since. Pure."""
    return tuple(
        dataclasses.replace(step, again=True) if step.undo.key in past else step
        for step in planned
        if step.undo.key not in past or (step.action == "none" and not step.conflicts)
    )


def step_for(undo: Undo, present: Optional[JsonObject], *, force: bool) -> Step:
    """Compare one object with the report. Pure."""
    if undo.before is None:
        return _undone_create(undo, present)
    if present is None:
        if force:
            diff = object_diff(undo.key, None, undo.before, THEN)
            return Step(undo, "create", diff, undo.before, reason="it is gone")
        return Step(undo, "none", conflicts=("it is gone",), reason="it is gone")
    here = essence(present)
    three = [opened(undo.key, item) for item in (here, undo.before, undo.after)]
    merged = taken_back(*three)
    if merged.item == three[0]:
        return Step(undo, "none", reason="it is as before")
    wanted = closed(undo.key, merged.item, undo.before)
    anew = ("someone made it anew",) if undo.uid not in {None, text(present, "metadata", "uid")} else ()
    return Step(
        undo,
        "restore",
        object_diff(undo.key, here, wanted, THEN),
        merge_body(here, wanted),
        (*anew, *merged.conflicts),
        version=resource_version(present),
    )


def _undone_create(undo: Undo, present: Optional[JsonObject]) -> Step:
    if present is None or text(present, "metadata", "deletionTimestamp"):
        return Step(undo, "none", reason="it is gone already")
    if undo.key.kind in NEVER_DELETED:
        return Step(undo, "keep", reason="data may hang on it: delete it by hand")
    here = essence(present)
    conflicts = missing_from(here, undo.after)
    if undo.uid and text(present, "metadata", "uid") != undo.uid:
        conflicts = ["someone made it anew"]
    return Step(undo, "delete", object_diff(undo.key, here, None, THEN), conflicts=tuple(conflicts))


def put_back(kubectl: Kubectl, step: Step, found: Survey, *, force: bool, patience: Patience) -> Restored:
    """Do ``step``; lost races are read and decided anew. Raises ``ClusterError`` where someone changed it meanwhile."""
    key, retry = step.undo.key, Retry(patience)
    if step.action == "delete":
        return retry(lambda: _deleted(kubectl, step, found))
    for attempt in itertools.count(1):
        if not step.writes:
            return Restored(key, f"{'kept' if step.kept else 'unchanged'} ({step.reason})", done=not step.kept)
        if retry(functools.partial(_sent, kubectl, step)) is not None:
            return Restored(key, "restored", done=True)
        if attempt == TRIES:
            break
        patience.clock.sleep(_PAUSE * 2 ** (attempt - 1))
        step = step_for(step.undo, retry(lambda: kubectl.read([key])).get(key), force=force)
        if step.conflicts and not force:
            break
    why = ", ".join(step.conflicts) or "the API server answered Conflict (409)"
    raise ClusterError(
        f"{key} was changed by someone else meanwhile", why=why, hint="look at it, then run the same command again"
    )


def _sent(kubectl: Kubectl, step: Step) -> Optional[JsonObject]:
    body = step.body or {}
    if step.action == "create":
        return kubectl.create(body, str(step.undo.key))
    return kubectl.patch(step.undo.key, "merge", with_version(body, step.version))


def _deleted(kubectl: Kubectl, step: Step, found: Survey) -> Restored:
    key = step.undo.key
    resource = found.resource(key.api_version, key.kind)
    if resource is None:
        return Restored(key, "unchanged (its kind is not served any more)", done=True)
    lost = held(kubectl, key, step.undo.after)
    if lost:
        return Restored(key, f"kept ({lost})", done=False)
    there = kubectl.delete(_path(key, resource), str(key), uid=step.undo.uid)
    return Restored(key, "deleted" if there else "unchanged (it is gone already)", done=True)


def _path(key: Key, resource: Resource) -> str:
    base = f"/apis/{key.api_version}" if key.group else f"/api/{key.api_version}"
    place = f"/namespaces/{key.namespace}" if key.namespace else ""
    return f"{base}{place}/{resource.plural}/{key.name}"
