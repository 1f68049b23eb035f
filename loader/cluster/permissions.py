"""May this login do all of it: one access review per write, every refusal listed at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from loader.bundle.errors import ClusterError
from loader.cluster.finding import Finding
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import field
from loader.cluster.plan import Change
from loader.cluster.survey import Survey
from loader.cluster.wishes import Wish

_API = "authorization.k8s.io/v1"
_MCO, _CONTROLLER = "machineconfiguration.openshift.io", "machine-config-controller"


@dataclass(frozen=True)
class Access:
    """One permission; ``name`` is empty for ``create``, which the API server judges without it."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    def review(self) -> dict[str, Any]:
        """Return the SelfSubjectAccessReview that asks for it."""
        wanted = {"verb": self.verb, "group": self.group, "resource": self.resource}
        optional = {"namespace": self.namespace, "name": self.name}
        attributes = {**wanted, **{name: value for name, value in optional.items() if value}}
        return {"apiVersion": _API, "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        name = f"/{self.name}" if self.name else ""
        return f"{self.verb} {resource}{name}" + (f" in {self.namespace}" if self.namespace else "")


def needed(changes: Iterable[Change], found: Survey) -> tuple[Access, ...]:
    """Return the permissions that ``changes`` need, each once; pure.

    What is applied server-side needs its permission unchanged too: the preview is a PATCH as well. Objects of a kind
    that the same bundle is about to define are left out: nobody can tell yet.
    """
    accesses = [access for change in changes for access in _of(change, found)]
    return tuple(dict.fromkeys(accesses))


def _of(change: Change, found: Survey) -> tuple[Access, ...]:
    resource = found.resource(change.wish.key.api_version, change.wish.key.kind) if change.wish else None
    applied = change.patch_type == "apply"
    if change.wish is None or resource is None or not (change.writes or applied):
        return ()
    # Server-side apply is a PATCH that may create.
    verbs = {"get"} | ({"create"} if change.action == "create" else set())
    verbs |= {"patch"} if change.action == "patch" or applied else set()
    group, namespace = change.wish.key.group, change.namespace or ""
    return tuple(
        Access(verb, group, resource.plural, namespace, "" if verb == "create" else change.name)
        for verb in sorted(verbs)
    )


def watched(wishes: Iterable[Wish], found: Survey) -> tuple[Access, ...]:
    """Return what the waits behind ``wishes`` read, each once; pure."""
    waits = {(wish.document.wait, wish.key.namespace or "") for wish in wishes}
    accesses: list[Access] = []
    for wait, namespace in sorted((wait, namespace) for wait, namespace in waits if wait):
        if wait == "pools" and found.resource(f"{_MCO}/v1", "MachineConfigPool") is not None:
            accesses += [
                Access("list", _MCO, "machineconfigpools", "", ""),
                Access("get", _MCO, "machineconfigs", "", ""),
            ]
        elif wait == "authority" and found.resource(f"{_MCO}/v1", "ControllerConfig") is not None:
            accesses += [Access("get", _MCO, "controllerconfigs", "", _CONTROLLER), Access("list", "", "nodes", "", "")]
        elif wait == "ceph":
            accesses.append(Access("list", "apps", "deployments", namespace, ""))
        elif wait == "csi":
            accesses += [Access("get", "apps", plural, namespace, "") for plural in ("daemonsets", "deployments")]
    return tuple(dict.fromkeys(accesses))


def missing_permissions(kubectl: Kubectl, changes: Sequence[Change], found: Survey) -> tuple[Finding, ...]:
    """Ask in one call about every write and what the waits after it read; one finding lists all that is missing."""
    if not any(change.writes for change in changes):
        return ()
    try:
        wishes = [change.wish for change in changes if change.wish is not None]
        require(kubectl, (*needed(changes, found), *watched(wishes, found)), found)
    except Missing as error:
        return (Finding("blocker", f"{error.message}: {error.why}", error.hint),)
    return ()


class Missing(ClusterError):
    """This login may not do all of it."""


def require(kubectl: Kubectl, accesses: Sequence[Access], found: Survey) -> None:
    """Ask the API server for each of ``accesses``; raise one ``Missing`` that lists all it would refuse."""
    if not accesses:
        return
    answers = kubectl.review([access.review() for access in accesses], "checking permissions")
    if len(answers) != len(accesses):
        raise ClusterError("checking permissions failed", why=f"{len(answers)} answers to {len(accesses)} questions")
    missing = [access for access, answer in zip(accesses, answers) if field(answer, "status", "allowed") is not True]
    if missing:
        raise Missing(
            f"{found.user or 'this login'} may not make {len(missing)} of the requests this bundle needs",
            why="not allowed: " + "; ".join(str(access) for access in missing),
            hint="log in as someone who may, or ask a cluster-admin for a role with exactly these permissions",
        )


def every_access(wishes: Sequence[Wish], found: Survey) -> tuple[Access, ...]:
    """Return all that may be needed for ``wishes`` and the waits after them, where what is there cannot be read."""
    served = [(wish, found.resource(wish.key.api_version, wish.key.kind)) for wish in wishes]
    accesses = [
        Access(
            verb, wish.key.group, resource.plural, wish.key.namespace or "", "" if verb == "create" else wish.key.name
        )
        for wish, resource in served
        if resource is not None
        for verb in ("get", "patch", *(("create",) if _may_be_made(wish) else ()))
    ]
    return tuple(dict.fromkeys((*accesses, *watched(wishes, found))))


def _may_be_made(wish: Wish) -> bool:
    return wish.method in {"mirror", "apply"} or wish.key.kind == "ConfigMap"
