"""What a cluster's pods really run, by digest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from bundler.discovery import Found, Occurrence
from loader.bundle.digest import is_digest
from loader.bundle.errors import ClusterError, ConfigError
from loader.cluster.process import Runner
from loader.oci.model import ImageRef

_TIMEOUT = 120.0
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


def running_images(program: Sequence[str], run: Runner) -> Found:
    """Ask ``program`` (kubectl or oc with its options) for every pod and return the images they run.

    Raises ``ClusterError`` with the cluster's words, as where listing is forbidden.
    """
    done = run([*program, "get", "pods", "--all-namespaces", "--output", "json"], stdin=b"", timeout=_TIMEOUT)
    if done.status:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise ClusterError(
            "the cluster's pods cannot be listed",
            why=" ".join(words) or f"exit status {done.status}",
            hint="a login that may list pods in all namespaces is needed",
        )
    try:
        pods = json.loads(done.stdout)["items"]
        occurrences = [found for pod in pods for found in _pod(pod)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ClusterError("the cluster's list of pods cannot be read", why=str(error)) from error
    return Found(occurrences)


def _pod(pod: Any) -> Iterator[Occurrence]:
    metadata = pod["metadata"]
    name = f"{metadata.get('namespace', '')}/{metadata['name']}"
    spec = pod.get("spec") or {}
    wanted = {item["name"]: item.get("image", "") for key in _CONTAINERS for item in spec.get(key) or ()}
    for key in _STATUSES:
        for status in (pod.get("status") or {}).get(key) or ():
            # A runtime may know an image by its id alone; then the pod's own word is the name.
            text = wanted.get(status["name"], "") if status["image"].startswith("sha256:") else status["image"]
            yield _running(text or status["image"], status, f"Pod {name}, container {status['name']}")


def _running(text: str, status: Any, why: str) -> Occurrence:
    """Return the image by the digest that was pulled: the runtime's ``imageID`` has it, in several forms."""
    try:
        if text.startswith("sha256:"):
            raise ConfigError("an image id is no name")
        image = ImageRef.parse(text)
    except ConfigError:
        return Occurrence(text, None, why, "cluster", False)
    digest = str(status.get("imageID", "")).rpartition("@")[2]
    if image.digest is None and is_digest(digest):
        image = replace(image, digest=digest)
    return Occurrence(str(image), image, why, "cluster", True)
