"""A cluster in two lines, for the person who is about to change it; pure."""

from __future__ import annotations

from loader.cluster.nodeside import NodeSide
from loader.cluster.platforms import KUBERNETES, OPENSHIFT
from loader.cluster.preflight import PullChecks, Pulls
from loader.cluster.survey import Survey


def cluster_words(found: Survey, side: NodeSide) -> str:
    """Return server, version, kind and topology, who asks, the mirror kinds served, the pools' health."""
    version = f"OpenShift {found.openshift}" if found.openshift else f"Kubernetes {found.kubernetes}"
    kind = "" if side.platform.name in {OPENSHIFT, KUBERNETES} else side.platform.name
    words = [version, *(part for part in (kind, side.topology) if part)]
    served = ", ".join(found.mirror_kinds) or "no mirror kind"
    parts = [f"{' '.join(words)} (context {found.context}, user {found.user})", f"serves {served}"]
    bad = [pool.name for pool in side.pools if pool.degraded or pool.paused or pool.updating]
    if side.pools:
        counted = f"{len(side.pools)} pool{'' if len(side.pools) == 1 else 's'}"
        parts.append(f"{counted}, not at rest: {', '.join(bad)}" if bad else f"{counted} healthy")
    return f"cluster {found.server} {' · '.join(parts)}"


def node_words(side: NodeSide, checks: PullChecks, pulls: Pulls) -> tuple[str, ...]:
    """Return a line on the nodes and on the checks of them that found nothing; none where no node is to be seen."""
    parts = [", ".join(f"{count} {name}" for name, count in sorted(side.architectures.items()))]
    passed = {
        f"every image resolves to {pulls.target} first": checks.resolved,
        f"trust {pulls.target.host}": checks.trust,
        "no login needed" if pulls.anonymous else "can log in": checks.login,
    }
    words = [part for part in (*parts, *(text for text, check in passed.items() if check == ())) if part]
    return (f"nodes {' · '.join(words)}",) if words else ()
