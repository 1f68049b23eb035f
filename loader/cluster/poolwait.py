"""Have all nodes got our mirrors: the machine-config operator's pools.

``Updated=True`` alone is never believed: for ten to sixty seconds after a change the pools still show the end of
the roll-out before. The configuration a pool is to get must first say of our sources what all mirror objects of the
cluster come to; then the pool must have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loader.bundle.errors import ClusterError
from loader.cluster.kubectl import Kubectl
from loader.cluster.merge import Merged
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.objects import JsonObject, Key, field, objects_in, text
from loader.cluster.registriestoml import Registries, parse
from loader.cluster.rendered import logins_in, registries_conf
from loader.cluster.rendering import agree, merged_now
from loader.cluster.waits import DONE, FAILED, FAILING, PAUSED, WAITING, Found, Verdict
from loader.cluster.watchers import Watchers

_API = "machineconfiguration.openshift.io/v1"
POOLS = f"/apis/{_API}/machineconfigpools"
# The render controller waits 5 s, the node controller 5 s more; what is not there by then does not come.
RENDER_LIMIT = 180.0
# Serial, one node at a time: reload 1 min, drain 10, drain and reboot up to 20 (OpenShift 4.6 and older).
SHORTEST_LIMIT, NODE_LIMIT = 1200.0, 900.0
_MCO = "openshift-machine-config-operator"
ANNOTATION = "machineconfiguration.openshift.io/"
_DEGRADED = ("RenderDegraded", "NodeDegraded", "Degraded")

Table = Mapping[str, tuple[str, ...]]


def table_of(kind: str, item: JsonObject | None) -> dict[str, tuple[str, ...]]:
    """Return source -> mirrors of a mirror object, as they have to show up on the nodes."""
    return {
        text(entry, "source"): tuple(str(mirror) for mirror in field(entry, "mirrors") or ())
        for entry in objects_in(item, "spec", MIRROR_LISTS[kind])
    }


class PoolWait:
    """Waits until every pool has rendered and rolled out what the mirror objects say of ``wanted`` and ``former``.

    ``wanted`` are the mirrors that one object has now, ``former`` those it had before. To a login that may not see the
    objects of others ``wanted`` must be there and the rest of ``former`` gone: after three minutes another object is
    believed to ask for it. ``tags``: the mirrors are for pulls by tag. ``logins`` are entries that the pull secret on
    the nodes must have, None for one that must be gone.
    """

    name = "pools"
    keys: tuple[Key, ...] = ()  # which pools there are is seen anew each time

    def __init__(
        self,
        document: str,
        wanted: Table,
        former: Table | None = None,
        *,
        tags: bool = False,
        logins: Mapping[str, object] | None = None,
    ) -> None:
        self.document = document
        self._wanted = wanted
        self._former = former or {}
        self._tags = tags
        self._logins = logins or {}
        self._merged: Merged | None = None
        self._configs: dict[str, tuple[Registries, Mapping[str, object] | None]] = {}
        self._largest = 0
        self._watchers = Watchers()

    def limit(self) -> float:
        """Return 20 minutes, more for pools of many nodes."""
        return max(SHORTEST_LIMIT, NODE_LIMIT * self._largest)

    def look(self, kubectl: Kubectl, found: Found, waited: float, /) -> Verdict:
        """Read the pools, and in one call each new configuration of theirs, once."""
        pools = objects_in(kubectl.get_raw(POOLS), "items")
        if not pools:
            return Verdict(DONE, "no MachineConfigPool is here: nothing rolls the mirrors out, nothing to wait for")
        bare = not any(field(pool, "spec", "configuration") for pool in pools)
        if bare and self._watchers.is_nobody(kubectl, pools, waited):
            return Verdict(DONE, "no controller ever wrote a pool's status: nothing rolls the mirrors out")
        self._largest = max(_count(pool, "machineCount") for pool in pools)
        self._learn(kubectl, pools)
        late = [pool for pool in pools if not self._rendered(pool, waited)]
        verdict = pools_verdict(pools)
        if verdict.state == FAILING:
            return Verdict(FAILING, "; ".join([verdict.text, *node_reasons(kubectl)]), verdict.hint)
        if late and waited >= RENDER_LIMIT:
            return _never_rendered(kubectl, self._told(late))
        if late:
            return Verdict(WAITING, f"{self._told(late)} yet" if self._lack(late) else self._told(late))
        return verdict

    def _learn(self, kubectl: Kubectl, pools: Sequence[JsonObject]) -> None:
        names = dict.fromkeys(_config_of(pool) for pool in pools)
        fresh = [Key(_API, "MachineConfig", None, name) for name in names if name and name not in self._configs]
        for config in kubectl.get_all(fresh):
            name = name_of(config)
            conf = parse(registries_conf(config).encode(), f"registries.conf of MachineConfig/{name}")
            self._configs[name] = conf, logins_in(config)
        if fresh and (self._wanted or self._former):
            # Anybody's object may have changed since, and only what is rendered after that shows it.
            self._merged = merged_now(kubectl)

    def _rendered(self, pool: JsonObject, waited: float) -> bool:
        if _config_of(pool) not in self._configs:
            return False
        conf, logins = self._configs[_config_of(pool)]
        return has_logins(logins, self._logins) and self._as_objects_say(conf, waited)

    def _as_objects_say(self, conf: Registries, waited: float) -> bool:
        sources = {**self._wanted, **self._former}
        if not sources:
            return True
        known = self._merged.conf if self._merged is not None else None
        if known is not None and agree(conf, known, sources):
            return True
        if self._merged is not None and (known is None or not self._brings()):
            return False
        # A mirror that was not there before shows by itself that this came after it, however it is written.
        gone = waited >= RENDER_LIMIT or not self._former_in(conf)
        return gone and self._has_wanted(conf)

    def _brings(self) -> bool:
        return any({*mirrors} - {*self._former.get(source, ())} for source, mirrors in self._wanted.items())

    def _has_wanted(self, conf: Registries) -> bool:
        # The source itself is no mirror of its own there.
        return all({*mirrors} <= {*self._places(conf, source), source} for source, mirrors in self._wanted.items())

    def _former_in(self, conf: Registries) -> bool:
        return any(
            ({*mirrors} - {*self._wanted.get(source, ())}) & {*self._places(conf, source)}
            for source, mirrors in self._former.items()
        )

    def _places(self, conf: Registries, source: str) -> tuple[str, ...]:
        entry = conf.by_scope.get(source)
        return entry.locations(tags=self._tags) if entry else ()

    def _lack(self, late: Sequence[JsonObject]) -> bool:
        """Tell whether something is still to come, and not only to leave or to be put otherwise."""
        found = [self._configs.get(_config_of(pool), (Registries(), None)) for pool in late]
        coming = {name: entry for name, entry in self._logins.items() if entry is not None}
        return not all(self._has_wanted(conf) and has_logins(logins, coming) for conf, logins in found)

    def _told(self, late: Sequence[JsonObject]) -> str:
        what, be = ("login", "is") if self._logins else ("mirrors", "are")
        where = f"in the rendered configuration of {', '.join(name_of(pool) for pool in late)}"
        return f"the {what} {be} not {where}" if self._lack(late) else f"the former {what} {be} still {where}"


def _config_of(pool: JsonObject) -> str:
    return text(pool, "spec", "configuration", "name")


def has_logins(rendered: Mapping[str, object] | None, wanted: Mapping[str, object]) -> bool:
    """Tell whether all of ``wanted`` are in ``rendered``; a configuration that shows no logins (None) cannot tell."""
    return rendered is None or all(rendered.get(name) == entry for name, entry in wanted.items())


def pools_verdict(pools: Sequence[JsonObject]) -> Verdict:
    """Judge all pools: the worst state counts, a paused one only when nothing else goes on."""
    verdicts = [pool_verdict(pool) for pool in pools]
    for state in (FAILING, WAITING, PAUSED):
        found = [verdict for verdict in verdicts if verdict.state == state]
        if found:
            return Verdict(state, "; ".join(verdict.text for verdict in found), found[0].hint)
    return Verdict(DONE, f"{', '.join(sorted(name_of(pool) for pool in pools))} updated")


def pool_verdict(pool: JsonObject) -> Verdict:
    """Judge one MachineConfigPool by its spec and status."""
    name = name_of(pool)
    conditions = {text(item, "type"): item for item in objects_in(pool, "status", "conditions")}
    for kind in _DEGRADED:
        if text(conditions.get(kind), "status") == "True":
            why = text(conditions[kind], "message") or text(conditions[kind], "reason") or "no reason given"
            return Verdict(FAILING, f"pool {name} is {kind}: {why}", f"oc describe machineconfigpool {name}")
    if _updated(pool, conditions):
        return Verdict(DONE, f"pool {name} updated")
    if field(pool, "spec", "paused") is True:
        hint = f"unpause it when its nodes may change: oc edit machineconfigpool {name}, spec.paused: false"
        return Verdict(PAUSED, f"pool {name} is paused and does not take its new configuration", hint)
    done, of = _count(pool, "updatedMachineCount"), _count(pool, "machineCount")
    return Verdict(WAITING, f"pool {name}: {done} of {of} nodes updated")


def _updated(pool: JsonObject, conditions: Mapping[str, JsonObject]) -> bool:
    total = _count(pool, "machineCount")
    return (
        _number(pool, "status", "observedGeneration") >= _number(pool, "metadata", "generation")
        and text(pool, "status", "configuration", "name") == text(pool, "spec", "configuration", "name")
        and text(conditions.get("Updated"), "status") == "True"
        and text(conditions.get("Updating"), "status") != "True"
        and _count(pool, "updatedMachineCount") == total
        and _count(pool, "readyMachineCount") == total
        and _count(pool, "degradedMachineCount") == 0
    )


def node_reasons(kubectl: Kubectl) -> list[str]:
    """Return what the degraded nodes themselves say; nothing where nodes may not be read."""
    try:
        nodes = objects_in(kubectl.get_raw("/api/v1/nodes"), "items")
    except ClusterError:
        return []
    said = []
    for node in nodes:
        notes = field(node, "metadata", "annotations")
        if text(notes, f"{ANNOTATION}state") in {"Degraded", "Unreconcilable"}:
            said.append(f"node {name_of(node)}: {text(notes, f'{ANNOTATION}reason') or 'no reason given'}")
    return said


def _never_rendered(kubectl: Kubectl, told: str) -> Verdict:
    """A bad entry in any mirror object of the cluster stops them all, and only the controller's log tells."""
    try:
        lines = kubectl.logs(_MCO, "deployment/machine-config-controller").splitlines()
        said = next((line for line in reversed(lines) if "Error syncing image config" in line), "")
    except ClusterError as error:
        said = f"its log cannot be read: {error.message}"
    return Verdict(
        FAILED,
        f"after {RENDER_LIMIT:.0f} s {told}; {said or 'the log of machine-config-controller names no error'}",
        f"oc -n {_MCO} logs deploy/machine-config-controller; one bad mirror object of the cluster stops all of them",
    )


def name_of(item: JsonObject) -> str:
    """Return ``metadata.name``."""
    return text(item, "metadata", "name")


def _count(pool: JsonObject, field_name: str) -> int:
    return _number(pool, "status", field_name)


def _number(item: JsonObject, *path: str) -> int:
    found = field(item, *path)
    return found if isinstance(found, int) else 0
