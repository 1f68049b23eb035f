"""The Machine Config Operator's merge, done here: every mirror object of a cluster -> registries.conf; pure.

A wrong object is accepted by the API server and then stops every rollout without a word, so what the operator
would do is known before anything is sent. Source: openshift/runtime-utils ``pkg/registries`` and the container
runtime config controller of openshift/machine-config-operator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from loader.cluster.mirrorsets import MIRROR_LISTS
from loader.cluster.objects import JsonObject, field, objects_in, text
from loader.cluster.registriestoml import DIGEST_ONLY, TAG_ONLY, Endpoint, Registries, Registry
from loader.cluster.versions import CHECKS_FORMAT, NEWEST, PER_MIRROR_FLAG, Version, refuses_mixing
from loader.mirrors import MAX_LOCATION, NEVER_CONTACT, is_location, is_source, scopes_of

_ALLOW = "AllowContactingSource"
# The operator reads the digest sets first, and among them the ICSPs last.
_ORDER = ("ImageDigestMirrorSet", "ImageContentSourcePolicy", "ImageTagMirrorSet")


@dataclass(frozen=True)
class MirrorItem:
    """One entry of a mirror object: its owner as ``Kind/name``, source, mirrors in order, policy."""

    owner: str
    kind: str
    source: str
    mirrors: tuple[str, ...]
    policy: str = _ALLOW

    @property
    def real(self) -> bool:
        """Tell whether a mirror is other than the source: else the operator drops the item, policy included."""
        return any(mirror != self.source for mirror in self.mirrors)


@dataclass(frozen=True)
class Sources:
    """``registrySources`` of ``image.config.openshift.io/cluster``."""

    insecure: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merged:
    """What the operator would write; with ``faults`` it writes nothing, for any object."""

    conf: Optional[Registries]
    faults: tuple[str, ...] = ()


def items_in(objects: Iterable[JsonObject]) -> tuple[MirrorItem, ...]:
    """Return the entries of mirror objects in the order the operator reads them: kinds, then names."""
    ordered = sorted(
        (item for item in objects if item.get("kind") in MIRROR_LISTS),
        key=lambda item: (_ORDER.index(text(item, "kind")), text(item, "metadata", "name")),
    )
    return tuple(
        MirrorItem(
            owner=f"{text(item, 'kind')}/{text(item, 'metadata', 'name')}",
            kind=text(item, "kind"),
            source=text(entry, "source"),
            mirrors=tuple(str(mirror) for mirror in entry.get("mirrors") or ()),
            policy=text(entry, "mirrorSourcePolicy") or _ALLOW,
        )
        for item in ordered
        for entry in objects_in(item, "spec", MIRROR_LISTS[text(item, "kind")])
    )


def sources_of(image_config: Optional[JsonObject]) -> Sources:
    """Return the ``registrySources`` of an Image config object."""
    lists = {name: field(image_config, "spec", "registrySources", f"{name}Registries") for name in _LISTS}
    return Sources(**{name: tuple(str(item) for item in value or ()) for name, value in lists.items()})


_LISTS = ("insecure", "blocked", "allowed")


def merge(
    items: Sequence[MirrorItem], sources: Sources = Sources(), *, version: Version = NEWEST, kinds: Iterable[str] = ()
) -> Merged:
    """Return registries.conf as an operator of ``version`` writes it, or why it would not.

    ``kinds`` are the kinds of all mirror objects there, empty objects too: some versions refuse a mixture.
    """
    faults = [*_mixture({*kinds, *(item.kind for item in items)}, version), *_faults(items, sources, version)]
    if faults:
        return Merged(None, tuple(faults))
    digests = _joined(item for item in items if item.kind != "ImageTagMirrorSet")
    tags = _joined(item for item in items if item.kind == "ImageTagMirrorSet")
    never = {item.source for item in items if item.real and item.policy == NEVER_CONTACT}
    entries = _entries(digests, tags, sources, old_flag=version < PER_MIRROR_FLAG)
    flags = frozenset(sources.insecure), frozenset(sources.blocked)
    entries = {scope: _flagged(entry, *flags, never=scope in never) for scope, entry in entries.items()}
    heirs, faults = _inherited(entries, [*digests, *tags])
    return Merged(None, tuple(faults)) if faults else Merged(Registries(tuple({**entries, **heirs}.values())))


def _mixture(kinds: set[str], version: Version) -> Iterable[str]:
    for other in ("ImageDigestMirrorSet", "ImageTagMirrorSet"):
        if {other, "ImageContentSourcePolicy"} <= kinds and refuses_mixing(version):
            yield f"error: both imagecontentsourcepolicy and {other.lower()} exist"


def _faults(items: Sequence[MirrorItem], sources: Sources, version: Version) -> Iterable[str]:
    """Yield what the operator's validation refuses, each with the object that says it."""
    for name in _LISTS:
        yield from (f"invalid entry for {name} registries {scope!a}" for scope in getattr(sources, name) if _odd(scope))
    policies: dict[str, MirrorItem] = {}
    for item in items:
        yield from (f"{fault} ({item.owner})" for fault in _item_faults(item, version))
        first = policies.setdefault(item.source, item)
        if first.policy != item.policy:
            yield (
                f"conflicting mirrorSourcePolicy is set for the same source {item.source!a} "
                f"({first.owner}: {first.policy}, {item.owner}: {item.policy})"
            )


