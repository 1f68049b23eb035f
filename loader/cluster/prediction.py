"""What planned mirror objects lead to on the nodes, before they are sent; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Optional

from loader.cluster.finding import Finding
from loader.cluster.merge import Merged, items_in, merge, sources_of
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.nodeeffect import PoolEffect, effect_of
from loader.cluster.nodeside import NodeSide, Pool
from loader.cluster.objects import JsonObject, Key, text
from loader.cluster.registriestoml import Registries, same
from loader.cluster.shadowing import shadow_findings
from loader.cluster.versions import REBOOTS_BELOW

_LOGS = "oc -n openshift-machine-config-operator logs deploy/machine-config-controller"


@dataclass(frozen=True)
class Prediction:
    """The file all pools get (None: nothing is rolled out, or unknown), the effect per pool, what stands in the way."""

    conf: Optional[Registries]
    pools: tuple[PoolEffect, ...]
    findings: tuple[Finding, ...]

    @property
    def quiet(self) -> bool:
        """Tell whether no node does anything."""
        return all(pool.effect == "none" for pool in self.pools)


def predict(
    side: NodeSide, after: Iterable[JsonObject], *, removed: Iterable[Key] = (), new_login: bool = False
) -> Prediction:
    """Return what nodes do when the objects ``after`` are what the cluster holds (of other kinds are left out).

    ``after`` replace those of the same kind and name, ``removed`` are gone. ``new_login``: the pull secret changes as
    well, which reboots nodes up to OpenShift 4.6. Where mirror objects are hidden, nothing is told but of the pools.
    """
    present = {_name(item): item for item in side.mirror_objects}
    changed = {_name(item): item for item in after if text(item, "kind") in MIRROR_LISTS}
    if side.mirrors_hidden:
        return Prediction(None, (), tuple(_unrest(side)))
    gone = {(key.kind, key.name) for key in removed}
    merged = _merged(side, {name: item for name, item in {**present, **changed}.items() if name not in gone})
    if merged.conf is None:
        return Prediction(None, (), tuple(_refusal(fault) for fault in merged.faults))
    before = _merged(side, present)
    # Nothing new to roll out: what a pool may still have to catch up with is none of our doing.
    idle = before.conf is not None and same(before.conf, merged.conf)
    effects = tuple(_pool_effect(pool, merged.conf, side, idle=idle, new_login=new_login) for pool in side.pools)
    if new_login or any(effect.effect != "none" for effect in effects):
        findings = _pool_findings(side, before)
    else:
        # What is not at rest is worth a word, but it stops nothing that this load wants of it.
        findings = [replace(finding, level="warning") for finding in _unrest(side)]
    if before.conf is not None:
        findings += shadow_findings(before.conf, merged.conf)
    return Prediction(merged.conf, effects, tuple(findings))


def unread_findings(side: NodeSide) -> list[Finding]:
    """Return a warning for everything that this login may not read: a prediction without it may be wrong."""
    hint = "what depends on it was not checked; log in as someone who may read it"
    return [Finding("warning", text_, hint) for text_ in side.unread]


def _name(item: JsonObject) -> tuple[str, str]:
    return text(item, "kind"), text(item, "metadata", "name")


def _merged(side: NodeSide, objects: Mapping[tuple[str, str], JsonObject]) -> Merged:
    return merge(
        items_in(objects.values()),
        sources_of(side.image_config),
        version=side.rules.version,
        kinds=(kind for kind, _ in objects),
    )


def _refusal(fault: str) -> Finding:
    text_ = f"the Machine Config Operator would roll out no mirror of any object: {fault}"
    return Finding("blocker", text_, f"correct the object that is named, or image.config/cluster; later: {_LOGS}")


def _pool_effect(pool: Pool, after: Registries, side: NodeSide, *, idle: bool, new_login: bool) -> PoolEffect:
    before = pool.conf or Registries()
    effect, why = ("none", "") if idle else effect_of(before, after, side.rules)
    if new_login and side.rules.version < REBOOTS_BELOW:
        effect, why = "reboot", "OpenShift 4.6 and older reboot nodes for a new pull secret"
    return PoolEffect(pool.name, effect, pool.count, why)


def _unrest(side: NodeSide) -> Iterator[Finding]:
    """Yield what keeps pools from rolling anything out."""
    for pool in side.pools:
        if pool.degraded:
            hint = "bring the pool back first: oc describe machineconfigpool; nothing rolls out to it until then"
            yield Finding("blocker", f"MachineConfigPool/{pool.name} is degraded: {pool.degraded}", hint)
        elif pool.updating and not pool.paused:
            hint = "wait until it is Updated, or go on: both changes are rolled out one after the other"
            yield Finding("warning", f"MachineConfigPool/{pool.name} is rolling out another change", hint)
        if pool.paused:
            hint = "the load ends as pending until someone unpauses the pool; the same command goes on then"
            yield Finding("warning", f"MachineConfigPool/{pool.name} is paused: its nodes get nothing", hint)


def _pool_findings(side: NodeSide, before: Merged) -> list[Finding]:
    """Return what keeps pools from rolling out, or the prediction from being sure."""
    found = list(_unrest(side))
    for pool in side.pools:
        if pool.conf is None:
            hint = "what its nodes will do is predicted as for a new node"
            found.append(Finding("warning", f"registries.conf of pool {pool.name} is not to be seen", hint))
        elif before.conf is not None and not same(pool.conf, before.conf):
            hint = "a MachineConfig of its own may replace the file, and then mirrors never reach its nodes"
            text_ = f"registries.conf of pool {pool.name} is not what the cluster's mirror objects give"
            found.append(Finding("warning", text_, hint))
    return found


def effect_words(pools: Iterable[PoolEffect]) -> str:
    """Return the effect as one line shows it: ``CRI-O reload on 6 nodes (master 3, worker 3)``."""
    words = {"reload": "CRI-O reload on", "drain": "drain and CRI-O reload of", "reboot": "drain and reboot of"}
    groups: dict[str, list[PoolEffect]] = {}
    for pool in pools:
        if pool.effect != "none":
            groups.setdefault(pool.effect, []).append(pool)
    lines = []
    for effect, members in groups.items():
        count = sum(pool.count for pool in members)
        named = ", ".join(f"{pool.pool} {pool.count}" for pool in members)
        why = next((pool.why for pool in members if pool.why), "")
        lines.append(f"{words[effect]} {count} node{'' if count == 1 else 's'} ({named}){f': {why}' if why else ''}")
    return " · ".join(lines)
