"""Where a cluster object names images: typed places first, what only looks like an image apart; pure.

Typed are pod templates of every kind, image volumes, operator environment, ConfigMap keys, the custom resources of
Rook, a ClusterServiceVersion's list and what OpenShift calls a DockerImage. Schemas (CustomResourceDefinition),
Secrets and ``status`` name nothing that has to be carried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Optional

from bundler.looks import Path, looks
from loader.bundle.errors import ConfigError
from loader.oci.model import ImageRef

_CONTAINERS = {"containers": "container", "initContainers": "init container", "ephemeralContainers": "debug container"}
_SKIPPED_KINDS = frozenset({"CustomResourceDefinition", "Secret"})
# Environment and ConfigMap keys whose value is an image: ROOK_CSI_CEPH_IMAGE, RELATED_IMAGE_CEPH, POSTGRES_IMAGE.
_KEY = re.compile(r"(?:[A-Z0-9]+_)*IMAGE(?:_[A-Z0-9_]+)?")
# Keys of the same form that hold something else.
_OTHER_KEY = re.compile(r".*(?:PULL_?POLICY|PULL_?SECRETS?|_TAG|_VERSION|_REGISTRY|_PREFIX)")
# What a ConfigMap of images for the ceph-csi-operator may have; a Driver or OperatorConfig names it as it likes.
_IMAGE_SET = "rook-csi-operator-image-set-configmap"
_IMAGE_SET_KEYS = frozenset(
    [
        "addons",
        "attacher",
        "ex-snapshotter",
        "plugin",
        "provisioner",
        "registrar",
        "resizer",
        "snapshot-metadata",
        "snapshotter",
    ]
)
# By API group and kind: where Rook and OLM name images in their own resources.
_FIELDS: Mapping[tuple[str, str], tuple[Path, ...]] = {
    ("ceph.rook.io", "CephCluster"): (("spec", "cephVersion", "image"),),
    ("ceph.rook.io", "CephNFS"): (("spec", "server", "image"), ("spec", "security", "sssd", "sidecar", "image")),
    ("ceph.rook.io", "CephCOSIDriver"): (("spec", "image"), ("spec", "objectProvisionerImage")),
    ("ceph.rook.io", "CephNVMeOFGateway"): (("spec", "image"),),
    ("operators.coreos.com", "CatalogSource"): (("spec", "image"),),
    ("operators.coreos.com", "ClusterServiceVersion"): (("metadata", "annotations", "containerImage"),),
}


@dataclass(frozen=True)
class Reference:
    """An image as an object names it; ``path`` leads to the text from the object's root.

    ``image`` is None where the text cannot be read as a reference. ``certain``: the place is one for images.
    """

    text: str
    path: Path
    why: str
    owner: str
    certain: bool
    image: Optional[ImageRef]


def references(item: object) -> tuple[Reference, ...]:
    """Return every image that one object names, in document order; lists and OpenShift's templates are walked into."""
    if not isinstance(item, dict) or item.get("kind") in _SKIPPED_KINDS:
        return ()
    kind = str(item.get("kind", ""))
    key = "objects" if kind == "Template" else "items"
    items = item.get(key)
    if (kind == "Template" or kind.endswith("List")) and isinstance(items, list):
        inside = (
            replace(found, path=(key, index, *found.path))
            for index, inner in enumerate(items)
            for found in references(inner)
        )
        rest = {name: value for name, value in item.items() if name != key}
        return (*inside, *_looks(rest, _owner(item)))
    owner = _owner(item)
    typed = {found.path: found for found in _typed(item, owner)}
    looks = (found for found in _looks(item, owner) if found.path not in typed)
    return (*typed.values(), *looks)


def is_template_image(path: Path) -> bool:
    """Tell whether ``path`` is one that kustomize's ``images:`` reach: containers and image volumes, no debug ones.

    Its ``api/internal/konfig/builtinpluginconsts/images.go``; environment and custom resources stay as they are.
    """
    if path[-2:] == ("image", "reference"):
        return True
    return len(path) > 2 and path[-1] == "image" and path[-3] in {"containers", "initContainers"}


