"""What the API shows of the nodes: pools and their present files, mirror objects, trust, logins, architectures."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional, TypeVar

from loader.bundle.errors import ClusterError
from loader.cluster.failures import printable
from loader.cluster.kubectl import Kubectl
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.nodeeffect import Rules, policy_override
from loader.cluster.objects import JsonObject, Key, key_of, labels_of, objects_in, text
from loader.cluster.objects import field as value_at
from loader.cluster.platforms import KUBERNETES, Platform, platform_of
from loader.cluster.registriestoml import Registries, parse
from loader.cluster.rendered import registries_conf
from loader.cluster.survey import MIRROR_APIS, Survey
from loader.cluster.versions import parse_openshift

_MCO = "machineconfiguration.openshift.io/v1"
POOL, MACHINE_CONFIG = "MachineConfigPool", "MachineConfig"
CONFIG = "config.openshift.io/v1"
IMAGE_CONFIG = Key(CONFIG, "Image", None, "cluster")
PULL_SECRET = Key("v1", "Secret", "openshift-config", "pull-secret")
_INFRASTRUCTURE = Key(CONFIG, "Infrastructure", None, "cluster")
_POLICY = Key("operator.openshift.io/v1", "MachineConfiguration", None, "cluster")
_NO_DRAIN = Key("v1", "ConfigMap", "openshift-machine-config-operator", "image-registry-override-drain")
_MICROSHIFT = Key("v1", "ConfigMap", "kube-public", "microshift-version")
_DOCKERCONFIG = ".dockerconfigjson"
_One = TypeVar("_One", str, Key)


@dataclass(frozen=True)
class Pool:
    """One MachineConfigPool; ``conf`` is the registries.conf of the configuration it is to have, None if unknown."""

    name: str
    count: int
    conf: Optional[Registries]
    paused: bool = False
    updating: bool = False
    degraded: str = ""


@dataclass(frozen=True)
class NodeSide:
    """Everything read of one cluster; ``unread`` says what could not be, and why.

    ``logins`` are the names the pull secret has entries for, None where it cannot be read; ``authorities`` the keys
    of the ConfigMap ``ca_name`` with the registries' CAs.
    """

    rules: Rules = field(default_factory=Rules)
    platform: Platform = field(default_factory=lambda: Platform(KUBERNETES))
    mirror_objects: tuple[JsonObject, ...] = ()
    pools: tuple[Pool, ...] = ()
    architectures: Mapping[str, int] = field(default_factory=dict)
    image_config: Optional[JsonObject] = None
    ca_name: str = ""
    authorities: frozenset[str] = frozenset()
    logins: Optional[frozenset[str]] = None
    unread: tuple[str, ...] = ()
    topology: str = ""


class _Reader:
    """Reads many things at once, and one by one where a part of them is refused."""

    def __init__(self, kubectl: Kubectl, found: Survey) -> None:
        self._kubectl = kubectl
        self._found = found
        self.unread: list[str] = []

    def lists(self, wanted: Iterable[tuple[str, str]]) -> tuple[JsonObject, ...]:
        """Return all objects of the (api version, kind) pairs that are served."""
        served = [self._found.resource(*pair) for pair in wanted]
        names = [f"{r.plural}.{r.api_version.rpartition('/')[0]}" for r in served if r is not None]
        return self._all_or_each([*names, "nodes"], self._kubectl.list_all)

    def named(self, keys: Iterable[Key]) -> dict[Key, JsonObject]:
        """Return those of the objects that are there and whose kind is served."""
        served = [key for key in keys if key.api_version == "v1" or self._found.resource(key.api_version, key.kind)]
        items = self._all_or_each(served, self._kubectl.get_all)
        return {key_of(item, "an object of the cluster"): item for item in items}

    def conf(self, pool: str, machine_config: Optional[JsonObject]) -> Optional[Registries]:
        """Return the registries.conf in a pool's rendered configuration."""
        try:
            content = registries_conf(machine_config) if machine_config is not None else ""
            return parse(content.encode("utf-8"), f"registries.conf of pool {pool}") if content else None
        except ClusterError as error:
            self.unread.append(str(error))
            return None

    def _all_or_each(
        self, wanted: Sequence[_One], read: Callable[[Sequence[_One]], Sequence[JsonObject]]
    ) -> tuple[JsonObject, ...]:
        try:
            return tuple(read(wanted)) if wanted else ()
        except ClusterError as error:
            if len(wanted) == 1:
                # Whoever may not see MicroShift's own ConfigMap is hardly on MicroShift, whose users are its admins.
                self.unread += [] if wanted[0] == _MICROSHIFT else [str(error)]
                return ()
        return tuple(item for one in wanted for item in self._all_or_each([one], read))


