"""What cluster this is and what it serves, found by discovery and never by a version string."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional

from loader.bundle.errors import ClusterError
from loader.cluster.failures import printable
from loader.cluster.kubectl import Kubectl
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.objects import JsonObject, labels_of, objects_in, text

MIRROR_APIS = ("config.openshift.io/v1", "operator.openshift.io/v1alpha1")
DAEMONS, DEPLOYMENTS = ("apps/v1", "Deployment"), "deployments.apps"
_NODE_APIS = ("machineconfiguration.openshift.io/v1", "operator.openshift.io/v1")
# Each read is a process of its own that mostly waits for the network.
_READERS = 4


@dataclass(frozen=True)
class Resource:
    """One served resource: ``apps/v1``, ``Deployment``, ``deployments``, namespaced or not."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool

    @property
    def api(self) -> str:
        """Return the form of ``when.api``: ``apps/v1/deployments``."""
        return f"{self.api_version}/{self.plural}"


# Served by every Kubernetes there is, so nobody has to be asked; what else these groups have is discovered.
ALWAYS = (
    Resource("v1", "ConfigMap", "configmaps", True),
    Resource("v1", "Namespace", "namespaces", False),
    Resource("v1", "Secret", "secrets", True),
    Resource("apps/v1", "DaemonSet", "daemonsets", True),
    Resource("apps/v1", "Deployment", "deployments", True),
)


def versions_of(kinds: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Return the group-versions that have to be asked for the (api version, kind) pairs."""
    known = {(resource.api_version, resource.kind) for resource in ALWAYS}
    return frozenset(api_version for api_version, kind in kinds if (api_version, kind) not in known)


@dataclass(frozen=True)
class Survey:
    """One cluster: who talks to it, what it is, what of the asked group-versions it serves.

    ``clock`` is the API server's time and ``client`` the name and version of the program that asks, as far as an
    answer told. What is in the cluster is read later: ``openshift`` (None elsewhere), ``rook_versions``, the distinct
    ``rook-version`` labels of the daemons in the documents' namespaces, and ``rook_daemons``, their number. ``uid`` is
    what no other cluster has, that of the namespace kube-system; None where this login may not read it.
    """

    server: str
    context: str
    user: str
    kubernetes: str
    resources: tuple[Resource, ...]
    openshift: Optional[str] = None
    rook_versions: tuple[str, ...] = ()
    rook_daemons: int = 0
    clock: Optional[datetime.datetime] = None
    client: str = ""
    uid: Optional[str] = None

    def serves(self, api: str) -> bool:
        """Tell whether ``group/version/plural`` is served."""
        return any(resource.api == api for resource in self.resources)

    def resource(self, api_version: str, kind: str) -> Optional[Resource]:
        """Return the resource of a kind, None where it is not served."""
        found = (r for r in self.resources if r.api_version == api_version and r.kind == kind)
        return next(found, None)

    @property
    def mirror_kinds(self) -> tuple[str, ...]:
        """Return the mirror kinds served, of the two for digests the preferred one first."""
        served = {r.kind for r in self.resources if r.api_version in MIRROR_APIS}
        return tuple(kind for kind in MIRROR_LISTS if kind in served)


def survey(kubectl: Kubectl, group_versions: Iterable[str]) -> Survey:
    """Ask the cluster in a few short reads, four at a time; of what is in it, only what every login may see.

    ``group_versions`` are the ones documents need, as :func:`versions_of` gives them. Raises ``ClusterError`` where no
    server answers or the login is not accepted.
    """
    context, server, login = _configured(kubectl.config())
    greeting = kubectl.greet()  # alone and first: an unreachable server is one error, not four
    groups = _groups(greeting.groups)
    wanted = sorted({*group_versions, *MIRROR_APIS, *_NODE_APIS} & {*groups, "v1"})
    with ThreadPoolExecutor(_READERS) as pool:
        version = pool.submit(kubectl.get_raw, "/version")
        user = pool.submit(_user, kubectl, groups)
        oldest = pool.submit(kubectl.get_raw, "/api/v1/namespaces/kube-system", if_allowed=True)
        found = [pool.submit(_resources, kubectl, name) for name in wanted]
        return Survey(
            server=server,
            context=context,
            user=user.result() or login,
            kubernetes=_word(version.result(), "gitVersion"),
            resources=(*ALWAYS, *(resource for future in found for resource in future.result())),
            clock=greeting.clock,
            client=greeting.client,
            uid=_word(oldest.result(), "metadata", "uid") or None,
        )


def _configured(config: JsonObject) -> tuple[str, str, str]:
    contexts, clusters = objects_in(config, "contexts"), objects_in(config, "clusters")
    server = _word(clusters[0], "cluster", "server") if clusters else ""
    if not server:
        raise ClusterError(
            "no cluster is configured",
            why="the kubeconfig names no server for this context",
            hint="log in with `oc login`, or name one with --kubeconfig; --no-apply writes the documents instead",
        )
    return _word(config, "current-context"), server, _word(contexts[0], "context", "user") if contexts else ""


def _groups(answer: Optional[JsonObject]) -> frozenset[str]:
    versions = (version for group in objects_in(answer, "groups") for version in objects_in(group, "versions"))
    return frozenset(text(version, "groupVersion") for version in versions)


def _resources(kubectl: Kubectl, group_version: str) -> tuple[Resource, ...]:
    path = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    return tuple(
        Resource(group_version, text(item, "kind"), text(item, "name"), item.get("namespaced") is True)
        for item in objects_in(kubectl.get_raw(path), "resources")
        if "/" not in text(item, "name")  # a subresource: deployments/scale
    )


def _user(kubectl: Kubectl, groups: frozenset[str]) -> str:
    """Return the name the API server knows this login by; empty where it does not tell (before Kubernetes 1.28)."""
    if "user.openshift.io/v1" in groups:
        return _word(kubectl.get_raw("/apis/user.openshift.io/v1/users/~"), "metadata", "name")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = kubectl.create_raw("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    return _word(answer, "status", "userInfo", "username")


def with_daemons(found: Survey, listed: Iterable[JsonObject]) -> Survey:
    """Return ``found`` with what the Deployments of Rook's daemons among ``listed`` tell; pure.

    Their label ``rook-version`` is compiled into the operator, whatever the name of its image.
    """
    daemons = [item for item in listed if item.get("kind") == DAEMONS[1] and _of_rook(item)]
    versions = {printable(labels_of(item).get("rook-version", "")) for item in daemons} - {""}
    return dataclasses.replace(found, rook_versions=tuple(sorted(versions)), rook_daemons=len(daemons))


def _of_rook(item: JsonObject) -> bool:
    return labels_of(item).get("rook_cluster") == text(item, "metadata", "namespace")


def _word(source: object, *path: str) -> str:
    return printable(text(source, *path))