def _item_faults(item: MirrorItem, version: Version) -> Iterable[str]:
    strict = version >= CHECKS_FORMAT
    if not (is_source(item.source) if strict else _usable(item.source)):
        yield f"invalid format for source {item.source[:MAX_LOCATION]!a}"
    elif item.source.startswith("*.") and not strict:
        yield "wildcard entries are not supported with mirror configuration"
    for mirror in item.mirrors:
        if not (is_location(mirror) if strict else _usable(mirror) and "*" not in mirror):
            yield f"invalid format for mirror {mirror[:MAX_LOCATION]!a}"
    if item.policy == NEVER_CONTACT and item.source in item.mirrors:
        yield f"cannot set mirrorSourcePolicy: NeverContactSource if the source {item.source!a} is one of the mirrors"


def _usable(location: str) -> bool:
    # Older operators check next to nothing; what is longer or not ASCII no node could use.
    return 0 < len(location) <= MAX_LOCATION and location.isascii() and location.isprintable()


def _odd(scope: str) -> bool:
    wildcard = scope.startswith("*.") and not any(sign in scope[2:] for sign in "/@:*")
    return not _usable(scope) or ("*" in scope and not wildcard)


def _joined(items: Iterable[MirrorItem]) -> dict[str, tuple[str, ...]]:
    """Return source -> mirrors in the order all items agree with as far as they can, sources sorted."""
    lists: dict[str, list[tuple[str, ...]]] = {}
    for item in items:
        if item.real:
            lists.setdefault(item.source, []).append(item.mirrors)
    return {source: _sorted_mirrors(source, lists[source]) for source in sorted(lists)}


def _sorted_mirrors(source: str, lists: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    follows: dict[str, set[str]] = {}
    for mirrors in lists:
        chain = mirrors if source in mirrors else (*mirrors, source)
        for location in chain:
            follows.setdefault(location, set())
        for before, after in zip(chain, chain[1:]):
            follows[before].add(after)
    order = _topological(follows)
    return tuple(order[:-1] if order[-1] == source else order)


def _topological(follows: Mapping[str, set[str]]) -> list[str]:
    """Sort by Kahn's algorithm, ready nodes first in first out; a cycle is broken at its first name.

    Every batch is sorted, so the result does not depend on the order of the objects.
    """
    waiting = dict.fromkeys(follows, 0)
    for successors in follows.values():
        for successor in successors:
            waiting[successor] += 1
    names = sorted(follows)
    ready = deque(name for name in names if not waiting[name])
    left = iter(names)
    done: dict[str, None] = {}
    while len(done) < len(names):
        name = ready.popleft() if ready else next(name for name in left if name not in done)
        done[name] = None
        for successor in sorted(follows[name]):
            waiting[successor] -= 1
            if not waiting[successor] and successor not in done:
                ready.append(successor)
    return list(done)


def _entries(
    digests: Mapping[str, tuple[str, ...]], tags: Mapping[str, tuple[str, ...]], sources: Sources, *, old_flag: bool
) -> dict[str, Registry]:
    """Return the entries by scope in the operator's order: digest sources, tag sources, blocked, insecure."""
    entries: dict[str, Registry] = {}
    for table, pull in ((digests, DIGEST_ONLY), (tags, TAG_ONLY)):
        for source, mirrors in table.items():
            entry = entries.get(source) or _empty(source)
            added = tuple(Endpoint(mirror, pull="" if old_flag else pull) for mirror in mirrors)
            entries[source] = replace(entry, mirrors=entry.mirrors + added, digest_only=old_flag)
    for scope in (*sources.blocked, *sources.insecure):
        entries.setdefault(scope, _empty(scope))
    return entries


def _empty(scope: str) -> Registry:
    return Registry("", prefix=scope) if scope.startswith("*.") else Registry(scope)


def _flagged(entry: Registry, insecure: frozenset[str], blocked: frozenset[str], *, never: bool) -> Registry:
    """Return ``entry`` with the flags of the scopes it lies in: at read time nothing is inherited."""
    mirrors = tuple(replace(mirror, insecure=_inside(mirror.location, insecure)) for mirror in entry.mirrors)
    is_blocked = never or _inside(entry.scope, blocked)
    return replace(entry, mirrors=mirrors, insecure=_inside(entry.scope, insecure), blocked=is_blocked)


def _inside(location: str, scopes: frozenset[str]) -> bool:
    return bool(scopes) and any(scope in scopes for scope in scopes_of(location))


def _inherited(entries: Mapping[str, Registry], order: Sequence[str]) -> tuple[dict[str, Registry], list[str]]:
    """Return the entries without mirrors that lie in a mirrored source, with its mirrors, paths appended.

    The operator goes through the sources in their order, so an outer one wins over an inner one; a wildcard
    cannot hand its mirrors on and stops everything.
    """
    rank = {source: number for number, source in reversed(list(enumerate(order)))}
    heirs, faults = {}, []
    for scope, entry in entries.items():
        above = [outer for outer in scopes_of(scope) if outer != scope and outer in rank]
        if entry.mirrors or not above:
            continue
        source = min(above, key=lambda outer: rank[outer])
        if source.startswith("*."):
            faults.append(f"internal error: mirrorsAdjustedForNestedScope for a wildcard scope {source!a} ({scope})")
            continue
        rest = scope[len(source) :]
        mirrors = tuple(replace(mirror, location=mirror.location + rest) for mirror in entries[source].mirrors)
        heirs[scope] = replace(entry, mirrors=mirrors)
    return heirs, faults
