"""Have all nodes got the CA of the registry: OpenShift 4.14 and newer hand it out without a roll-out.

The machine-config operator copies the ConfigMap that image.config names into its ControllerConfig, and each node notes
the version of that which it has written to ``/etc/docker/certs.d``. Source: openshift/machine-config-operator
``pkg/operator/sync.go``, ``pkg/daemon/certificate_writer.go``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Optional

from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, field, objects_in, text
from loader.cluster.poolwait import ANNOTATION, RENDER_LIMIT, name_of
from loader.cluster.waits import DONE, FAILED, WAITING, Found, Verdict

CONFIG = "/apis/machineconfiguration.openshift.io/v1/controllerconfigs/machine-config-controller"
_LIMIT = 1200.0  # seconds a node takes; more where one restarts meanwhile
_NAMED = 3


class AuthorityWait:
    """Waits until every node has written ``wanted``: ConfigMap entry -> PEM, None where the entry is to be gone."""

    name = "registry CA on nodes"
    keys: tuple[Key, ...] = ()

    def __init__(self, document: str, wanted: Mapping[str, Optional[str]]) -> None:
        self.document = document
        self._wanted = wanted
        # Every version of the ControllerConfig that was seen with all of them: a node may have noted an earlier one.
        self._good: set[str] = set()

    def limit(self) -> float:
        """Return 20 minutes."""
        return _LIMIT

    def look(self, kubectl: Kubectl, found: Found, waited: float, /) -> Verdict:
        """Read the ControllerConfig; once it has the CA also what the nodes noted."""
        config = kubectl.get_raw(CONFIG)
        if config is None:
            return Verdict(DONE, "no ControllerConfig is here: nothing tells when nodes have it")
        if not has_authorities(config, self._wanted):
            if waited >= RENDER_LIMIT:
                why = f"after {RENDER_LIMIT:.0f} s the ControllerConfig does not show it for {', '.join(self._wanted)}"
                hint = "oc -n openshift-machine-config-operator logs deploy/machine-config-operator"
                return Verdict(FAILED, why, hint)
            return Verdict(WAITING, "the machine-config operator has not taken the CA yet")
        self._good.add(text(config, "metadata", "resourceVersion"))
        return self._nodes(objects_in(kubectl.get_raw("/api/v1/nodes"), "items"))

    def _nodes(self, nodes: tuple[JsonObject, ...]) -> Verdict:
        noted = {name_of(node): _noted(node) for node in nodes}
        late = sorted(name for name, version in noted.items() if version and version not in self._good)
        if late:
            some = ", ".join(late[:_NAMED]) + ("" if len(late) <= _NAMED else f" and {len(late) - _NAMED} more")
            return Verdict(WAITING, f"{len(late)} of {len(noted)} nodes have not written it yet: {some}")
        return Verdict(DONE, f"{len(noted)} node{'' if len(noted) == 1 else 's'} up to date")


def has_authorities(config: JsonObject, wanted: Mapping[str, Optional[str]]) -> bool:
    """Tell whether a ControllerConfig has each entry of ``wanted`` with this PEM, or does not have it where None."""
    held = {text(item, "file"): _plain(item) for item in objects_in(config, "spec", "imageRegistryBundleUserData")}
    return all(held.get(entry) == (pem.strip() if pem is not None else None) for entry, pem in wanted.items())


def _plain(item: JsonObject) -> str:
    try:
        return base64.b64decode(text(item, "data"), validate=True).decode("utf-8", "replace").strip()
    except binascii.Error:
        return ""


def _noted(node: JsonObject) -> str:
    """Return what the machine-config daemon noted; a node without one (Windows) has nothing to write."""
    noted = field(node, "metadata", "annotations", f"{ANNOTATION}lastSyncedControllerConfigResourceVersion")
    return noted if isinstance(noted, str) else ""
