"""What the API shows of the nodes: pools and their present files, mirror objects, trust, logins, architectures."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional

from loader.bundle.errors import ClusterError
from loader.cluster.failures import printable
from loader.cluster.kubectl import Kubectl
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.nodeeffect import Rules, policy_override
from loader.cluster.objects import JsonObject, Key, labels_of, objects_in, text
from loader.cluster.objects import field as value_at
from loader.cluster.platforms import KUBERNETES, Platform, platform_of
from loader.cluster.reading import Reader
from loader.cluster.registriestoml import Registries, parse
from loader.cluster.rendered import registries_conf
from loader.cluster.survey import MIRROR_APIS, Survey
from loader.cluster.versions import parse_openshift

_MCO = "machineconfiguration.openshift.io/v1"
POOL, MACHINE_CONFIG = "MachineConfigPool", "MachineConfig"
CONFIG = "config.openshift.io/v1"
IMAGE_CONFIG = Key(CONFIG, "Image", None, "cluster")
PULL_SECRET = Key("v1", "Secret", "openshift-config", "pull-secret")
_VERSION = Key(CONFIG, "ClusterVersion", None, "version")
_INFRASTRUCTURE = Key(CONFIG, "Infrastructure", None, "cluster")
_POLICY = Key("operator.openshift.io/v1", "MachineConfiguration", None, "cluster")
_NO_DRAIN = Key("v1", "ConfigMap", "openshift-machine-config-operator", "image-registry-override-drain")
_MICROSHIFT = Key("v1", "ConfigMap", "kube-public", "microshift-version")
_DOCKERCONFIG = ".dockerconfigjson"


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
    of the ConfigMap ``ca_name`` with the registries' CAs. ``mirrors_hidden``: there may be more ``mirror_objects``.
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
    mirrors_hidden: bool = False
    topology: str = ""
    openshift: Optional[str] = None


# Whoever may not see MicroShift's own ConfigMap is hardly on MicroShift, whose users are its admins.
UNMISSED = frozenset({_MICROSHIFT})
_MIRRORS = tuple((api, kind) for api in MIRROR_APIS for kind in MIRROR_LISTS)
KINDS = (*_MIRRORS, (_MCO, POOL))


def read_nodes(kubectl: Kubectl, found: Survey) -> NodeSide:
    """Read the node side in two or three calls; what this login may not read is left out and named in ``unread``."""
    reader = Reader(kubectl, found, unmissed=UNMISSED)
    return node_side(reader, found, reader.lists(KINDS))


def node_side(reader: Reader, found: Survey, listed: Iterable[JsonObject]) -> NodeSide:
    """Return the node side from all the objects of ``KINDS`` and nodes there are, and a few that are named."""
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
    named = reader.named([_VERSION, IMAGE_CONFIG, _INFRASTRUCTURE, _POLICY, *core, *configs])
    confs = {name: _conf(name, named.get(key), reader.unread) for name, key in keys.items()}
    version = printable(text(named.get(_VERSION), "status", "desired", "version")) or None
    infrastructure, image_config = named.get(_INFRASTRUCTURE), named.get(IMAGE_CONFIG)
    ca_name = text(image_config, "spec", "additionalTrustedCA", "name")
    authorities = reader.named([ca_key(ca_name)]) if ca_name else {}
    override = policy_override(named.get(_POLICY), named.get(_NO_DRAIN))
    topology = printable(text(infrastructure, "status", "controlPlaneTopology"))
    return NodeSide(
        rules=Rules(parse_openshift(version), topology == "SingleReplica", override),
        platform=platform_of(found.kubernetes, infrastructure, named.get(_MICROSHIFT), nodes),
        mirror_objects=tuple(item for kind in MIRROR_LISTS for item in by_kind.get(kind, [])),
        pools=tuple(_pool(pool, confs) for pool in pools),
        architectures=_architectures(nodes),
        image_config=image_config,
        ca_name=ca_name,
        authorities=frozenset(value_at(authorities.get(ca_key(ca_name)), "data") or ()),
        logins=_logins(named.get(PULL_SECRET)),
        unread=tuple(printable(item) for item in reader.unread),
        mirrors_hidden=any(reader.hides(api, kind) for api, kind in _MIRRORS),
        topology=topology,
        openshift=version,
    )


def _conf(pool: str, machine_config: Optional[JsonObject], unread: list[str]) -> Optional[Registries]:
    """Return the registries.conf in a pool's rendered configuration."""
    try:
        content = registries_conf(machine_config) if machine_config is not None else ""
        return parse(content.encode("utf-8"), f"registries.conf of pool {pool}") if content else None
    except ClusterError as error:
        unread.append(str(error))
        return None


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
