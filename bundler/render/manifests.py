"""A YAML file of cluster objects as one JSON List: the loader carries no YAML parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from bundler.render.model import json_body
from bundler.yamlpos import Caps, Fault, Node, ambiguous, parse, walk
from loader.bundle.limits import MAX_DOCUMENT
from loader.cluster.objects import MAX_ITEMS

# Rook's file of CRDs, the largest we know, has 0.97 MB, 30,000 values and is 36 levels deep.
CAPS = Caps(size=8 << 20, depth=60, nodes=400_000)


def manifest_list(data: bytes) -> tuple[bytes, tuple[Fault, ...]]:
    """Return ``data`` (YAML documents) as a JSON ``List`` in file order, and every fault found.

    ``kind: List`` documents are unpacked. Every object needs apiVersion, kind and metadata.name. Plain scalars that
    kubectl would read differently are faults: the object in the cluster must be the one that was written. A key
    without a value is left out, as the API server does on create: server-side apply would refuse it (``cephfs:`` of
    Rook's own cluster.yaml has comments alone).
    """
    parsed = parse(data, CAPS)
    faults = list(parsed.faults)
    items = [item for document in parsed.documents for item in _unpacked(document)]
    for document in parsed.documents:
        faults += [
            Fault(node.line, f"{node.text!a} reads differently in different YAML parsers; put it in quotes")
            for node in walk(document)
            if ambiguous(node)
        ]
    for item in items:
        faults += _object_faults(item)
    if not items and not faults:
        faults.append(Fault(1, "there is no object in this file"))
    if len(items) > MAX_ITEMS:
        faults.append(Fault(1, f"more than {MAX_ITEMS} objects"))
    if faults:
        return b"", tuple(faults)
    content = json_body({"apiVersion": "v1", "kind": "List", "items": [_without_nulls(item.data()) for item in items]})
    if len(content) > MAX_DOCUMENT:
        return b"", (Fault(1, f"more than {MAX_DOCUMENT} bytes as JSON; split the file"),)
    return content, ()


def document_path(index: int, path: str) -> str:
    """Return the place in the bundle of the ``index``-th (from 1) manifest file ``path``."""
    stem = re.sub(r"[^a-z0-9]+", "-", PurePath(path).stem.lower()).strip("-")[:40].strip("-")
    return f"documents/manifests/{index:02d}-{stem or 'manifest'}.json"


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _unpacked(document: Node) -> Iterator[Node]:
    value = document.value
    items = value.get("items") if isinstance(value, dict) and _text(value, "kind") == "List" else None
    if items is not None and isinstance(items.value, tuple):
        yield from items.value
    else:
        yield document


def _object_faults(item: Node) -> Iterator[Fault]:
    if not isinstance(item.value, dict):
        yield Fault(item.line, "not an object: a mapping with apiVersion, kind and metadata is needed")
        return
    metadata = item.value.get("metadata")
    inner = metadata.value if metadata is not None and isinstance(metadata.value, dict) else {}
    for key, place in (("apiVersion", item.value), ("kind", item.value), ("name", inner)):
        if not _text(place, key):
            yield Fault(item.line, f"the object has no {'metadata.' if key == 'name' else ''}{key}")


def _text(mapping: dict[str, Node], key: str) -> str:
    node = mapping.get(key)
    return node.value if node is not None and isinstance(node.value, str) else ""
