"""What cluster this is and what it serves, found by discovery and never by a version string."""

from __future__ import annotations

import datetime
import urllib.parse
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Optional

from loader.bundle.errors import ClusterError
from loader.cluster.failures import printable
from loader.cluster.kubectl import Kubectl
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.objects import JsonObject, objects_in, text

MIRROR_APIS = ("config.openshift.io/v1", "operator.openshift.io/v1alpha1")
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


@dataclass(frozen=True)
class Survey:
    """One cluster: who talks to it, what it is, what of the asked group-versions it serves.

    ``openshift`` is None elsewhere; ``rook_versions`` are the distinct ``rook-version`` labels of the asked
    namespaces, empty before Rook deployed any daemon, and ``rook_daemons`` the number of its Deployments there.
    ``clock`` is the API server's time and ``client`` the name and version of the program that asks, as far as an
    answer told.
    """

    server: str
    context: str
    user: str
    kubernetes: str
    openshift: Optional[str]
    resources: tuple[Resource, ...]
    rook_versions: tuple[str, ...]
    rook_daemons: int = 0
    clock: Optional[datetime.datetime] = None
    client: str = ""

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


def survey(kubectl: Kubectl, group_versions: Iterable[str], rook_namespaces: Iterable[str] = ()) -> Survey:
    """Ask the cluster in about ten short reads, four at a time.

    ``group_versions`` are the ones documents need (``apps/v1``, ``v1``). Raises ``ClusterError`` where no server
    answers or the login is not accepted.
    """
    context, server, login = _configured(kubectl.config())
    greeting = kubectl.greet()  # alone and first: an unreachable server is one error, not four
    groups = _groups(kubectl.get_raw("/apis"))
    wanted = sorted({*group_versions, *MIRROR_APIS, *_NODE_APIS} & {*groups, "v1"})
    namespaces = sorted(set(rook_namespaces))
    with ThreadPoolExecutor(_READERS) as pool:
        user = pool.submit(_user, kubectl, groups)
        openshift = pool.submit(_openshift, kubectl, groups)
        rooks = [pool.submit(_rook_daemons, kubectl, namespace) for namespace in namespaces]
        found = [pool.submit(_resources, kubectl, name) for name in wanted]
        daemons = [item for future in rooks for item in future.result()]
        return Survey(
            server=server,
            context=context,
            user=user.result() or login,
            kubernetes=_word(greeting.version, "gitVersion"),
            openshift=openshift.result(),
            resources=tuple(resource for future in found for resource in future.result()),
            rook_versions=tuple(sorted({_word(item, "metadata", "labels", "rook-version") for item in daemons} - {""})),
            rook_daemons=len(daemons),
            clock=greeting.clock,
            client=greeting.client,
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


def _openshift(kubectl: Kubectl, groups: frozenset[str]) -> Optional[str]:
    if "config.openshift.io/v1" not in groups:
        return None
    version = kubectl.get_raw("/apis/config.openshift.io/v1/clusterversions/version", if_allowed=True)
    return _word(version, "status", "desired", "version") or None


def _rook_daemons(kubectl: Kubectl, namespace: str) -> tuple[JsonObject, ...]:
    """Return the Deployments of Rook's daemons; their label ``rook-version`` is compiled in, whatever their image."""
    selector = urllib.parse.quote(f"rook_cluster={namespace}", safe="")
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments?labelSelector={selector}"
    answer = kubectl.get_raw(path, if_allowed=True)  # what is missing is listed with all other permissions
    return objects_in(answer, "items")


def _word(source: object, *path: str) -> str:
    return printable(text(source, *path))
