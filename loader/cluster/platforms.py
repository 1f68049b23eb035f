"""What kind of cluster this is, where that changes who may set mirrors and how; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Optional

from loader.cluster.objects import JsonObject, objects_in, text

OPENSHIFT, HYPERSHIFT, ROSA, ROSA_HCP = "OpenShift", "HyperShift", "ROSA", "ROSA with hosted control planes"
MICROSHIFT, K3S, RKE2, KUBERNETES = "MicroShift", "k3s", "RKE2", "Kubernetes"

# The folder of node files in a bundle, and who reads which of them.
FOLDER = "documents/nodes"
_MANUAL = "then run the same command with --mirrors manual"
_STEPS: Mapping[str, str] = {
    HYPERSHIFT: f"merge {FOLDER}/hypershift.yaml into the HostedCluster on the management cluster, {_MANUAL}",
    ROSA_HCP: f"create each pair of {FOLDER}/hypershift.yaml with `rosa create image-mirror --type digest`, {_MANUAL}",
    MICROSHIFT: f"put {FOLDER}/microshift.conf on the node as described in it, {_MANUAL}",
    K3S: f"put {FOLDER}/registries.yaml on every node as described in it, {_MANUAL}",
    RKE2: f"put {FOLDER}/registries.yaml on every node as described in it, {_MANUAL}",
}
_CONTAINERD = f"put {FOLDER}/containerd on every node as described in its files, {_MANUAL}"
_CRIO = f"put {FOLDER}/registries.conf on every node as described in it, {_MANUAL}"
# The webhook imagecontentpolicies-validation of managed OpenShift (ROSA classic, OSD).
_ROSA_REFUSES = re.compile(r"registry\.redhat\.io|quay\.io(?:/.*)?|registry\.access\.redhat\.com(?:/.*)?")


@dataclass(frozen=True)
class Platform:
    """``name`` is one of this module's; ``runtime`` is what the nodes say (``containerd``, ``cri-o``), if anything."""

    name: str
    runtime: str = ""

    @property
    def takes_mirror_objects(self) -> bool:
        """Tell whether users may set mirrors by objects of this cluster's own API."""
        return self.name in {OPENSHIFT, ROSA, KUBERNETES}

    @property
    def by_hand(self) -> str:
        """Return what a person does where no object does it."""
        return _STEPS.get(self.name) or (_CONTAINERD if self.runtime == "containerd" else _CRIO)


def platform_of(
    kubernetes: str,
    infrastructure: Optional[JsonObject],
    microshift: Optional[JsonObject],
    nodes: Iterable[JsonObject],
) -> Platform:
    """Tell the platform by what only it has: topology, resource tags, a ConfigMap, the version's build tag."""
    runtimes = {text(node, "status", "nodeInfo", "containerRuntimeVersion").partition(":")[0] for node in nodes}
    runtime = runtimes.pop() if len(runtimes) == 1 else ""
    tags = objects_in(infrastructure, "status", "platformStatus", "aws", "resourceTags")
    rosa = any(text(tag, "key") == "red-hat-clustertype" and text(tag, "value") == "rosa" for tag in tags)
    if text(infrastructure, "status", "controlPlaneTopology") == "External":
        name = ROSA_HCP if rosa else HYPERSHIFT
    elif rosa:
        name = ROSA
    elif infrastructure is not None:
        name = OPENSHIFT
    elif microshift is not None:
        name = MICROSHIFT
    else:
        name = K3S if "+k3s" in kubernetes else RKE2 if "+rke2" in kubernetes else KUBERNETES
    return Platform(name, runtime)


def rosa_refuses(source: str) -> bool:
    """Tell whether managed OpenShift's webhook refuses a mirror of ``source``."""
    return _ROSA_REFUSES.fullmatch(source) is not None
