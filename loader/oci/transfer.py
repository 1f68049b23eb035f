"""Pushing images: one queue of blobs, each image's manifests as soon as its blobs are there, all tags together.

The caller has the proof that the source is complete before it calls.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Optional

from loader.bundle.errors import AirgapError
from loader.oci.blobpush import BlobPush
from loader.oci.manifestpush import ManifestPush
from loader.oci.parallel import in_parallel
from loader.oci.pushplan import (
    BlobBodies,
    BlobReport,
    Known,
    OnEvent,
    PushBlob,
    PushImage,
    PushReport,
    serial,
)
from loader.oci.referrers import link_referrers
from loader.oci.registry import Registry

DEFAULT_JOBS = 3


def push_images(
    images: Sequence[PushImage],
    blobs: Sequence[PushBlob],
    bodies: BlobBodies,
    registry: Registry,
    *,
    jobs: int = DEFAULT_JOBS,
    on_event: OnEvent = lambda _: None,
    known: Optional[Known] = None,
) -> PushReport:
    """Bring every blob to every repository that needs it, in the order of ``blobs``, and each image after its own.

    A blob is sent at most once. Manifests follow as soon as their image's blobs are there; the tags of all move last
    and together, and then what refers to another manifest is made to be found from it. ``known`` is what a survey
    found, which is not asked again. An image that fails leaves its tag where it was and stops no other; where the
    registry said it has a blob and then does not know it, it is sent after all. Any error that is not the registry's
    (the source is wrong or cannot be read) stops all workers and is raised.
    """
    push = ImagePush(images, bodies, registry, on_event=on_event, known=known)
    listed = {blob.digest for blob in blobs}
    unknown = next((digest for digest in push.blobs.needed if digest not in listed), None)
    if unknown is not None:
        raise RuntimeError(f"an image needs {unknown}, which is not among the blobs to push")
    waiting = _Waiting(push.manifests, push.blobs.needed)
    push.blobs.run(blobs, jobs, on_done=waiting.place_what_is_ready)
    return push.finish(jobs)


class ImagePush:
    """A push in two steps, for a caller who has the proof that the source is complete only between them."""

    def __init__(
        self,
        images: Sequence[PushImage],
        bodies: BlobBodies,
        registry: Registry,
        *,
        on_event: OnEvent = lambda _: None,
        known: Optional[Known] = None,
    ) -> None:
        tell = serial(on_event)
        self._registry = registry
        self.blobs = BlobPush(images, bodies, registry, tell, known)
        blobs = self.blobs
        make = partial(
            ManifestPush,
            settled=blobs.settled,
            registry=registry,
            on_event=tell,
            send_anyway=blobs.send_anyway,
            placed=set(),
            outage=blobs.outage,
            known=known,
        )
        self.manifests = [make(image) for image in images]

    def finish(self, jobs: int) -> PushReport:
        """Put what is left of the manifests, then move the tags, then link what refers to another manifest."""
        pushes, jobs = self.manifests, max(jobs, self.blobs.threads)
        in_parallel(lambda push: push.attempt(push.place), pushes, jobs)
        in_parallel(lambda push: push.attempt(push.move_tag), pushes, jobs)
        in_parallel(partial(_link, self._registry), list(_by_subject(pushes).items()), jobs)
        return PushReport(tuple(push.report() for push in pushes), BlobReport(dict(self.blobs.settled)))


def _by_subject(pushes: Sequence[ManifestPush]) -> dict[tuple[str, str], list[ManifestPush]]:
    """Group what refers to something by (repository, subject): one index names them all."""
    groups: dict[tuple[str, str], list[ManifestPush]] = {}
    for push in pushes:
        if push.image.subject is not None and push.error is None:
            groups.setdefault((push.image.repository, push.image.subject), []).append(push)
    return groups


def _link(registry: Registry, item: tuple[tuple[str, str], list[ManifestPush]]) -> None:
    (repository, subject), pushes = item
    try:
        link_referrers(registry, repository, subject, [push.image.top for push in pushes])
    except AirgapError as error:
        for push in pushes:
            push.error = error


class _Waiting:
    """Counts the blobs that images wait for; whoever settles the last one puts the image's manifests."""

    def __init__(self, pushes: Sequence[ManifestPush], needed: Mapping[str, object]) -> None:
        self._lock = threading.Lock()
        self._left = [len(set(push.image.blobs)) for push in pushes]
        self._of_blob: dict[str, list[int]] = {digest: [] for digest in needed}
        self._pushes = pushes
        for number, push in enumerate(pushes):
            for digest in set(push.image.blobs):
                self._of_blob[digest].append(number)

    def place_what_is_ready(self, digest: str) -> None:
        """Put the manifests of every image that waited for ``digest`` alone."""
        ready = []
        with self._lock:
            for number in self._of_blob[digest]:
                self._left[number] -= 1
                if not self._left[number]:
                    ready.append(self._pushes[number])
        for push in ready:
            push.attempt(push.place)
