"""Patches as far as images go: the objects of strategic merge patches, and the operations of RFC 6902; pure.

An operation says where its value goes. Its value is looked at there, in an object that has nothing else: so a
container that is added, or the image of one, is found by the same rules as in a whole object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Union

from bundler.references import Reference, references

# Objects are about 20 levels deep.
_MAX_DEPTH = 60


@dataclass(frozen=True)
class Target:
    """What a patch selects; an empty field selects any."""

    group: str = ""
    version: str = ""
    kind: str = ""
    name: str = ""


@dataclass(frozen=True)
class Patch:
    """A patch as a file or a text, the line that names it, and its target."""

    line: int
    source: Union[Path, str]
    target: Target = Target()


def patch_references(document: object, target: Target) -> Iterator[Reference]:
    """Yield every image of one document of a patch; a strategic merge patch is an object like any other."""
    if not isinstance(document, list):
        yield from references(document)
        return
    for index, operation in enumerate(document):
        pointer = operation.get("path") if isinstance(operation, dict) else None
        if not isinstance(pointer, str) or operation.get("op") not in {"add", "replace"} or "value" not in operation:
            continue
        keys = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]
        if not 0 < len(keys) <= _MAX_DEPTH:
            # The whole object, or a place that no object has: what the value holds counts all the same.
            keys = ["value"]
        for found in references(_placed(keys, operation["value"], target)):
            # The target's own fields hold nothing, so every path starts with the keys.
            yield replace(found, path=(index, "value", *found.path[len(keys) :]))


def _placed(keys: list[str], value: object, target: Target) -> object:
    for key in reversed(keys[1:]):
        value = [value] if key == "-" or key.isdecimal() else {key: value}
    version = f"{target.group}/{target.version}" if target.group else target.version
    return {
        "apiVersion": version,
        "kind": target.kind or "patch",
        "metadata": {"name": target.name} if target.name else {},
        keys[0]: value,
    }
