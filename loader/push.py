"""Images from a complete bundle into a registry: blobs, manifests, tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Optional

from loader.bundle.errors import RegistryError
from loader.bundle.verify import Complete, VerifiedBundle
from loader.meter import Meter
from loader.oci.pushplan import BlobDone, BlobProgress, Event, PushReport
from loader.oci.registry import Registry
from loader.oci.survey import Survey
from loader.oci.transfer import push_images
from loader.site import BundleBodies, PushSet
from loader.units import counted, human

_NAMED = 5
"""Images of one cause that an error names; the report has all."""


def push_bundle(
    complete: Complete,
    what: PushSet,
    registry: Registry,
    survey: Survey,
    *,
    jobs: int,
    meter: Meter,
    more: Sequence[VerifiedBundle] = (),
) -> PushReport:
    """Send what the registry lacks by ``survey``. Manifests and tags need the proof that the whole bundle was verified.

    One image that fails stops no other; the report names it. ``more`` are bundles that fill a delta up.
    ``TrustError`` if a medium changes meanwhile.
    """
    bodies = BundleBodies(complete.bundle, *more)
    return push_images(
        what.images, what.blobs, bodies, registry, jobs=jobs, on_event=Forward(meter), known=survey.known
    )


def require_complete(complete: Optional[Complete]) -> Complete:
    """The proof; pushing without it is a bug."""
    if complete is None:
        raise RuntimeError("pushed before everything was verified")
    return complete


def summary(report: PushReport) -> str:
    """One line: images, blobs sent, mounted and present, and whether all is confirmed."""
    blobs = report.blobs
    verdict = f"{len(report.failed)} FAILED" if report.failed else "digests confirmed"
    copied = f"{blobs.count('copied')} copied, " if blobs.count("copied") else ""
    return (
        f"{_counts(report)}: {counted(blobs.count('sent'), 'blob')} sent "
        f"({human(blobs.bytes_sent)}), {blobs.count('mounted')} mounted, {copied}{blobs.count('present')} present"
        f" · {verdict}"
    )


def _counts(report: PushReport) -> str:
    attached = sum(image.attached for image in report.images)
    images = counted(len(report.images) - attached, "image")
    return f"{images}, {counted(attached, 'attachment')}" if attached else images


def require_base(survey: Survey, what: PushSet, target: str) -> None:
    """Raise one ``RegistryError`` that names every blob a delta builds on and the registry lacks."""
    if survey.lacking:
        places = {
            blob.digest: ", ".join(image.repository for image in what.images if blob.digest in image.blobs)
            for blob in survey.lacking
        }
        raise RegistryError(
            f"{counted(len(survey.lacking), 'blob')} that this delta builds on missing in {target}",
            why="; ".join(f"{blob.digest} ({human(blob.size)}) of {places[blob.digest]}" for blob in survey.lacking),
            hint=f"push what it builds on first, up to the bundle of id {(what.base or '')[:12]} (inspect tells ids),"
            " or give that as further SOURCEs; nothing was sent",
        )


def require_whole(report: PushReport, target: str) -> None:
    """Raise one ``RegistryError`` with every image that failed and why, if any did."""
    if report.failed:
        hints = dict.fromkeys(image.error.hint for image in report.failed if image.error is not None)
        mend = "; ".join(hint for hint in hints if hint) or "mend the cause"
        raise RegistryError(
            f"{_share(report)} could not be pushed to {target}",
            why="; ".join(_causes(report)),
            hint=f"{mend}; then run the same command again: only what is missing is sent",
        )


def _causes(report: PushReport) -> Iterator[str]:
    """What the images failed of, each cause once, with the first of those that it befell."""
    befell: dict[str, list[str]] = {}
    for image in report.failed:
        befell.setdefault(str(image.error), []).append(str(image))
    for cause, names in befell.items():
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        yield f"{', '.join(names[:_NAMED])}{more}: {cause}"


def _share(report: PushReport) -> str:
    """How many of the images failed, and of the attachments, where any did."""
    words = []
    for attached, noun in ((False, "image"), (True, "attachment")):
        mine = [image for image in report.images if image.attached is attached]
        failed = sum(image.error is not None for image in mine)
        if failed:
            words.append(f"{failed} of {counted(len(mine), noun)}")
    return " and ".join(words)


class Forward:
    """Turns push events into bytes done; a retry that starts a blob again moves nothing until it is past."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._done: dict[tuple[str, str], int] = {}

    def __call__(self, event: Event) -> None:
        """Count what an event says of bytes."""
        if isinstance(event, BlobProgress):
            self._reach((event.repository, event.digest), event.done)
            self._meter.item(event.digest[7:19], event.done, event.size)
        elif isinstance(event, BlobDone) and event.outcome == "sent":
            self._reach((event.repository, event.digest), event.size)

    def _reach(self, key: tuple[str, str], done: int) -> None:
        before = self._done.get(key, 0)
        if done > before:
            self._done[key] = done
            self._meter(done - before)
