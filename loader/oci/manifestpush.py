"""One image's manifests into a registry: children, index, confirmation, then the tag.

An image that fails leaves its tag where it was; its error is kept for the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Callable, Optional

from loader.bundle.errors import AirgapError, RegistryError
from loader.bundle.ocimanifest import INDEX_TYPES
from loader.oci.hints import GHOST
from loader.oci.outage import Outage
from loader.oci.pushplan import (
    ImageReport,
    Known,
    ManifestDone,
    OnEvent,
    PushImage,
    PushManifest,
    Settled,
)
from loader.oci.registry import Registry
from loader.oci.results import LostParts


class ManifestPush:
    """One image's second step. ``settled`` says what became of its blobs, all of them once :meth:`place` is called.

    ``send_anyway`` sends a blob that the registry only said it has, and returns whether it is there now for that.
    ``placed``: (repository, digest, was it asked for) of every manifest that is there, shared by the images of a push:
    the second tag of an image, or another index with the same child, puts nothing again.
    """

    def __init__(
        self,
        image: PushImage,
        settled: Mapping[tuple[str, str], Settled],
        registry: Registry,
        on_event: OnEvent,
        *,
        send_anyway: Callable[[str, str], bool] = lambda repository, digest: False,
        placed: set[tuple[str, str, bool]],
        outage: Outage,
        known: Optional[Known] = None,
    ) -> None:
        self.image = image
        self.error: Optional[AirgapError] = None
        self._registry = registry
        self._on_event = on_event
        self._send_anyway = send_anyway
        self._settled = settled
        self._known = known
        self._placed_by_push = placed
        self._outage = outage
        self._placed = False
        self._sent = 0
        self._tag_moved = False
        self._by_tag_only = False

    def attempt(self, step: Callable[[], None]) -> None:
        """Run a step unless an earlier one failed, or the registry is gone; a failure is this image's alone."""
        if self.error is not None:
            return
        self.error = self._outage.error(self.image.repository)
        try:
            if self.error is None:
                step()
        except AirgapError as error:
            self.error = error
            if isinstance(error, RegistryError):
                self._outage.failed(self.image.repository, error)
        if self.error is not None:
            self._on_event(ManifestDone(self.image.repository, self.image.tag or self.image.top.digest, "failed"))

    def place(self) -> None:
        """Put all manifests by digest, once, and have them confirmed."""
        if self._placed:
            return
        self._placed = True
        failed = next((one for one in self._blobs() if one.outcome == "failed"), None)
        if failed is not None:
            self.error = failed.error
            return
        # As it is now: another image may be sending the same blobs meanwhile.
        doubtful = [digest for digest, one in zip(self.image.blobs, self._blobs()) if one.outcome != "sent"]
        lost = self._lost_parts()
        if lost is None:
            return
        named = [digest for digest in doubtful if digest in lost.named]
        # Some registries name all that they miss, some the first of it, some none; each answer costs the retries.
        rounds = [named, [digest for digest in doubtful if digest not in named]] if named else [doubtful]
        for digests in rounds:
            absent = self._resend(digests)
            if absent and lost.hint == GHOST:
                lost.hint = f"{GHOST}: give what this delta builds on as further SOURCEs, whose blobs are sent then"
            if len(absent) == len(digests):
                break
            lost = self._lost_parts()
            if lost is None:
                return
        raise lost

    def _lost_parts(self) -> Optional[LostParts]:
        """Put all manifests; return the refusal where the registry lacks parts of them."""
        try:
            self._place_all()
        except LostParts as lost:
            return lost
        return None

    def _blobs(self) -> list[Settled]:
        return [self._settled[self.image.repository, digest] for digest in self.image.blobs]

    def _place_all(self) -> None:
        # No registry has a manifest whose blobs it lacked a moment ago: putting it costs less than asking first.
        ask = all(one.outcome == "present" for one in self._blobs())
        for child in self.image.manifests[:-1]:
            self._put_once(child, ask=ask)
        try:
            self._put_once(self.image.top, ask=ask)
        except LostParts:
            raise
        except RegistryError as error:
            if not self._may_go_by_tag(error):
                raise
            self._by_tag_only = True

    def move_tag(self) -> None:
        """Make the tag name the top manifest, and confirm that it does."""
        image = self.image
        if image.tag is None:
            return
        # A tag that named something else when it was asked for is put at once; what it names afterwards is asked.
        ask = self._known is None or self._known.tags.get((image.repository, image.tag)) == image.top.digest
        self._tag_moved = self._put(image.top, image.tag, ask=ask)
        if self._by_tag_only:
            self._confirm(image.top, image.top.digest)

    def report(self) -> ImageReport:
        """What became of the image; call it last."""
        blobs = self._blobs()
        outcomes = [one.outcome for one in blobs]
        return ImageReport(
            repository=self.image.repository,
            tag=self.image.tag,
            digest=self.image.top.digest,
            sent=outcomes.count("sent"),
            mounted=outcomes.count("mounted"),
            present=outcomes.count("present"),
            bytes_sent=sum(one.size for one in blobs if one.outcome == "sent"),
            manifests_sent=self._sent,
            tag_moved=self._tag_moved,
            error=self.error,
            attached=self.image.attached,
        )

    def _resend(self, digests: Sequence[str]) -> list[str]:
        """Send what the registry only said it has; return those of ``digests`` whose bytes are not at hand."""
        return [digest for digest in digests if not self._send_anyway(self.image.repository, digest)]

    def _put_once(self, manifest: PushManifest, *, ask: bool) -> None:
        repository, digest = self.image.repository, manifest.digest
        as_top = manifest is self.image.top
        if (repository, digest, False) not in self._placed_by_push:
            self._put(manifest, digest, ask=ask)
        else:
            # An image's top is asked for after it was put, a child is not: having been a child is not enough for a top.
            if (repository, digest, as_top) not in self._placed_by_push:
                self._confirm(manifest, digest)
            self._on_event(ManifestDone(repository, digest, "present"))
        self._placed_by_push.update((repository, digest, role) for role in {False, as_top})

    def _put(self, manifest: PushManifest, reference: str, *, ask: bool) -> bool:
        repository = self.image.repository
        if ask and self._is_there(manifest, reference):
            self._on_event(ManifestDone(repository, reference, "present"))
            return False
        confirmed = self._registry.put_manifest(repository, reference, manifest.data, manifest.media_type)
        # A child that the answer named is asked for by the index; what nodes and people name is asked for here.
        if not confirmed or manifest is self.image.top:
            self._confirm(manifest, reference)
        self._outage.worked()
        self._sent += 1
        self._on_event(ManifestDone(repository, reference, "sent"))
        return True

    def _is_there(self, manifest: PushManifest, reference: str) -> bool:
        there = self._registry.head_manifest(self.image.repository, reference, pushing=True)
        return there is not None and there.digest == manifest.digest

    def _confirm(self, manifest: PushManifest, reference: str) -> None:
        found = self._registry.head_manifest(self.image.repository, reference, pushing=True, due=True)
        if found is None or found.digest != manifest.digest:
            raise RegistryError(
                f"{self._registry.host} does not confirm {self.image}",
                why=f"{reference} should be {manifest.digest}, it is {found.digest if found else 'not there'}",
            )

    def _may_go_by_tag(self, error: RegistryError) -> bool:
        # OpenShift's registry before 4.13 takes no manifest by digest, and no index at all.
        is_index = self.image.top.media_type in INDEX_TYPES
        return self.image.tag is not None and not is_index and error.status in {400, 404, 405, 500}
