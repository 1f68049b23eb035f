"""What the machine-config operator makes of the mirror objects that are there now, to be met by what it rendered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Optional

from loader.bundle.errors import ClusterError
from loader.cluster.kubectl import Kubectl
from loader.cluster.merge import Merged, items_in, merge, sources_of
from loader.cluster.objects import objects_in, text
from loader.cluster.registriestoml import Registries
from loader.cluster.versions import parse_openshift

_CONFIG = "/apis/config.openshift.io/v1"
_LISTS = {
    "ImageDigestMirrorSet": f"{_CONFIG}/imagedigestmirrorsets",
    "ImageContentSourcePolicy": "/apis/operator.openshift.io/v1alpha1/imagecontentsourcepolicies",
    "ImageTagMirrorSet": f"{_CONFIG}/imagetagmirrorsets",
}


def merged_now(kubectl: Kubectl) -> Optional[Merged]:
    """Return what follows from all mirror objects of the cluster, None where this login may not see them all.

    Raises ``ClusterError`` where the API server does not answer.
    """
    objects: list[dict[str, Any]] = []
    try:
        for kind, path in _LISTS.items():
            objects += ({**item, "kind": kind} for item in objects_in(kubectl.get_raw(path), "items"))
        image_config = kubectl.get_raw(f"{_CONFIG}/images/cluster")
        version = text(kubectl.get_raw(f"{_CONFIG}/clusterversions/version"), "status", "desired", "version")
    except ClusterError as error:
        if error.retryable:
            raise
        return None
    kinds = {item["kind"] for item in objects}
    return merge(items_in(objects), sources_of(image_config), version=parse_openshift(version), kinds=kinds)


def agree(one: Registries, other: Registries, sources: Iterable[str]) -> bool:
    """Tell whether nodes pull what ``sources`` name alike: the same mirrors in order, the same leave to go past them.

    A source without an entry is like one that has no mirror. Pure.
    """
    return all(_way(one, source) == _way(other, source) for source in sources)


def _way(conf: Registries, source: str) -> tuple[bool, tuple[str, ...], tuple[str, ...]]:
    entry = conf.by_scope.get(source)
    return (entry.blocked, entry.locations(), entry.locations(tags=True)) if entry else (False, (), ())
