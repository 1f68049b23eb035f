"""The field article's documents, and small objects to apply them to."""

from __future__ import annotations

import copy
from typing import Any

from loader.bundle.manifest import Document, Target, When
from loader.cluster.survey import Resource, Survey

REGISTRY = "reg.airgap.local:5000"
OPERATOR_IMAGE = "docker.io/rook/ceph@sha256:637a92f1b356674a434b13299077ec40cf23f70e0b000b944f4954bdec4eaca8"
CEPHCSI_IMAGE = "quay.io/cephcsi/cephcsi@sha256:afd643c2805029f14862bf8976916ce6ec894b172334eae7c4a74bd717df8f2d"
CEPH_IMAGE = "docker.io/ceph/ceph@sha256:" + "0" * 64
SOURCES = ("docker.io/ceph", "docker.io/rook", "k8s.gcr.io/sig-storage", "quay.io/cephcsi")
IDMS_API = "config.openshift.io/v1/imagedigestmirrorsets"
ICSP_API = "operator.openshift.io/v1alpha1/imagecontentsourcepolicies"

Pair = tuple[Document, dict[str, Any]]

RESOURCES = (
    Resource("v1", "ConfigMap", "configmaps", True),
    Resource("v1", "Secret", "secrets", True),
    Resource("v1", "Namespace", "namespaces", False),
    Resource("apps/v1", "Deployment", "deployments", True),
    Resource("ceph.rook.io/v1", "CephCluster", "cephclusters", True),
    Resource("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles", False),
    Resource("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False),
)
IDMS = Resource("config.openshift.io/v1", "ImageDigestMirrorSet", "imagedigestmirrorsets", False)
ICSP = Resource("operator.openshift.io/v1alpha1", "ImageContentSourcePolicy", "imagecontentsourcepolicies", False)


def document(
    path: str,
    phase: str,
    action: str,
    target: tuple[str, str, str | None, str] | None = None,
    *,
    api: str | None = None,
    rook: str | None = None,
    otherwise: str = "refuse",
) -> Document:
    named = Target(*target) if target else None
    return Document(path, phase, action, named, None, When(api, rook), otherwise)


def idms(name: str = "rook-ceph-images", sources: tuple[str, ...] = SOURCES) -> Pair:
    entries = [{"source": source, "mirrors": [f"{REGISTRY}/{source.rpartition('/')[2]}"]} for source in sources]
    target = ("config.openshift.io/v1", "ImageDigestMirrorSet", None, name)
    body = _object(target, {"imageDigestMirrors": entries})
    return document("documents/mirrors/idms.yaml", "mirrors", "apply", target, api=IDMS_API, otherwise="skip"), body


def icsp(name: str = "rook-ceph-images", sources: tuple[str, ...] = SOURCES) -> Pair:
    entries = [{"source": source, "mirrors": [f"{REGISTRY}/{source.rpartition('/')[2]}"]} for source in sources]
    target = ("operator.openshift.io/v1alpha1", "ImageContentSourcePolicy", None, name)
    body = _object(target, {"repositoryDigestMirrors": entries})
    return document("documents/mirrors/icsp.yaml", "mirrors", "apply", target, api=ICSP_API, otherwise="skip"), body


def operator_patch(namespace: str = "rook-ceph", image: str = OPERATOR_IMAGE) -> Pair:
    container = {"name": "rook-ceph-operator", "image": image}
    body = {"spec": {"template": {"spec": {"containers": [container]}}}}
    target = ("apps/v1", "Deployment", namespace, "rook-ceph-operator")
    return _rook("operator", "strategic-patch", target), body


def csi_patch(namespace: str = "rook-ceph", image: str = CEPHCSI_IMAGE) -> Pair:
    target = ("v1", "ConfigMap", namespace, "rook-ceph-operator-config")
    return _rook("csi", "merge-patch", target), {"data": {"ROOK_CSI_CEPH_IMAGE": image}}


def ceph_patch(namespace: str = "rook-ceph", image: str = CEPH_IMAGE) -> Pair:
    target = ("ceph.rook.io/v1", "CephCluster", namespace, "rook-ceph")
    return _rook("cluster", "merge-patch", target), {"spec": {"cephVersion": {"image": image}}}


def node_file() -> Pair:
    return document("documents/nodes/registries.conf", "nodes", "file"), {}


def article(namespace: str = "rook-ceph", mirror_name: str = "rook-ceph-images") -> list[Pair]:
    """The documents of the article in the order a bundle has them."""
    patches = [operator_patch(namespace), csi_patch(namespace), ceph_patch(namespace)]
    return [idms(mirror_name), icsp(mirror_name), *patches, node_file()]


def manifests(*items: dict[str, Any], phase: str = "after-rook", path: str = "documents/manifests/extra.json") -> Pair:
    return document(path, phase, "apply"), {"apiVersion": "v1", "kind": "List", "items": list(items)}


def survey(
    *, resources: tuple[Resource, ...] = (*RESOURCES, IDMS, ICSP), rook: tuple[str, ...] = ("v1.5.0",)
) -> Survey:
    return Survey("https://api.site7:6443", "admin", "kube:admin", "v1.27.8", resources, "4.14.8", rook)


def deployment(namespace: str = "rook-ceph", image: str = "rook/ceph:v1.5.0") -> dict[str, Any]:
    """The operator of a Rook v1.5 install, defaults filled in as the API server does."""
    container = {
        "name": "rook-ceph-operator",
        "image": image,
        "args": ["ceph", "operator"],
        "env": [{"name": "ROOK_CURRENT_NAMESPACE_ONLY", "value": "false"}],
        "imagePullPolicy": "IfNotPresent",
    }
    labels = {"app": "rook-ceph-operator"}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }
    return _object(("apps/v1", "Deployment", namespace, "rook-ceph-operator"), spec)


def config_map(namespace: str = "rook-ceph", **data: str) -> dict[str, Any]:
    item = _object(("v1", "ConfigMap", namespace, "rook-ceph-operator-config"), None)
    return {**item, "data": {"ROOK_LOG_LEVEL": "INFO", **data}}


def ceph_cluster(namespace: str = "rook-ceph", image: str = "ceph/ceph:v15.2.3") -> dict[str, Any]:
    spec = {"cephVersion": {"image": image}, "dataDirHostPath": "/var/lib/rook", "mon": {"count": 3}}
    return _object(("ceph.rook.io/v1", "CephCluster", namespace, "rook-ceph"), spec)


def stored(item: dict[str, Any], version: str = "100", **labels: str) -> dict[str, Any]:
    """Return ``item`` as an API server would give it back."""
    result = copy.deepcopy(item)
    result["metadata"] |= {"resourceVersion": version, "uid": "5f0c", "generation": 1}
    if labels:
        result["metadata"]["labels"] = {name.replace("__", "/"): value for name, value in labels.items()}
    return result


def _rook(name: str, action: str, target: tuple[str, str, str | None, str]) -> Document:
    return document(f"documents/rook/{name}.json", "rook", action, target, rook=">=v1.4.0 <v1.6.0")


def _object(target: tuple[str, str, str | None, str], spec: dict[str, Any] | None) -> dict[str, Any]:
    api_version, kind, namespace, name = target
    metadata = {"name": name} if namespace is None else {"name": name, "namespace": namespace}
    item: dict[str, Any] = {"apiVersion": api_version, "kind": kind, "metadata": metadata}
    return item if spec is None else {**item, "spec": spec}
