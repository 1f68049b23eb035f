"""New entries of registries.conf that take their names away from a wider one: its mirrors, its block; pure.

The longest source wins, and sources never combine (containers/image ``pkg/sysregistriesv2``): every name in
``docker.io/ceph``, of workloads that no bundle knows too, leaves the entry of ``docker.io``.
"""

from __future__ import annotations

from collections.abc import Iterator

from loader.cluster.finding import Finding
from loader.cluster.registriestoml import TAG_ONLY, Registries, Registry
from loader.mirrors import scopes_of


def shadow_findings(before: Registries, after: Registries) -> Iterator[Finding]:
    """Yield a warning for every entry of ``before`` that names of new entries in ``after`` have left."""
    old = before.by_scope
    new = [entry for entry in after.entries if entry.scope not in old]
    for scope, wider in old.items():
        inside = [entry for entry in new if _next_wider(entry.scope, old) == scope]
        losing = [entry.scope for entry in inside if _lost(entry, wider)]
        if losing:
            places = dict.fromkeys(place for entry in inside for place in _lost(entry, wider))
            text = f"names in {', '.join(losing)} no longer ask the mirrors that {scope} has: {', '.join(places)}"
            hint = (
                "other workloads may need them: give these sources those mirrors as well, in a mirror object of the "
                "site's own, before the load"
            )
            yield Finding("warning", text, hint)
        opened = [entry.scope for entry in inside if wider.blocked and not entry.blocked]
        if opened:
            text = f"{scope} is never contacted, and names in {', '.join(opened)} will be: the longer source wins"
            yield Finding("warning", text, "build the bundle with mirrors.neverContactSource: true")


def _next_wider(scope: str, entries: dict[str, Registry]) -> str:
    return next((outer for outer in scopes_of(scope) if outer != scope and outer in entries), "")


def _lost(entry: Registry, wider: Registry) -> list[str]:
    """Return the mirrors of ``wider`` that names in ``entry`` had and have no more, those for tags alone marked."""
    rest = "" if wider.prefix else entry.scope[len(wider.scope) :]
    kept = {(mirror.location, mirror.pull) for mirror in entry.mirrors}
    lost = [mirror for mirror in wider.mirrors if (mirror.location + rest, mirror.pull) not in kept]
    return [f"{mirror.location}{' (by tag)' if mirror.pull == TAG_ONLY else ''}" for mirror in lost]
