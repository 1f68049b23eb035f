"""Pushing images: every blob first, then manifests, then all tags together.

Two steps, so that the caller can ask for a proof of completeness between them: ``push_blobs`` may run
while a bundle is still being verified, ``push_manifests`` makes images visible.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Callable, Optional

from loader.bundle.errors import AirgapError, RegistryError
from loader.bundle.ocimanifest import INDEX_TYPES
from loader.oci.copying import copied_blob
from loader.oci.parallel import Stopped, in_parallel
from loader.oci.pushplan import (
    BlobBodies,
    BlobDone,
    BlobProgress,
    BlobReport,
    ImageReport,
    ManifestDone,
    OnEvent,
    PushBlob,
    PushImage,
    PushManifest,
    PushReport,
    Settled,
    serial,
)
from loader.oci.registry import LostParts, Registry

DEFAULT_JOBS = 3
_DEAD_AFTER = 3
"""Connection failures in a row, each after all its retries, that mean the registry is gone."""


def push_blobs(
    images: Sequence[PushImage],
    blobs: Sequence[PushBlob],
    bodies: BlobBodies,
    registry: Registry,
    *,
    jobs: int = DEFAULT_JOBS,
    on_event: OnEvent = lambda _: None,
) -> BlobReport:
    """Bring every blob to every repository that needs it, in the order of ``blobs``; each is sent at most once.

    A registry's refusal is recorded and fails the images that need the blob. Any other error (the source is wrong
    or cannot be read) stops all workers and is raised.
    """
    return _BlobPush(images, bodies, registry, serial(on_event)).run(blobs, jobs)


def push_manifests(
    images: Sequence[PushImage],
    blobs: BlobReport,
    registry: Registry,
    *,
    jobs: int = DEFAULT_JOBS,
    on_event: OnEvent = lambda _: None,
    bodies: Optional[BlobBodies] = None,
) -> PushReport:
    """Put the manifests of all images whose blobs are there, confirm every digest, then move the tags together.

    An image that fails leaves its tag where it was and stops no other. With ``bodies`` the blobs of an image are sent
    after all where the registry said it has them and then does not know them: its cache may outlive its disk.
    """
    tell = serial(on_event)
    pushes = [_ManifestPush(image, blobs, registry, tell, bodies) for image in images]
    in_parallel(lambda push: push.attempt(push.place), pushes, jobs)
    in_parallel(lambda push: push.attempt(push.move_tag), pushes, jobs)
    return PushReport(tuple(push.report() for push in pushes), blobs)


class _BlobPush:
    def __init__(self, images: Sequence[PushImage], bodies: BlobBodies, registry: Registry, on_event: OnEvent) -> None:
        self._bodies = bodies
        self._registry = registry
        self._on_event = on_event
        self._stop = threading.Event()
        self._needed: dict[str, list[str]] = {}
        for image in images:
            for digest in image.blobs:
                repositories = self._needed.setdefault(digest, [])
                if image.repository not in repositories:
                    repositories.append(image.repository)
        self._settled: dict[tuple[str, str], Settled] = {}
        self._failures_in_a_row = 0
        self._gone: Optional[RegistryError] = None

    def run(self, blobs: Sequence[PushBlob], jobs: int) -> BlobReport:
        known = {blob.digest for blob in blobs}
        unknown = next((digest for digest in self._needed if digest not in known), None)
        if unknown is not None:
            raise RuntimeError(f"an image needs {unknown}, which is not among the blobs to push")
        in_parallel(self._bring, [blob for blob in blobs if blob.digest in self._needed], jobs, self._stop)
        return BlobReport(dict(self._settled))

    def _bring(self, blob: PushBlob) -> None:
        repositories = self._needed[blob.digest]
        holders: list[str] = []
        missing = []
        for repository in repositories:
            if self._settle(blob, repository, lambda name: self._look(blob, name)) == "present":
                holders.append(repository)
            elif (repository, blob.digest) not in self._settled:
                missing.append(repository)
        for repository in missing:
            outcome = self._settle(blob, repository, lambda name: self._provide(blob, name, holders))
            if outcome != "failed":
                holders.append(repository)

    def _look(self, blob: PushBlob, repository: str) -> str:
        return "present" if self._registry.head_blob(repository, blob.digest, blob.size, pushing=True) else ""

    def _provide(self, blob: PushBlob, repository: str, holders: Sequence[str]) -> str:
        for holder in (*holders[:1], *blob.elsewhere):
            if holder != repository and self._registry.mount(repository, blob.digest, holder):
                return "mounted"
        if not blob.at_hand:
            return self._copy(blob, repository, holders)
        self._registry.upload_blob(repository, blob.digest, blob.size, lambda: self._counted(blob, repository))
        return "sent"

    def _copy(self, blob: PushBlob, repository: str, holders: Sequence[str]) -> str:
        """Bring a blob through here from a repository that has it, where the registry did not mount it."""
        registry = self._registry
        for holder in dict.fromkeys((*holders, *blob.elsewhere)):
            if holder != repository and (holder in holders or registry.head_blob(holder, blob.digest, blob.size)):
                body = partial(copied_blob, registry, holder, blob.digest, blob.size, stopped=self._stop.is_set)
                registry.upload_blob(repository, blob.digest, blob.size, body)
                return "copied"
        raise RegistryError(
            f"blob {blob.digest} is not in {registry.host}/{repository}",
            why="this bundle is a delta and does not carry it",
            hint="push the bundle it builds on first",
        )

    def _settle(self, blob: PushBlob, repository: str, action: Callable[[str], str]) -> str:
        """Run ``action`` and record what it says (nothing for an empty string); a refusal is an outcome."""
        error: Optional[RegistryError] = self._gone
        outcome = "failed"
        if error is None:
            try:
                outcome = action(repository)
                self._failures_in_a_row = 0
            except RegistryError as refused:
                error = refused
                self._count_failure(refused)
        if outcome:
            self._settled[repository, blob.digest] = Settled(outcome, blob.size, error)
            self._on_event(BlobDone(repository, blob.digest, blob.size, outcome))
        return outcome

    def _count_failure(self, error: RegistryError) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if error.status == 0 and error.retryable else 0
        if self._failures_in_a_row >= _DEAD_AFTER:
            self._gone = error

    @contextmanager
    def _counted(self, blob: PushBlob, repository: str) -> Iterator[Iterator[memoryview]]:
        with self._bodies.open(blob.digest) as chunks:
            yield self._count(chunks, blob, repository)

    def _count(self, chunks: Iterator[memoryview], blob: PushBlob, repository: str) -> Iterator[memoryview]:
        done = 0
        for chunk in chunks:
            if self._stop.is_set():
                raise Stopped("stopped because another transfer failed")
            yield chunk
            done += len(chunk)
            self._on_event(BlobProgress(repository, blob.digest, done, blob.size))


class _ManifestPush:
    """One image's second step."""

    def __init__(
        self,
        image: PushImage,
        blobs: BlobReport,
        registry: Registry,
        on_event: OnEvent,
        bodies: Optional[BlobBodies],
    ) -> None:
        self._image = image
        self._registry = registry
        self._on_event = on_event
        self._bodies = bodies
        self._settled = blobs.settled
        self._blobs = [blobs.settled.get((image.repository, digest)) for digest in image.blobs]
        self._sent = 0
        self._tag_moved = False
        self._by_tag_only = False
        failed = next((one for one in self._blobs if one is None or one.outcome == "failed"), None)
        self.error: Optional[AirgapError] = failed.error if failed is not None else None
        if None in self._blobs:
            self.error = RegistryError(f"{image} was not pushed", why="not all of its blobs were")

    def attempt(self, step: Callable[[], None]) -> None:
        """Run a step unless an earlier one failed; a failure is this image's alone."""
        if self.error is not None:
            return
        try:
            step()
        except AirgapError as error:
            self.error = error
            self._on_event(ManifestDone(self._image.repository, self._image.tag or self._image.top.digest, "failed"))

    def place(self) -> None:
        """Put all manifests by digest and confirm each."""
        try:
            self._place_all()
        except LostParts:
            if not self._resend():
                raise
            self._place_all()

    def _place_all(self) -> None:
        for child in self._image.manifests[:-1]:
            self._put(child, child.digest)
        try:
            self._put(self._image.top, self._image.top.digest)
        except LostParts:
            raise
        except RegistryError as error:
            if not self._may_go_by_tag(error):
                raise
            self._by_tag_only = True

    def move_tag(self) -> None:
        """Make the tag name the top manifest, and confirm that it does."""
        image = self._image
        if image.tag is None:
            return
        self._tag_moved = self._put(image.top, image.tag)
        if self._by_tag_only:
            self._confirm(image.top, image.top.digest)

    def report(self) -> ImageReport:
        outcomes = [one.outcome for one in self._blobs if one is not None]
        return ImageReport(
            repository=self._image.repository,
            tag=self._image.tag,
            digest=self._image.top.digest,
            sent=outcomes.count("sent"),
            mounted=outcomes.count("mounted"),
            present=outcomes.count("present"),
            bytes_sent=sum(one.size for one in self._blobs if one is not None and one.outcome == "sent"),
            manifests_sent=self._sent,
            tag_moved=self._tag_moved,
            error=self.error,
        )

    def _resend(self) -> bool:
        """Send what the registry only said it has; ``False`` when there is no such blob with its bytes at hand."""
        bodies, repository = self._bodies, self._image.repository
        doubtful = [
            (digest, self._settled[repository, digest].size)
            for digest in self._image.blobs
            if self._settled[repository, digest].outcome != "sent" and bodies is not None and bodies.has(digest)
        ]
        if bodies is None or not doubtful:
            return False
        for digest, size in doubtful:
            self._registry.upload_blob(repository, digest, size, partial(bodies.open, digest))
            self._on_event(BlobDone(repository, digest, size, "sent"))
        return True

    def _put(self, manifest: PushManifest, reference: str) -> bool:
        repository = self._image.repository
        there = self._registry.head_manifest(repository, reference, pushing=True)
        if there is not None and there.digest == manifest.digest:
            self._on_event(ManifestDone(repository, reference, "present"))
            return False
        self._registry.put_manifest(repository, reference, manifest.data, manifest.media_type)
        self._confirm(manifest, reference)
        self._sent += 1
        self._on_event(ManifestDone(repository, reference, "sent"))
        return True

    def _confirm(self, manifest: PushManifest, reference: str) -> None:
        found = self._registry.head_manifest(self._image.repository, reference, pushing=True)
        if found is None or found.digest != manifest.digest:
            raise RegistryError(
                f"{self._registry.host} does not confirm {self._image}",
                why=f"{reference} should be {manifest.digest}, it is {found.digest if found else 'not there'}",
            )

    def _may_go_by_tag(self, error: RegistryError) -> bool:
        # OpenShift's registry before 4.13 takes no manifest by digest, and no index at all.
        is_index = self._image.top.media_type in INDEX_TYPES
        return self._image.tag is not None and not is_index and error.status in {400, 404, 405, 500}
