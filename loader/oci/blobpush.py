"""The blobs of a push: looked for once in each repository, mounted where one has them, else sent once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Callable, Optional

from loader.bundle.errors import RegistryError
from loader.bundle.limits import BIG_MEMBER
from loader.oci.copying import copied_blob
from loader.oci.exchange import Reply
from loader.oci.hints import DAMAGED
from loader.oci.messages import OpenBody
from loader.oci.outage import Outage
from loader.oci.parallel import Lanes, Stopped, in_parallel
from loader.oci.pushplan import BlobBodies, BlobDone, BlobProgress, Known, OnEvent, PushBlob, PushImage, Settled
from loader.oci.registry import Registry

_TELL_EVERY = 2**20
_AHEAD = 2
"""Threads more than send at once, if large blobs wait: they open their uploads, or put manifests meanwhile."""
_KEPT_OPEN = 10.0
"""Seconds that an upload session waits for its turn; one of another age may be gone when its bytes come."""


class BlobPush:
    """All blobs; ``needed``: repositories by digest, ``settled``: what became of them, by (repository, digest).

    ``threads``: how many brought them.
    """

    def __init__(
        self,
        images: Sequence[PushImage],
        bodies: BlobBodies,
        registry: Registry,
        on_event: OnEvent,
        known: Optional[Known],
    ) -> None:
        self._known = known
        self._bodies = bodies
        self._registry = registry
        self._on_event = on_event
        self._stop = threading.Event()
        self._lanes = Lanes(1)
        self.needed: dict[str, dict[str, None]] = {}
        for image in images:
            for digest in image.blobs:
                self.needed.setdefault(digest, {})[image.repository] = None
        self._repositories = list(dict.fromkeys(image.repository for image in images))
        self.settled: dict[tuple[str, str], Settled] = {}
        self.threads = 1
        self._doubted = threading.Lock()
        self.outage = Outage(registry.is_alive)

    def run(self, blobs: Sequence[PushBlob], jobs: int, *, on_done: Callable[[str], None]) -> None:
        """Settle those of ``blobs`` that are needed, and tell ``on_done`` of each once it is."""

        def work(blob: PushBlob) -> None:
            self.bring(blob)
            on_done(blob.digest)

        wanted = [blob for blob in blobs if blob.digest in self.needed]
        self._lanes = Lanes(jobs)
        waiting = max(0, sum(blob.size >= BIG_MEMBER for blob in wanted) - jobs)
        self.threads = jobs + min(_AHEAD, waiting) if jobs > 1 else 1
        in_parallel(work, wanted, self.threads, self._stop)

    @property
    def gone(self) -> Optional[RegistryError]:
        """The error of a registry that does not answer any more, for any repository that is needed."""
        errors = [self.outage.error(repository) for repository in self._repositories]
        return errors[0] if all(errors) and errors else None

    def bring(self, blob: PushBlob) -> None:
        """Bring one blob to every repository that needs it."""
        repositories = self.needed[blob.digest]
        holders: list[str] = []
        missing = []
        for repository in repositories:
            if self._settle(blob, repository, lambda name: self._look(blob, name)) == "present":
                holders.append(repository)
            elif (repository, blob.digest) not in self.settled:
                missing.append(repository)
        for repository in missing:
            outcome = self._settle(blob, repository, lambda name: self._provide(blob, name, holders))
            if outcome != "failed":
                holders.append(repository)

    def send_anyway(self, repository: str, digest: str) -> bool:
        """Send a blob that the registry said it has and then did not know, once for all images that need it.

        ``False`` where its bytes are not at hand.
        """
        with self._doubted:
            before = self.settled[repository, digest]
            if before.outcome != "sent":
                if not self._bodies.has(digest):
                    return False
                blob = PushBlob(digest, before.size)
                self._upload(blob, repository, None)
                self.settled[repository, digest] = Settled("sent", blob.size)
                self._on_event(BlobDone(repository, digest, blob.size, "sent"))
            return True

    def _look(self, blob: PushBlob, repository: str) -> str:
        if self._known is not None:
            there = (repository, blob.digest) in self._known.blobs
        else:
            there = self._registry.head_blob(repository, blob.digest, blob.size, pushing=True)
            self.outage.worked()
        return "present" if there else ""

    def _provide(self, blob: PushBlob, repository: str, holders: Sequence[str]) -> str:
        outcome = self._brought(blob, repository, holders)
        # A registry need not look at what it has when it gets a blob again: distribution keeps the old bytes.
        if self._is_damaged(blob) and not self._has_all_of(blob, repository):
            raise RegistryError(
                f"{self._registry.host} took blob {blob.digest} and still has it in another size",
                why=f"{repository} should have {blob.size} bytes of it",
                hint=DAMAGED,
            )
        self.outage.worked()
        return outcome

    def _has_all_of(self, blob: PushBlob, repository: str) -> bool:
        if self._registry.head_blob(repository, blob.digest, blob.size, pushing=True):
            return True
        # Who stands between may answer HEAD with a length of its own: the last byte is there, or it is not.
        try:
            with self._registry.open_blob(repository, blob.digest, blob.size, max(0, blob.size - 1)) as last:
                return len(last.read(1)) == min(1, blob.size)
        except RegistryError:
            return False

    def _is_damaged(self, blob: PushBlob) -> bool:
        return blob.digest in self._registry.other_sizes

    def _brought(self, blob: PushBlob, repository: str, holders: Sequence[str]) -> str:
        registry, opened = self._registry, None
        for holder in (*holders[:1], *blob.elsewhere):
            if holder != repository and not self._is_damaged(blob):
                registry.drop(repository, opened)
                mounted, opened = registry.mount(repository, blob.digest, holder)
                if mounted:
                    return "mounted"
        # What came from several discs is had from the registry itself: nobody is to insert them again.
        if not blob.at_hand or (blob.parts and holders):
            return self._copy(blob, repository, holders, opened)
        if blob.parts:
            body = partial(self._counted, blob, repository)
            registry.upload_parts(repository, blob.digest, blob.parts, body, opened)
        else:
            self._upload(blob, repository, opened)
        return "sent"

    def _upload(
        self, blob: PushBlob, repository: str, opened: Optional[Reply], copy: Optional[OpenBody] = None
    ) -> None:
        """Send a blob, or its ``copy``, when its turn comes; a large one's session is opened while others are sent."""
        registry = self._registry
        lane = self._lanes.lane()
        if blob.size >= BIG_MEMBER and not lane.enter(0):
            opened = opened or registry.open_upload(repository)
            if not lane.enter(_KEPT_OPEN):
                registry.drop(repository, opened)
                opened = None
                lane.enter()
        try:
            if self._stop.is_set():
                raise _stopped()
            body = partial(self._counted, blob, repository, lane.leave)
            registry.upload_blob(repository, blob.digest, blob.size, copy or body, opened)
        finally:
            lane.leave()

    def _copy(self, blob: PushBlob, repository: str, holders: Sequence[str], opened: Optional[Reply]) -> str:
        """Bring a blob through here from a repository that has it, where the registry did not mount it."""
        registry = self._registry
        for holder in dict.fromkeys((*holders, *blob.elsewhere)):
            if holder != repository and (holder in holders or registry.head_blob(holder, blob.digest, blob.size)):
                body = partial(copied_blob, registry, holder, blob.digest, blob.size, stopped=self._stop.is_set)
                self._upload(blob, repository, opened, body)
                return "copied"
        registry.drop(repository, opened)
        raise RegistryError(
            f"blob {blob.digest} is not in {registry.host}/{repository}",
            why="this bundle is a delta and does not carry it",
            hint="push the bundle it builds on first",
        )

    def _settle(self, blob: PushBlob, repository: str, action: Callable[[str], str]) -> str:
        """Run ``action`` and record what it says (nothing for an empty string); a refusal is an outcome."""
        error = self.outage.error(repository)
        outcome = "failed"
        if error is None:
            try:
                outcome = action(repository)
            except RegistryError as refused:
                error = refused
                self.outage.failed(repository, refused)
        if outcome:
            self.settled[repository, blob.digest] = Settled(outcome, blob.size, error)
            self._on_event(BlobDone(repository, blob.digest, blob.size, outcome))
        return outcome

    @contextmanager
    def _counted(
        self, blob: PushBlob, repository: str, on_end: Callable[[], None] = lambda: None
    ) -> Iterator[Iterator[memoryview]]:
        with self._bodies.open(blob.digest) as chunks:
            yield self._count(chunks, blob, repository, on_end)

    def _count(
        self, chunks: Iterator[memoryview], blob: PushBlob, repository: str, on_end: Callable[[], None]
    ) -> Iterator[memoryview]:
        done = told = 0
        for chunk in chunks:
            if self._stop.is_set():
                raise _stopped()
            yield chunk
            done += len(chunk)
            if done >= told + _TELL_EVERY or done == blob.size:
                told = done
                self._on_event(BlobProgress(repository, blob.digest, done, blob.size))
        on_end()


def _stopped() -> Stopped:
    return Stopped("stopped because another transfer failed")