def _typed(item: Mapping[str, object], owner: str) -> Iterator[Reference]:
    group = str(item.get("apiVersion", "")).rpartition("/")[0]
    kind = str(item.get("kind", ""))
    for path in _FIELDS.get((group, kind), ()):
        yield from _at(_value(item, path), path, f"{kind} {'.'.join(map(str, path))}", owner)
    if kind == "ConfigMap":
        yield from _config_map(item, owner)
    if kind == "ClusterServiceVersion":
        yield from _related(item, owner)
    for key, value in item.items():
        if key not in {"status", "metadata"}:
            yield from _templates(value, (key,), owner)


def _templates(value: object, path: Path, owner: str) -> Iterator[Reference]:
    """Walk to every pod template, whatever kind it stands in."""
    if isinstance(value, dict):
        # An ImageStream's tag, what a BuildConfig starts from.
        if value.get("kind") == "DockerImage":
            yield from _at(value.get("name"), (*path, "name"), "DockerImage", owner)
        for key, inner in value.items():
            if key in _CONTAINERS and isinstance(inner, list):
                for index, container in enumerate(inner):
                    yield from _container(container, (*path, key, index), _CONTAINERS[key], owner)
            elif key == "volumes" and isinstance(inner, list):
                for index, volume in enumerate(inner):
                    place: Path = (*path, key, index, "image", "reference")
                    yield from _at(_value(volume, ("image", "reference")), place, "image volume", owner)
            else:
                yield from _templates(inner, (*path, key), owner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _templates(inner, (*path, index), owner)


def _container(container: object, path: Path, what: str, owner: str) -> Iterator[Reference]:
    if not isinstance(container, dict):
        return
    yield from _at(container.get("image"), (*path, "image"), f"{what} {container.get('name', '')}".strip(), owner)
    env = container.get("env")
    for index, variable in enumerate(env if isinstance(env, list) else ()):
        name = variable.get("name") if isinstance(variable, dict) else None
        if isinstance(name, str) and _is_image_key(name):
            yield from _keyed(variable.get("value"), (*path, "env", index, "value"), f"environment {name}", owner)


def _config_map(item: Mapping[str, object], owner: str) -> Iterator[Reference]:
    data = item.get("data")
    named = _value(item, ("metadata", "name")) == _IMAGE_SET
    every = named or (isinstance(data, dict) and data.keys() <= _IMAGE_SET_KEYS)
    for key, value in data.items() if isinstance(data, dict) else ():
        if every or _is_image_key(key):
            yield from _keyed(value, ("data", key), f"key {key}", owner)


def _related(item: Mapping[str, object], owner: str) -> Iterator[Reference]:
    related = _value(item, ("spec", "relatedImages"))
    for index, entry in enumerate(related if isinstance(related, list) else ()):
        name = entry.get("name", "") if isinstance(entry, dict) else ""
        yield from _at(
            _value(entry, ("image",)),
            ("spec", "relatedImages", index, "image"),
            f"related image {name}".strip(),
            owner,
        )


def _keyed(value: object, path: Path, why: str, owner: str) -> Iterator[Reference]:
    """Yield a value whose key says it is an image, unless it is plainly something else (``true``, ``v1``)."""
    if isinstance(value, str) and "\n" not in value and ("/" in value or ":" in value):
        # Without a path it may be nginx:1.25, or 10:30.
        yield from _at(value, path, why, owner, certain="/" in value)


def _looks(item: Mapping[str, object], owner: str) -> Iterator[Reference]:
    for text, path in looks(item):
        yield from _at(text, path, f"looks like one at {'.'.join(map(str, path))}", owner, certain=False)


def _at(value: object, path: Path, why: str, owner: str, *, certain: bool = True) -> Iterator[Reference]:
    if isinstance(value, str) and value.strip():
        try:
            image = ImageRef.parse(value)
        except ConfigError:
            image = None
        yield Reference(value, path, why, owner, certain and image is not None, image)


def _value(item: object, path: Path) -> object:
    for key in path:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _is_image_key(name: str) -> bool:
    return _KEY.fullmatch(name) is not None and _OTHER_KEY.fullmatch(name) is None


def _owner(item: Mapping[str, object]) -> str:
    namespace, name = _value(item, ("metadata", "namespace")), _value(item, ("metadata", "name"))
    place = "/".join(part for part in (namespace, name) if isinstance(part, str))
    return f"{item.get('kind', 'object')} {place or '(no name)'}"
