"""Before the first byte is sent: what the registry is and can do, what it has, and which images it will not take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from loader.bundle.errors import RegistryError
from loader.oci.pushplan import PushImage, PushReport, not_begun
from loader.oci.registry import Registry
from loader.oci.results import Ping
from loader.oci.survey import Survey, survey_push
from loader.oci.trial import try_registry
from loader.push import require_base
from loader.site import PushSet


@dataclass(frozen=True)
class Admission:
    """``refused``: images by name that are not even begun, each with its cause."""

    ping: Ping
    survey: Survey
    refused: Mapping[str, RegistryError] = field(default_factory=dict)


def ask_registry(
    registry: Registry, what: PushSet, target: str, *, jobs: int, trial: bool, say: Callable[[str, str], None]
) -> Admission:
    """Ask what there is to ask. With ``trial`` try what has to be sent, too; else nothing is written.

    ``RegistryError`` if it takes none of the images, if a delta lacks what it builds on, and without a trial if
    it refuses any of them.
    """
    found = registry.ping()
    survey = survey_push(what.images, what.blobs, registry, jobs=jobs)
    barred = survey.barred
    refused = {str(image): barred[image.repository] for image in what.images if image.repository in barred}
    if barred and not trial:
        raise next(iter(barred.values()))
    if len(refused) == len(what.images):
        _tell(refused, what.images, say)
    require_base(survey, what, target)
    words = [found.scheme, *([found.kind or found.server] if found.kind or found.server else [])]
    abilities = ""
    if trial and _has_work(survey):
        left = [image for image in what.images if str(image) not in refused]
        tried = try_registry(registry, found.kind, left, survey.known)
        refused.update(tried.refused)
        words = [found.scheme, *([tried.kind or found.server] if tried.kind or found.server else []), "push allowed"]
        abilities = tried.words()
    say("preflight", f"registry {target} ok ({', '.join(words)})")
    if abilities:
        say("preflight", f"registry {abilities}")
    _tell(refused, what.images, say)
    return Admission(found, survey.only(begun(what, refused).images) if refused else survey, refused)


def begun(what: PushSet, refused: Mapping[str, RegistryError]) -> PushSet:
    """Return the images of ``what`` that are not ``refused``; blobs that none of them needs are left alone."""
    return replace(what, images=tuple(image for image in what.images if str(image) not in refused))


def all_told(report: PushReport, what: PushSet, refused: Mapping[str, RegistryError]) -> PushReport:
    """Return the report of a push with the ``refused`` images in their places."""
    done = iter(report.images)
    images = (not_begun(image, refused[str(image)]) if str(image) in refused else next(done) for image in what.images)
    return replace(report, images=tuple(images))


def _has_work(survey: Survey) -> bool:
    return bool(survey.send) or any(move.before != move.after for move in survey.tags)


def _tell(refused: Mapping[str, RegistryError], images: tuple[PushImage, ...], say: Callable[[str, str], None]) -> None:
    """Warn of each image that is left out; if that is all of them, the first cause is the error."""
    everything = len(refused) == len({str(image) for image in images})
    # A login that is missing is no matter of images.
    logged_out = everything and all(error.status == 401 for error in refused.values())
    for name, error in refused.items() if len(images) > 1 and not logged_out else ():
        say("warning", f"{name} is not begun: {error}")
    if refused and everything:
        raise next(iter(refused.values()))
