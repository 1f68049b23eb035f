"""Names of API objects, and objects as the API server gives them; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from loader.bundle.errors import FormatError

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "airgap-loader"
# On a Driver of the csi-operator, which looks at image sets only when a Driver changes.
POKE = "airgap/images"
# Wide enough for RBAC's ``system:node``, too narrow for an option, a query or a second path part.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:/-]{0,252}")
MAX_ITEMS = 5000  # a List document with more objects than any operator's manifests have

JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    """The name of one object; ``namespace`` is None where the kind is cluster-scoped."""

    api_version: str
    kind: str
    namespace: Optional[str]
    name: str

    @property
    def group(self) -> str:
        """Return the API group, empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Return the API version without its group."""
        return self.api_version.rpartition("/")[2]

    @property
    def of_kind(self) -> tuple[str, str]:
        """Return API version and kind."""
        return self.api_version, self.kind

    @property
    def resource(self) -> str:
        """Return the kind as oc and kubectl take it without doubt about the group: ``deployment.apps``."""
        return f"{self.kind.lower()}.{self.group}" if self.group else self.kind.lower()

    def stub(self) -> dict[str, Any]:
        """Return the object's name alone, in the form ``get -f -`` reads."""
        metadata = {"name": self.name} if self.namespace is None else {"name": self.name, "namespace": self.namespace}
        return {"apiVersion": self.api_version, "kind": self.kind, "metadata": metadata}

    def __str__(self) -> str:
        place = f" in {self.namespace}" if self.namespace else ""
        return f"{self.kind}/{self.name}{place}"


def key_of(item: object, what: str) -> Key:
    """Return the key of ``item``; raise ``FormatError`` naming ``what`` where it is not an API object."""
    if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
        raise FormatError(f"{what} is not an API object", why="it has no metadata")
    metadata = item["metadata"]
    api_version = _name(item.get("apiVersion"), f"apiVersion of {what}", slash=True)
    kind = _name(item.get("kind"), f"kind of {what}")
    name = _name(metadata.get("name"), f"metadata.name of {what}")
    namespace = metadata.get("namespace")
    return Key(api_version, kind, _name(namespace, f"metadata.namespace of {what}") if namespace else None, name)


def _name(value: object, what: str, *, slash: bool = False) -> str:
    """Return ``value`` where it may stand in an argument list and in an API path."""
    if not isinstance(value, str) or _NAME.fullmatch(value) is None or ("/" in value and not slash):
        raise FormatError(f"{what} is not one an API object has", why=ascii(value)[:80])
    return value


def items_of(parsed: object, what: str) -> tuple[dict[str, Any], ...]:
    """Return the objects of ``parsed``: of a ``kind: List`` its items, else the object itself."""
    if not isinstance(parsed, dict):
        raise FormatError(f"{what} is not an API object", why=f"it is {type(parsed).__name__}")
    if parsed.get("kind") != "List":
        return (parsed,)
    items = parsed.get("items")
    if not isinstance(items, list) or len(items) > MAX_ITEMS or not all(isinstance(item, dict) for item in items):
        raise FormatError(f"{what} is not a List of API objects", why=f"items: up to {MAX_ITEMS} objects")
    return tuple(items)


def listed(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ``items`` as one ``kind: List``."""
    return {"apiVersion": "v1", "kind": "List", "items": items}


def resource_version(item: JsonObject | None) -> Optional[str]:
    """Return ``metadata.resourceVersion`` of ``item``, None where it has none."""
    return text(item, "metadata", "resourceVersion") or None


def with_version(body: JsonObject, version: Optional[str]) -> dict[str, Any]:
    """Return ``body`` so that the API server answers Conflict (409) where the object is no longer at ``version``."""
    if version is None:
        return dict(body)
    metadata = body.get("metadata")
    return {**body, "metadata": {**(metadata if isinstance(metadata, Mapping) else {}), "resourceVersion": version}}


def labels_of(item: JsonObject) -> Mapping[str, str]:
    """Return ``metadata.labels`` of ``item``."""
    labels = field(item, "metadata", "labels")
    return labels if isinstance(labels, Mapping) else {}


def field(value: object, *path: str) -> Any:
    """Return what stands at ``path`` in nested objects, None as soon as something is missing or of another shape."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def text(value: object, *path: str) -> str:
    """Return the string at ``path``, empty where there is none."""
    found = field(value, *path)
    return found if isinstance(found, str) else ""


def objects_in(value: object, *path: str) -> tuple[Mapping[str, Any], ...]:
    """Return the objects of the list at ``path``; anything else in or instead of it is left out."""
    found = field(value, *path)
    return tuple(item for item in found if isinstance(item, Mapping)) if isinstance(found, list) else ()