def read_nodes(kubectl: Kubectl, found: Survey) -> NodeSide:
    """Read the node side in two or three calls; what this login may not read is left out and named in ``unread``."""
    reader = _Reader(kubectl, found)
    kinds = [(api, kind) for api in MIRROR_APIS for kind in MIRROR_LISTS]
    listed = reader.lists([*kinds, (_MCO, POOL)])
    by_kind: dict[str, list[JsonObject]] = {}
    for item in listed:
        by_kind.setdefault(text(item, "kind"), []).append(item)
    pools, nodes = by_kind.get(POOL, []), by_kind.get("Node", [])
    keys = {text(pool, "metadata", "name"): _rendered_key(pool) for pool in pools}
    configs = [key for key in keys.values() if key.name]
    # What only OpenShift has is not asked for elsewhere: each call costs a process.
    openshift = found.resource(CONFIG, IMAGE_CONFIG.kind) is not None
    core = [PULL_SECRET, _NO_DRAIN] if openshift else []
    core += [] if found.resource(CONFIG, _INFRASTRUCTURE.kind) else [_MICROSHIFT]
    named = reader.named([IMAGE_CONFIG, _INFRASTRUCTURE, _POLICY, *core, *configs])
    confs = {name: reader.conf(name, named.get(key)) for name, key in keys.items()}
    infrastructure, image_config = named.get(_INFRASTRUCTURE), named.get(IMAGE_CONFIG)
    ca_name = text(image_config, "spec", "additionalTrustedCA", "name")
    authorities = reader.named([ca_key(ca_name)]) if ca_name else {}
    override = policy_override(named.get(_POLICY), named.get(_NO_DRAIN))
    topology = printable(text(infrastructure, "status", "controlPlaneTopology"))
    return NodeSide(
        rules=Rules(parse_openshift(found.openshift), topology == "SingleReplica", override),
        platform=platform_of(found.kubernetes, infrastructure, named.get(_MICROSHIFT), nodes),
        mirror_objects=tuple(item for kind in MIRROR_LISTS for item in by_kind.get(kind, [])),
        pools=tuple(_pool(pool, confs) for pool in pools),
        architectures=_architectures(nodes),
        image_config=image_config,
        ca_name=ca_name,
        authorities=frozenset(value_at(authorities.get(ca_key(ca_name)), "data") or ()),
        logins=_logins(named.get(PULL_SECRET)),
        unread=tuple(printable(item) for item in reader.unread),
        topology=topology,
    )


def ca_key(name: str) -> Key:
    """Return the key of the ConfigMap that image.config names by ``name``."""
    return Key("v1", "ConfigMap", "openshift-config", name)


def auths_in(secret: Optional[JsonObject]) -> Optional[dict[str, object]]:
    """Return the ``auths`` of a pull secret, None where it holds no such JSON. They are secrets: never print them."""
    try:
        plain = json.loads(base64.b64decode(text(secret, "data", _DOCKERCONFIG), validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return None
    found = plain.get("auths", {}) if isinstance(plain, dict) else None
    return found if isinstance(found, dict) else None


def _logins(secret: Optional[JsonObject]) -> Optional[frozenset[str]]:
    auths = auths_in(secret)
    return None if auths is None else frozenset(auths)


def _rendered_key(pool: JsonObject) -> Key:
    """Return the key of the configuration that a pool is to have; its name is empty where none is rendered yet."""
    return Key(_MCO, MACHINE_CONFIG, None, text(pool, "spec", "configuration", "name"))


def _pool(pool: JsonObject, confs: Mapping[str, Optional[Registries]]) -> Pool:
    name = text(pool, "metadata", "name")
    conditions = {text(item, "type"): item for item in objects_in(pool, "status", "conditions")}
    bad = [conditions.get(kind) for kind in ("Degraded", "NodeDegraded", "RenderDegraded")]
    reasons = [text(item, "message") or text(item, "type") for item in bad if text(item, "status") == "True"]
    count = value_at(pool, "status", "machineCount")
    return Pool(
        name=name,
        count=count if isinstance(count, int) else 0,
        conf=confs.get(name),
        paused=value_at(pool, "spec", "paused") is True,
        updating=text(conditions.get("Updating"), "status") == "True",
        degraded=printable("; ".join(dict.fromkeys(reasons))),
    )


def _architectures(nodes: Sequence[JsonObject]) -> dict[str, int]:
    """Count Linux nodes by architecture."""
    labels = [labels_of(node) for node in nodes]
    return dict(
        Counter(
            str(found["kubernetes.io/arch"])
            for found in labels
            if "kubernetes.io/arch" in found and found.get("kubernetes.io/os", "linux") == "linux"
        )
    )
