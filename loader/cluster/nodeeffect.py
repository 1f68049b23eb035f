"""What a changed registries.conf does to nodes: nothing, a reload of CRI-O, a drain, or a reboot; pure.

Source: ``isSafeContainerRegistryConfChanges`` in openshift/machine-config-operator ``pkg/daemon``, per release
branch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from loader.cluster.objects import JsonObject, objects_in, text
from loader.cluster.registriestoml import DIGEST_ONLY, Endpoint, Registries, Registry, same
from loader.cluster.rendered import REGISTRIES_CONF
from loader.cluster.versions import (
    ALWAYS_DRAINS_BELOW,
    DRAINS_FOR_OLD_ENTRIES_BELOW,
    NEWEST,
    PER_MIRROR_FLAG,
    REBOOTS_BELOW,
    Version,
)

EFFECTS = ("none", "reload", "drain", "reboot")
_ACTIONS: Mapping[str, str] = {"Reboot": "reboot", "Drain": "drain", "None": "none"}


@dataclass(frozen=True)
class PoolEffect:
    """What happens to the ``count`` machines of one MachineConfigPool; ``why`` names what causes a drain."""

    pool: str
    effect: str
    count: int
    why: str = ""


@dataclass(frozen=True)
class Rules:
    """What of a cluster decides: its version, one node only, and what its administrator set for this file.

    ``override`` is an effect that holds for every change: the NodeDisruptionPolicy of 4.17 and newer, or the
    ConfigMap image-registry-override-drain of 4.14 to 4.19 (OCPBUGS-27508).
    """

    version: Version = NEWEST
    single_node: bool = False
    override: Optional[str] = None


def stronger(*effects: str) -> str:
    """Return the effect that disturbs most."""
    return max(effects, key=EFFECTS.index)


def effect_of(before: Registries, after: Registries, rules: Rules) -> tuple[str, str]:
    """Return the effect of replacing ``before`` by ``after`` on a node, and why where it is not a reload."""
    if same(before, after):
        return "none", ""
    if rules.version < REBOOTS_BELOW:
        return "reboot", "OpenShift 4.6 and older reboot nodes for every change of registries.conf"
    if rules.override is not None:
        return rules.override, "as the administrator's policy for registries.conf says"
    if rules.version < ALWAYS_DRAINS_BELOW:
        why = "OpenShift 4.7 drains nodes for every change of registries.conf"
    else:
        why = unsafe_change(before, after, rules.version)
    # There is nowhere to drain to: the operator skips it (drainRequired).
    return ("drain" if why and not rules.single_node else "reload"), why


def unsafe_change(before: Registries, after: Registries, version: Version = NEWEST) -> str:
    """Return the first change that makes nodes drain, an empty string where CRI-O is only reloaded."""
    if after.search[: len(before.search)] != before.search:
        return "the search list changes"
    old, new = before.by_scope, after.by_scope
    gone = next((scope for scope in old if scope not in new), None)
    if gone is not None:
        return f"{gone} is removed"
    for scope, entry in new.items():
        present = old.get(scope)
        changed = present != entry
        reason = _changed(present, entry) if present is not None and changed else ""
        if present is None or (not changed and version < DRAINS_FOR_OLD_ENTRIES_BELOW):
            reason = _added(entry, version)
        if reason:
            return reason
    return ""


def _added(entry: Registry, version: Version) -> str:
    if version >= PER_MIRROR_FLAG and entry.mirrors:
        by_digest = all(mirror.pull == DIGEST_ONLY for mirror in entry.mirrors)
    else:
        by_digest = entry.digest_only
    return "" if by_digest else f"{entry.scope} is not for pulls by digest alone"


def _changed(old: Registry, new: Registry) -> str:
    for name in ("prefix", "location", "blocked", "insecure", "digest_only"):
        if getattr(old, name) != getattr(new, name):
            return f"{name} of {new.scope} changes"
    # By location alone: an entry with one mirror twice, for digests and for tags, drains on its every change.
    places = _first_by_location(new.mirrors)
    lost = next((mirror.location for mirror in old.mirrors if mirror.location not in places), None)
    if lost is not None:
        return f"mirror {lost} of {new.scope} is removed"
    before = _first_by_location(old.mirrors)
    for mirror in new.mirrors:
        known = before.get(mirror.location)
        differs = known is None or known.pull != mirror.pull
        if differs and mirror.pull != DIGEST_ONLY and not (known is None and new.digest_only):
            return f"mirror {mirror.location} of {new.scope} is not for pulls by digest alone"
    return ""


def _first_by_location(mirrors: tuple[Endpoint, ...]) -> dict[str, Endpoint]:
    return {mirror.location: mirror for mirror in reversed(mirrors)}


def policy_override(machine_configuration: Optional[JsonObject], drain_override: Optional[JsonObject]) -> Optional[str]:
    """Return the effect an administrator chose for registries.conf, None where the operator's own rules hold."""
    if drain_override is not None:
        return "reload"
    path = ("status", "nodeDisruptionPolicyStatus", "clusterPolicies", "files")
    rule = next(
        (item for item in objects_in(machine_configuration, *path) if item.get("path") == REGISTRIES_CONF), None
    )
    actions = [text(action, "type") for action in objects_in(rule, "actions")]
    if not actions or "Special" in actions:
        return None
    return stronger(*(_ACTIONS.get(action, "reload") for action in actions))
