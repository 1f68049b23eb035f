"""What stands in a namespace, or is of a kind, and would be lost with it: nothing of others goes with a rollback."""

from __future__ import annotations

from loader.bundle.errors import ClusterError
from loader.cluster.failures import printable
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, field, labels_of, objects_in, text

# Storage hangs on them: they are named, and a person deletes them.
NEVER_DELETED = frozenset({"CephCluster", "PersistentVolumeClaim", "PersistentVolume"})
# What controllers keep for as long as something else is there, and what is a view of objects elsewhere.
_ECHOES = frozenset(
    {
        "appliedclusterresourcequotas.quota.openshift.io",
        "endpoints",
        "endpointslices.discovery.k8s.io",
        "events",
        "events.events.k8s.io",
        "leases.coordination.k8s.io",
        "packagemanifests.packages.operators.coreos.com",
        "pods.metrics.k8s.io",
    }
)
# What Kubernetes and OpenShift put into every namespace.
_FURNITURE = frozenset(
    {
        *(("ConfigMap", name) for name in ("kube-root-ca.crt", "openshift-service-ca.crt")),
        *(("ServiceAccount", name) for name in ("builder", "default", "deployer")),
        *(("RoleBinding", f"system:{name}") for name in ("deployers", "image-builders", "image-pullers")),
    }
)
# A Secret that says so is some ServiceAccount's token, and goes with it.
_TOKEN_OF = ("kubernetes.io/service-account.name", "openshift.io/internal-registry-auth-token.service-account")


def held(kubectl: Kubectl, key: Key, made: JsonObject) -> str:
    """Return what would be lost with ``key``, empty where there is nothing; ``made`` is what the load stored.

    Raises ``ClusterError`` where the API server does not answer.
    """
    if key.kind == "Namespace":
        return _in_namespace(kubectl, key.name)
    if key.kind == "CustomResourceDefinition":
        return _of_kind(kubectl, made)
    return ""


def _in_namespace(kubectl: Kubectl, name: str) -> str:
    try:
        resources = [each for each in kubectl.namespaced_resources() if each not in _ECHOES]
        items = [item for item in kubectl.list_all(resources, name) if not is_part_of_another(item)]
    except ClusterError as error:
        if error.retryable:
            raise
        return f"what is in it is not to be seen: {error.why}"
    # One object may be served by two groups.
    names = list(dict.fromkeys(f"{text(item, 'kind')}/{text(item, 'metadata', 'name')}" for item in items))
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return printable(f"{names[0]}{more} in it") if names else ""


def is_part_of_another(item: JsonObject) -> bool:
    """Tell whether ``item`` comes with its namespace, goes with another object or is going already; pure."""
    kind, name = text(item, "kind"), text(item, "metadata", "name")
    if kind in NEVER_DELETED:
        return False
    notes = field(item, "metadata", "annotations") or {}
    return bool(
        (kind, name) in _FURNITURE
        or text(item, "metadata", "deletionTimestamp")
        or objects_in(item, "metadata", "ownerReferences")
        or "olm.copiedFrom" in labels_of(item)
        or (kind == "Secret" and any(note in notes for note in _TOKEN_OF))
    )


def _of_kind(kubectl: Kubectl, made: JsonObject) -> str:
    group, plural = text(made, "spec", "group"), text(made, "spec", "names", "plural")
    for version in objects_in(made, "spec", "versions"):
        if field(version, "served") is True:
            answer = kubectl.get_raw(f"/apis/{group}/{text(version, 'name')}/{plural}?limit=1")
            if objects_in(answer, "items"):
                return f"there are {plural} on this cluster"
    return ""
