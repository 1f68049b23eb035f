"""Documents taken apart: what is wished of which object, in the order of the phases; pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loader.bundle.errors import FormatError
from loader.bundle.manifest import ACTIONS, PHASES, Document
from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.objects import Key, items_of, key_of, text
from loader.cluster.patches import patched
from loader.cluster.survey import Survey, versions_of

# How a wish becomes a change: create-or-join a mirror object, server-side apply, merge or strategic merge patch, one
# entry of a pull secret.
PATCHES = ("merge", "strategic")
METHODS = ("mirror", "apply", "login", *PATCHES)
_EARLY_KINDS = frozenset({"Namespace", "CustomResourceDefinition"})

Pair = tuple[Document, object]


@dataclass(frozen=True)
class Wish:
    """One object, what is asked of it, by which method and by which document; ``wave`` 0 goes before wave 1.

    ``exact``: a mirror object keeps no entry that ``body`` does not have.
    """

    document: Document
    key: Key
    method: str
    body: Mapping[str, Any]
    wave: int = 1
    exact: bool = False


def in_order(documents: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return the pairs by phase, within a phase in the order of the bundle."""
    return tuple(sorted(documents, key=lambda pair: phase_number(pair[0])))


def phase_number(document: Document) -> int:
    """Return the place of the document's phase; raise ``FormatError`` for a phase or an action nobody knows."""
    if document.phase not in PHASES or document.action not in ACTIONS:
        raise FormatError(
            f"{document.path} cannot be used", why=f"phase {document.phase!a}, action {document.action!a} are not known"
        )
    return PHASES.index(document.phase)


def wishes_of(document: Document, parsed: object) -> tuple[Wish, ...]:
    """Return what ``document`` asks for; none for action ``file``.

    A List's namespaces and CRDs come first, since the rest may stand in them. Raises ``FormatError`` where the
    document does not fit its own entry in bundle.json.
    """
    if document.action == "file":
        return ()
    if document.action == "apply":
        return _applied(document, parsed)
    if not isinstance(parsed, dict) or document.target is None:
        raise FormatError(f"{document.path} is not a patch", why="a patch is a JSON object and has a target")
    method = "merge" if document.action == "merge-patch" else "strategic"
    return (Wish(document, target_key(document), method, parsed),)


def _applied(document: Document, parsed: object) -> tuple[Wish, ...]:
    items = items_of(parsed, document.path)
    wishes = []
    for number, item in enumerate(items):
        key = key_of(item, f"{document.path}, object {number + 1}")
        method = "mirror" if document.phase == "mirrors" and key.kind in MIRROR_LISTS else "apply"
        wishes.append(Wish(document, key, method, item, 0 if key.kind in _EARLY_KINDS else 1))
    if document.target is not None and target_key(document) not in {wish.key for wish in wishes}:
        raise FormatError(
            f"{document.path} is not the object bundle.json says", why=f"it does not have {target_key(document)}"
        )
    return tuple(sorted(wishes, key=lambda wish: wish.wave))


def target_key(document: Document) -> Key:
    """Return the key of the document's target; raise ``FormatError`` where it has none that an object can have."""
    target = document.target
    metadata = {"name": target.name, "namespace": target.namespace} if target else {}
    stub = {"apiVersion": target.api_version, "kind": target.kind, "metadata": metadata} if target else {}
    return key_of(stub, f"the target of {document.path}")


def group_versions(documents: Iterable[Pair]) -> frozenset[str]:
    """Return the group-versions that the documents need to have asked for, for ``loader.cluster.survey.survey``."""
    pairs = tuple(documents)
    wished = versions_of(wish.key.of_kind for document, parsed in pairs for wish in wishes_of(document, parsed))
    asked = {document.when.api.rpartition("/")[0] for document, _ in pairs if document.when.api}
    return frozenset(wished | asked)


def rook_namespaces(documents: Iterable[Pair]) -> frozenset[str]:
    """Return the namespaces of the Rook objects that the documents change: the daemons there tell Rook's version."""
    targets = [document.target for document, _ in documents if document.target and document.phase == "rook"]
    return frozenset(target.namespace for target in targets if target.namespace)


def keys_to_read(documents: Iterable[Pair], found: Survey) -> tuple[Key, ...]:
    """Return the objects whose present state decides, of the kinds the cluster serves."""
    wished = [scoped(wish, found).key for document, parsed in documents for wish in wishes_of(document, parsed)]
    return tuple(dict.fromkeys(key for key in wished if found.resource(key.api_version, key.kind) is not None))


def scoped(wish: Wish, found: Survey) -> Wish:
    """Return ``wish`` with the namespace its kind has on this cluster.

    A namespace on a cluster-scoped object means nothing and goes. Raises ``FormatError`` where a namespaced one has
    none: the client would take the namespace of whatever context is current.
    """
    resource = found.resource(wish.key.api_version, wish.key.kind)
    if resource is None or resource.namespaced == (wish.key.namespace is not None):
        return wish
    if resource.namespaced:
        raise FormatError(f"{wish.key} of {wish.document.path} names no namespace", why="its kind is namespaced")
    body = dict(wish.body)
    if "metadata" in body:
        body["metadata"] = {name: value for name, value in body["metadata"].items() if name != "namespace"}
    return dataclasses.replace(wish, key=dataclasses.replace(wish.key, namespace=None), body=body)


def folded(wish: Wish, all_wishes: Iterable[Wish]) -> Wish:
    """Return an applied ``wish`` with the patches that the same bundle has for its object already in it.

    A manifest names an image by tag and a patch by digest. Applied one after the other, they would change the object
    twice in every run and restart what it runs, and a new operator would start from the tag first.
    """
    body = wish.body
    for patch in all_wishes if wish.method == "apply" else ():
        if patch.key == wish.key and patch.method in PATCHES:
            body = patched(body, patch.body, patch.method)
    return dataclasses.replace(wish, body=body)


def defined_kinds(wishes: Sequence[Wish]) -> frozenset[tuple[str, str]]:
    """Return (group, kind) of every CRD among ``wishes``: not served yet, but served once these are applied."""
    crds = [wish.body for wish in wishes if wish.key.kind == "CustomResourceDefinition"]
    return frozenset((text(crd, "spec", "group"), text(crd, "spec", "names", "kind")) for crd in crds)
