"""What would change in an object, as a unified diff for a person; secrets never shown; pure."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from typing import Any, Optional

from loader.cluster.objects import JsonObject, Key

MAX_LINES = 200
MAX_CHARACTERS = 16 * 1024
_SERVER_FIELDS = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
# A copy of the whole object: twice the diff, and what it hides above it would show here.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SECRET_NAME = re.compile(r"(?i)passw|secret|token|credential|private|api[-_]?key|\.dockerconfig")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def essence(item: JsonObject) -> dict[str, Any]:
    """Return ``item`` without what only the API server writes: status and bookkeeping of metadata."""
    metadata = {k: v for k, v in item.get("metadata", {}).items() if k not in _SERVER_FIELDS}
    if isinstance(metadata.get("annotations"), Mapping):
        annotations = {k: v for k, v in metadata["annotations"].items() if k != _LAST_APPLIED}
        metadata["annotations"] = annotations
    kept = {name for name in ("annotations", "labels") if not metadata.get(name, True)}
    metadata = {k: v for k, v in metadata.items() if k not in kept}
    return {**{k: v for k, v in item.items() if k != "status"}, "metadata": metadata}


def object_diff(
    key: Key,
    before: Optional[JsonObject],
    after: Optional[JsonObject],
    sides: tuple[str, str] = ("cluster", "bundle"),
) -> str:
    """Return the unified diff of the essences of two states of ``key``, capped, empty where nothing changes.

    None is an object that is not there; ``sides`` are what the states are called.
    """
    old, new = (essence(item) if item is not None else {} for item in (before, after))
    if old == new:
        return ""
    left = _text(_masked(old, old, key.kind)) if before is not None else []
    right = _text(_masked(new, old, key.kind)) if after is not None else []
    what = f"{key.resource}/{key.name}"
    lines = list(difflib.unified_diff(left, right, f"{sides[0]} {what}", f"{sides[1]} {what}", lineterm=""))
    return _capped(lines)


def _text(value: Any) -> list[str]:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True).splitlines()


def _capped(lines: list[str]) -> str:
    kept: list[str] = []
    size = 0
    for line in lines:
        clean = _UNPRINTABLE.sub("?", line)
        size += len(clean) + 1
        if len(kept) == MAX_LINES or size > MAX_CHARACTERS:
            kept.append(f"... {len(lines) - len(kept)} more lines")
            break
        kept.append(clean)
    return "\n".join(kept) + "\n"


def _masked(value: Any, other: Any, kind: str) -> Any:
    """Return ``value`` with secrets blanked; one that differs from the same one in ``other`` says so."""
    if kind == "Secret" and isinstance(value, Mapping):
        base = other if isinstance(other, Mapping) else {}
        return {
            name: _blank_all(part, base.get(name)) if name in {"data", "stringData"} else part
            for name, part in value.items()
        }
    return _mask(value, other)


def _mask(value: Any, other: Any) -> Any:
    if isinstance(value, Mapping):
        base = other if isinstance(other, Mapping) else {}
        named = isinstance(value.get("name"), str) and _SECRET_NAME.search(value["name"])
        return {
            name: _blank(part, base.get(name))
            if isinstance(part, str) and (_SECRET_NAME.search(name) or (named and name == "value"))
            else _mask(part, base.get(name))
            for name, part in value.items()
        }
    if isinstance(value, list):
        others = other if isinstance(other, list) and len(other) == len(value) else [None] * len(value)
        return [_mask(part, old) for part, old in zip(value, others)]
    return value


def _blank_all(values: Any, others: Any) -> Any:
    if not isinstance(values, Mapping):
        return "(hidden)"
    base = others if isinstance(others, Mapping) else {}
    return {name: _blank(part, base.get(name)) for name, part in values.items()}


def _blank(value: Any, other: Any) -> str:
    return "(hidden)" if value == other else "(hidden, changed)"
