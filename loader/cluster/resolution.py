"""Where a node would pull an image from, given its registries.conf; pure.

The rules are those of containers/image ``pkg/sysregistriesv2``, which :mod:`loader.oci.registriesconf` has for our
own pulls; here they are asked on a node's behalf.
"""

from __future__ import annotations

from functools import cached_property

from loader.bundle.errors import ConfigError
from loader.cluster.registriestoml import Registries, Registry
from loader.oci.model import ImageRef
from loader.oci.registriesconf import Mirror, RegistriesConf, RegistryEntry


class Resolver:
    """Answers for one file; an answer is ``host/repository`` of each endpoint in the order they are tried."""

    def __init__(self, conf: Registries) -> None:
        self._conf = conf

    @cached_property
    def _rules(self) -> RegistriesConf:
        return RegistriesConf(tuple(_entry(entry) for entry in self._conf.entries))

    def endpoints(self, ref: ImageRef) -> tuple[str, ...]:
        """Return the endpoints of ``ref`` that a node may contact; none where all are blocked.

        ``blocked`` is judged for each place contacted, so a mirror inside a blocked scope is blocked as well.
        Raises ``ConfigError`` where the file turns the name into no name: the pull fails before any endpoint is
        tried (a source that is a bare host, and an image of that host with a port).
        """
        entry = self._rules.find(ref.name)
        if entry is not None and entry.blocked and not entry.mirrors:
            return ()
        try:
            found = self._rules.pull_endpoints(ref)
        except ConfigError as error:
            if "blocked" in error.message:
                return ()
            raise
        places = [f"{one.host}/{one.repository}" for one in found]
        return tuple(place for place in places if place == ref.name or not self.is_blocked(place))

    def is_blocked(self, place: str) -> bool:
        """Tell whether a node may not contact ``host/repository``."""
        entry = self._rules.find(place)
        return entry is not None and entry.blocked

    def is_insecure(self, place: str) -> bool:
        """Tell whether a node takes http and any certificate from ``host/repository``."""
        entry = self._rules.find(place)
        return entry is not None and entry.insecure


def _entry(entry: Registry) -> RegistryEntry:
    unsaid = "digest-only" if entry.digest_only else "all"
    mirrors = tuple(Mirror(item.location, item.insecure, item.pull or unsaid) for item in entry.mirrors)
    return RegistryEntry(entry.scope, entry.location, entry.insecure, entry.blocked, mirrors)
