"""Many reads in few calls: each is a process of its own, so kinds and names go together as long as all are allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from loader.bundle.errors import ClusterError
from loader.cluster.kubectl import Kubectl
from loader.cluster.objects import JsonObject, Key, key_of
from loader.cluster.survey import Survey

# What every cluster serves need not be discovered first.
_NODES = "nodes"
_One = TypeVar("_One", str, Key)


class Reader:
    """Reads many things at once, and one by one where a part of them is refused; ``unread`` says what and why.

    The refusal of ``unmissed`` ones tells nothing, that of ``needed`` ones is an error.
    """

    def __init__(
        self, kubectl: Kubectl, found: Survey, *, unmissed: Iterable[str | Key] = (), needed: Iterable[str] = ()
    ) -> None:
        self._kubectl = kubectl
        self._found = found
        self._unmissed = frozenset(unmissed)
        self._needed = frozenset(needed)
        self.unread: list[str] = []
        self._refused: set[str | Key] = set()

    def lists(self, wanted: Iterable[tuple[str, str]], namespaces: Sequence[str] = ()) -> tuple[JsonObject, ...]:
        """Return the nodes and all objects of the (api version, kind) pairs that are served.

        Of namespaced kinds those in ``namespaces``: the first one's come with all the rest.
        """
        served = [found for pair in wanted for found in [self._found.resource(*pair)] if found is not None]
        inside = [_plural(r.api_version, r.plural) for r in served if r.namespaced]
        names = [_plural(r.api_version, r.plural) for r in served if not r.namespaced]
        first = namespaces[0] if namespaces else None
        items = [*self._listed([*names, _NODES, *(inside if namespaces else ())], first)]
        for namespace in namespaces[1:]:
            items += self._listed(inside, namespace)
        return tuple(items)

    def hides(self, api_version: str, kind: str) -> bool:
        """Tell whether the objects of a kind are there to be listed, and were not."""
        resource = self._found.resource(api_version, kind)
        return resource is not None and _plural(api_version, resource.plural) in self._refused

    def named(self, keys: Iterable[Key]) -> dict[Key, JsonObject]:
        """Return those of the objects that are there and whose kind is served."""
        served = [key for key in keys if key.api_version == "v1" or self._found.resource(key.api_version, key.kind)]
        items = self._all_or_each(served, self._kubectl.get_all)
        return {key_of(item, "an object of the cluster"): item for item in items}

    def _listed(self, names: Sequence[str], namespace: str | None) -> tuple[JsonObject, ...]:
        return self._all_or_each(names, lambda some: self._kubectl.list_all(some, namespace))

    def _all_or_each(
        self, wanted: Sequence[_One], read: Callable[[Sequence[_One]], Sequence[JsonObject]]
    ) -> tuple[JsonObject, ...]:
        try:
            return tuple(read(wanted)) if wanted else ()
        except ClusterError as error:
            if len(wanted) == 1 and wanted[0] in self._needed:
                raise
            if len(wanted) == 1:
                self._refused.add(wanted[0])
                self.unread += [] if wanted[0] in self._unmissed else [str(error)]
                return ()
        return tuple(item for one in wanted for item in self._all_or_each([one], read))


def _plural(api_version: str, plural: str) -> str:
    group = api_version.rpartition("/")[0]
    return f"{plural}.{group}" if group else plural
