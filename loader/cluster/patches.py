"""Patches applied to an object here, to know beforehand whether the API server would change anything; pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Optional

from loader.bundle.errors import FormatError
from loader.cluster.objects import JsonObject

# Lists that a strategic merge patch merges by a key; every other list is replaced. Source: patchMergeKey in
# k8s.io/api (core/v1, apps/v1); only what a workload's pod template and its metadata have.
MERGE_KEYS: Mapping[str, str] = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "imagePullSecrets": "name",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "ownerReferences": "uid",
}


def merge_patch(target: Any, patch: Any) -> Any:
    """Return ``target`` after an RFC 7386 merge patch; neither argument is changed."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def strategic_patch(target: Any, patch: Any, field: str = "") -> Any:
    """Return ``target`` after a strategic merge patch of a built-in workload; neither argument is changed.

    Raises ``FormatError`` for directives (``$patch`` and its like), which no document of ours uses.
    """
    if isinstance(patch, list):
        return _merge_list(target if isinstance(target, list) else [], patch, MERGE_KEYS.get(field))
    if not isinstance(patch, Mapping):
        return patch
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if name.startswith("$"):
            raise FormatError("a strategic merge patch has a directive", why=f"{name[:40]!a} is not supported")
        if value is None:
            result.pop(name, None)
        else:
            result[name] = strategic_patch(result.get(name), value, name)
    return result


def _merge_list(current: list[Any], patch: list[Any], key: Optional[str]) -> list[Any]:
    if key is None or not all(isinstance(item, Mapping) and key in item for item in patch):
        return [strategic_patch(None, item) for item in patch]
    result = list(current)
    for item in patch:
        place = next(
            (i for i, old in enumerate(result) if isinstance(old, Mapping) and old.get(key) == item[key]), None
        )
        if place is None:
            result.append(strategic_patch(None, item))
        else:
            result[place] = strategic_patch(result[place], item)
    return result


def patched(current: JsonObject, patch: JsonObject, patch_type: str) -> dict[str, Any]:
    """Return ``current`` after ``patch`` of type ``merge`` or ``strategic``."""
    result = merge_patch(current, patch) if patch_type == "merge" else strategic_patch(current, patch)
    return dict(result)


def overlaid(current: Any, desired: Any) -> Any:
    """Return ``current`` with the fields of ``desired`` laid over it, as server-side apply would, roughly.

    Lists of the same length are compared item by item, because the API server fills defaults into items;
    any other list is replaced. A dry run against the API server gives the exact answer.
    """
    if isinstance(desired, Mapping):
        base = dict(current) if isinstance(current, Mapping) else {}
        return {**base, **{k: overlaid(base.get(k), v) for k, v in desired.items() if v is not None}}
    if isinstance(desired, list) and isinstance(current, list) and len(desired) == len(current):
        return [overlaid(old, new) for old, new in zip(current, desired)]
    return copy.deepcopy(desired)
