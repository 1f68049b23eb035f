"""What Rook does with changed images: which Ceph daemons and CSI plugins start anew, before anything is sent; pure.

Source: rook/rook ``pkg/operator/ceph`` at v1.4 to v1.20. A new Ceph image restarts every daemon, one after the other
behind a health check; a new operator image stands in the daemons' init containers and restarts them as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from loader.cluster.csiwait import container_images, roles_of, workload_keys
from loader.cluster.objects import JsonObject, Key, field, text
from loader.cluster.rollout import images_of
from loader.cluster.wishes import Pair
from loader.units import counted

_NUMBERS = re.compile(r"(?:ceph version )?v?([0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4})(?![0-9])")
_SHORT_DIGEST = 19
_CSI_MAPS = frozenset({"rook-ceph-operator-config", "rook-csi-operator-image-set-configmap"})


@dataclass(frozen=True)
class RookEffect:
    """A part that starts anew (``ceph``, ``csi``, ``operator``), how many daemons or nodes, and the same in words."""

    part: str
    count: int
    text: str


@dataclass(frozen=True)
class Turn:
    """One object that changes: as it is (None: not there) and as it will be."""

    key: Key
    before: Optional[JsonObject]
    after: JsonObject


def csi_keys(documents: Iterable[Pair]) -> tuple[Key, ...]:
    """Return the names of the CSI workloads that ``documents`` may reach; none where they name no CSI image."""
    namespaces = [d.target.namespace for d, _ in documents if d.wait == "csi" and d.target and d.target.namespace]
    return tuple(key for namespace in dict.fromkeys(namespaces) for key in workload_keys(namespace))


def rook_effects(
    turns: Iterable[Turn], workloads: Sequence[JsonObject], tags: Mapping[str, str], daemons: int
) -> tuple[RookEffect, ...]:
    """Return what starts anew, Ceph first.

    ``workloads`` are the CSI workloads that are there, ``tags`` the tags of known digests, ``daemons`` the
    number of Deployments that Rook keeps for Ceph.
    """
    each = tuple(turns)
    ceph = [effect for turn in each for effect in _ceph(turn, tags, daemons)]
    csi = [effect for turn in each for effect in _csi(turn, workloads)]
    operator = [effect for turn in each for effect in _operator(turn, daemons)] if not ceph else []
    return (*ceph, *operator, *dict.fromkeys(csi))


def rook_words(effects: Iterable[RookEffect]) -> str:
    """Return the effects as one line shows them, an empty string where there are none."""
    return " · ".join(effect.text for effect in effects)


def _ceph(turn: Turn, tags: Mapping[str, str], daemons: int) -> list[RookEffect]:
    before, after = (text(item, "spec", "cephVersion", "image") for item in (turn.before, turn.after))
    if turn.key.kind != "CephCluster" or turn.before is None or before == after:
        return []
    if field(turn.after, "spec", "external", "enable") is True:
        return []  # its daemons run elsewhere
    old = _numbers(text(turn.before, "status", "version", "version")) or _version(before, tags)
    new = _version(after, tags)
    overall = field(turn.before, "status", "ceph", "versions", "overall")
    counts = [number for number in overall.values() if isinstance(number, int)] if isinstance(overall, dict) else []
    count = sum(counts) or daemons
    name = f"Ceph {old} -> {new}" if old and old != new else f"Ceph {new}"
    return [RookEffect("ceph", count, f"{name}: {counted(count, 'daemon') if count else 'its daemons'} one by one")]


def _operator(turn: Turn, daemons: int) -> list[RookEffect]:
    name = "rook-ceph-operator"
    if (turn.key.kind, turn.key.name) != ("Deployment", name) or turn.before is None:
        return []
    if images_of(turn.before).get(name) == images_of(turn.after).get(name):
        return []
    after = f", after it up to {counted(daemons, 'daemon')} one by one" if daemons else ""
    return [RookEffect("operator", daemons, f"Rook operator{after}")]


def _csi(turn: Turn, workloads: Sequence[JsonObject]) -> list[RookEffect]:
    wanted = _changed_roles(turn)
    here = [item for item in workloads if text(item, "metadata", "namespace") == turn.key.namespace]
    late = [item for item in here if _is_late(item, wanted)] if wanted else []
    nodes: dict[bool, list[int]] = {True: [], False: []}
    for item in late:
        if text(item, "kind") == "DaemonSet":
            by_hand = text(item, "spec", "updateStrategy", "type") == "OnDelete"
            count = field(item, "status", "desiredNumberScheduled")
            nodes[by_hand].append(count if isinstance(count, int) else 0)
    effects = []
    if nodes[False]:
        count = max(nodes[False])
        effects.append(RookEffect("csi", count, f"CSI plugins on {counted(count, 'node')}"))
    if nodes[True]:
        count = max(nodes[True])
        words = f"CSI plugins on {counted(count, 'node')} when someone deletes their pods (OnDelete)"
        effects.append(RookEffect("csi", count, words))
    if late and not effects:
        effects.append(RookEffect("csi", 0, "CSI provisioners"))
    return effects


def _is_late(item: JsonObject, wanted: Mapping[str, str]) -> bool:
    shown = images_of(item)
    return any(shown[name] != image for name, image in container_images(item, wanted).items())


def _changed_roles(turn: Turn) -> dict[str, str]:
    """Return role -> reference of the CSI images that change."""
    if turn.key.kind != "ConfigMap" or turn.key.name not in _CSI_MAPS:
        return {}
    before, after = (roles_of(field(item, "data") or {}) for item in (turn.before, turn.after))
    return {role: image for role, image in after.items() if before.get(role) != image}


def _version(image: str, tags: Mapping[str, str]) -> str:
    """Return the version an image is known by: its tag's numbers, else the tag, else the start of its digest."""
    name, _, digest = image.partition("@")
    last = name.rpartition("/")[2]
    tag = last.partition(":")[2] or tags.get(digest, "")
    return _numbers(tag) or tag or digest[:_SHORT_DIGEST]


def _numbers(said: str) -> str:
    match = _NUMBERS.match(said)
    return match[1] if match else ""
