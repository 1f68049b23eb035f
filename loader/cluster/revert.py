"""Taking back one change of an object that others may have changed since; pure.

A three-way merge: what differs between ``before`` and ``after`` is ours and goes back, by value; everything else
stays as it is now. Where the present value is neither of the two, someone changed it since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class _Missing(Enum):
    HERE = "missing"


MISSING = _Missing.HERE


@dataclass(frozen=True)
class Merged:
    """The object as it should be, and the paths where someone else's value stands (``before`` is taken there)."""

    item: Any
    conflicts: tuple[str, ...]


def taken_back(present: Any, before: Any, after: Any) -> Merged:
    """Return ``present`` with the change from ``before`` to ``after`` taken back."""
    conflicts: list[str] = []
    return Merged(_back(present, before, after, "", conflicts), tuple(conflicts))


def _back(present: Any, before: Any, after: Any, path: str, conflicts: list[str]) -> Any:
    if before in (after, present):
        return present
    if isinstance(present, Mapping) and isinstance(before, Mapping) and isinstance(after, Mapping):
        parts = {}
        for name in dict.fromkeys([*present, *before, *after]):
            three = [item.get(name, MISSING) for item in (present, before, after)]
            parts[name] = _back(three[0], three[1], three[2], f"{path}.{name}" if path else name, conflicts)
        return {name: part for name, part in parts.items() if part is not MISSING}
    if _alike(present, before, after):
        return [
            _back(now, old, new, f"{path}[{_item_name(now, number)}]", conflicts)
            for number, (now, old, new) in enumerate(zip(present, before, after))
        ]
    if present != after:
        conflicts.append(path or "the whole object")
    return before


def _alike(*lists: Any) -> bool:
    """Tell whether these are lists of the same things in the same order, so that items can be compared one by one."""
    if not all(isinstance(items, list) for items in lists) or len({len(items) for items in lists}) != 1:
        return False
    return all(len({_item_name(item, 0) for item in items}) == 1 for items in zip(*lists))


def _item_name(item: Any, number: int) -> str:
    for field in ("name", "source"):
        if isinstance(item, Mapping) and isinstance(item.get(field), str):
            return str(item[field])
    return str(number)


def merge_body(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the RFC 7386 merge patch that makes ``wanted`` of ``present``."""
    body: dict[str, Any] = dict.fromkeys(name for name in present if name not in wanted)
    for name, value in wanted.items():
        old = present.get(name, MISSING)
        if old == value:
            continue
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        body[name] = merge_body(old, value) if both else value
    return body


def missing_from(present: Any, wanted: Any, path: str = "") -> list[str]:
    """Return the paths where ``present`` does not have what ``wanted`` has; more than that is no fault."""
    if isinstance(wanted, Mapping) and isinstance(present, Mapping):
        names = ((name, f"{path}.{name}" if path else name) for name in wanted)
        return [
            fault for name, place in names for fault in missing_from(present.get(name, MISSING), wanted[name], place)
        ]
    if isinstance(wanted, list) and isinstance(present, list) and len(wanted) == len(present):
        pairs = enumerate(zip(present, wanted))
        return [fault for number, (old, new) in pairs for fault in missing_from(old, new, f"{path}[{number}]")]
    return [] if present == wanted else [path or "the whole object"]


def changed_paths(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Give the path of every value that differs, down to the last name; items of like lists are written ``*``."""
    if before == after:
        return
    old, new = ({} if item is MISSING else item for item in (before, after))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in dict.fromkeys([*old, *new]):
            yield from changed_paths(old.get(name, MISSING), new.get(name, MISSING), (*path, name))
    elif _alike(before, after):
        for one, other in zip(before, after):
            yield from changed_paths(one, other, (*path, "*"))
    else:
        yield path
