"""The neighbours of an image that comes from a registry, as the registry tells them."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Optional

from bundler.neighbours import Tagged
from loader.bundle.errors import RegistryError
from loader.oci.registry import Registry
from loader.oci.sources import RegistryImage, Repository

_NOT_FOUND = 404


class TagLists:
    """The tags of each repository, asked for once; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lists: dict[tuple[str, str], Future[Optional[frozenset[str]]]] = {}

    def of(self, registry: Registry, repository: str) -> Optional[frozenset[str]]:
        """Return the list of ``repository``; whoever asks first asks the registry."""
        key = (registry.host, repository)
        with self._lock:
            found = self._lists.get(key)
            mine = found is None
            if found is None:
                found = self._lists[key] = Future()
        if mine:
            listed = None
            try:
                listed = registry.tags(repository)
            finally:
                # Whoever waits goes on without a list.
                found.set_result(listed)
        return found.result()


class RepositoryNeighbours:
    """The neighbours of an image that came from a registry, as ``place`` has them.

    A list of tags that does not name the image's own tag is of another time or place (a cache), and counts as none.
    """

    def __init__(self, place: Repository, tag: Optional[str], lists: TagLists) -> None:
        self._place = place
        self._tag = tag
        self._lists = lists

    def tagged(self, tag: str) -> Optional[Tagged]:
        """Return what ``tag`` names."""
        try:
            return RegistryImage(self._place.registry, self._place.repository, tag)
        except RegistryError as error:
            if error.status == _NOT_FOUND:
                return None
            raise

    def tags(self) -> Optional[frozenset[str]]:
        """Return all tags."""
        listed = self._lists.of(self._place.registry, self._place.repository)
        return listed if listed is not None and self._tag in {None, *listed} else None

    def referrers(self, subject: str) -> Optional[tuple[str, ...]]:
        """Ask the referrers API."""
        return self._place.registry.referrers(self._place.repository, subject)
