"""Images from a media set in one drive: each blob is sent as its bytes come by, checked, and manifests last of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Optional

from loader.bundle.verify import Complete, VerifiedBundle
from loader.media.onedrive import OneDrive
from loader.media.savedpass import SavedPass
from loader.meter import Meter
from loader.oci.pushplan import Known, PushBlob, PushReport
from loader.oci.registry import Registry
from loader.oci.survey import Survey
from loader.oci.transfer import ImagePush
from loader.push import Forward
from loader.site import BundleBodies, PushSet


class _DriveBodies:
    """Blobs of the discs as the pass has them, and of further bundles. ``at_hand`` is a small one that came by."""

    def __init__(self, drive: OneDrive, more: Sequence[VerifiedBundle]) -> None:
        self.numbers = drive.one.blobs()
        self.at_hand: dict[str, bytes] = {}
        self._drive = drive
        self._more = BundleBodies(*more)

    def open(self, digest: str, /) -> AbstractContextManager[Iterator[memoryview]]:
        """Open a blob from its first byte; of the discs, the one it begins on may be asked for."""
        return self._opened(digest) if digest in self.numbers else self._more.open(digest)

    def has(self, digest: str, /) -> bool:
        """Tell whether the discs or a further bundle carry the blob."""
        return digest in self.numbers or self._more.has(digest)

    @contextmanager
    def _opened(self, digest: str) -> Iterator[Iterator[memoryview]]:
        small = self.at_hand.get(digest)
        if small is not None:
            yield iter([memoryview(small)])
        elif self._drive.one.is_big(self.numbers[digest]):
            yield self._drive.one.content(self.numbers[digest])
        else:
            yield self._drive.one.bundle.open_blob(digest)


def push_from_drive(
    drive: OneDrive,
    what: PushSet,
    registry: Registry,
    survey: Survey,
    *,
    jobs: int,
    meter: Meter,
    more: Sequence[VerifiedBundle] = (),
    saved: Optional[SavedPass] = None,
) -> tuple[PushReport, Complete]:
    """Send what the registry lacks, disc after disc; manifests and tags follow when every byte was verified.

    What was checked before and is in the registry is not read, nor is a disc asked for that has nothing else.
    ``saved`` keeps what was checked for a later run. Raises ``MissingVolume`` for a disc that nobody inserts.
    """
    bodies = _DriveBodies(drive, more)
    push = ImagePush(what.images, bodies, registry, on_event=Forward(meter), known=survey.known)
    pushing = _DrivePush(drive, what, bodies, push, survey.known)
    # A blob that is somewhere in the registry is mounted or copied there: no disc is needed for it.
    pushing.push.blobs.run(pushing.elsewhere(what.blobs), jobs, on_done=lambda _: None)
    media = drive.drive.media

    def take(number: int) -> None:
        pushing.take(number)
        if saved is not None:
            saved.save(media, drive.one, now=False)

    drive.begin()
    try:
        drive.run(pushing.numbers(resumed=saved is not None and saved.resumed), take)
    finally:
        if saved is not None:
            saved.save(media, drive.one)
    return pushing.push.finish(jobs), drive.complete(pushing.waived)


class _DrivePush:
    """What is still to be sent of the discs: ``sending``, by digest."""

    def __init__(
        self,
        drive: OneDrive,
        what: PushSet,
        bodies: _DriveBodies,
        push: ImagePush,
        known: Optional[Known],
    ) -> None:
        self._one = drive.one
        self._drive = drive
        self._bodies = bodies
        self.push = push
        self.waived: list[int] = []
        held = {digest for _, digest in known.blobs} if known is not None else set()
        self._sending = {
            blob.digest: blob
            for blob in what.blobs
            if blob.digest in self._bodies.numbers and blob.digest in self.push.blobs.needed and blob.digest not in held
        }
        self._big = {self._bodies.numbers[digest]: digest for digest in self._sending}
        self._big = {number: digest for number, digest in self._big.items() if drive.one.is_big(number)}
        self._small = {self._bodies.numbers[digest] for digest in self._sending} - self._big.keys()

    def elsewhere(self, blobs: Sequence[PushBlob]) -> list[PushBlob]:
        """What needs no disc: blobs of further bundles, and those that the registry has somewhere."""
        on_discs = self._bodies.numbers
        rest = [blob for blob in blobs if blob.digest not in self._sending]
        return [replace(blob, at_hand=False) if blob.digest in on_discs else blob for blob in rest]

    def numbers(self, *, resumed: bool) -> list[int]:
        """The spans to read: to send, to check, or both; of an interrupted push those alone that are to be sent.

        What that one left unchecked is in the registry by its digest, and no disc is asked for it.
        """
        needed = {*self._big, *self._small}
        if resumed:
            self.waived = [number for number in self._one.left if number not in needed]
        return sorted(needed if resumed else {*self._one.left, *needed})

    def take(self, number: int) -> None:
        """Read one span: send what it has that is needed, and check what is not checked by that."""
        digest = self._big.get(number)
        if digest is not None and digest in self._sending:
            self._send(digest, self._drive.parts(number))
        if self._one.is_left(number) or number in self._small:
            self._one.check(number, lambda _: None, self._send_small)

    def _send_small(self, digest: str, content: bytes) -> None:
        if digest in self._sending:
            self._bodies.at_hand = {digest: content}
            self._send(digest)

    def _send(self, digest: str, parts: tuple[int, ...] = ()) -> None:
        self.push.blobs.bring(replace(self._sending[digest], parts=parts))
        del self._sending[digest]
        if self.push.blobs.gone is not None:
            raise self.push.blobs.gone
