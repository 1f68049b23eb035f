"""What a registry can do, found out by asking and trying before the first blob is sent.

Nobody lists these things: versions lie behind proxies, and the same product is configured in many ways. So small
manifests are put whose parts do not exist. A registry that could take the like says that it does not know the parts;
one that cannot says something else. What is stored for all that is taken back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional

from loader.bundle.digest import digest_of
from loader.bundle.errors import RegistryError
from loader.bundle.ocimanifest import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Descriptor,
    parse_manifest,
)
from loader.oci.exchange import Reply
from loader.oci.hints import NO_DOCKER_TYPES, NO_LISTS, NO_SPARSE
from loader.oci.kinds import OPENSHIFT, ZOT
from loader.oci.pushplan import Known, PushImage
from loader.oci.registry import Registry

_NOWHERE = digest_of(b"a part of a trial manifest: it is nowhere, and the manifest is refused for that")
_UNKNOWN = frozenset({"MANIFEST_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})
_REFUSALS = frozenset({400, 404, 405, 415, 500, 501})
_FAMILIES = {
    DOCKER_LIST: (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER),
    OCI_INDEX: (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER_GZIP),
}


@dataclass(frozen=True)
class Answer:
    """What came of a trial: ``taken`` without its parts, ``known`` but for them, ``refused``, or ``unclear``."""

    outcome: str
    reply: Optional[Reply] = field(default=None, repr=False)


@dataclass
class Trial:
    """Yes, no, or ``None`` where nobody asked or the answer was not clear; ``refused``: images by name, and why."""

    kind: str = ""
    by_digest: Optional[bool] = None
    mounts: Optional[bool] = None
    pieces: Optional[bool] = None
    lists: Optional[bool] = None
    sparse: Optional[bool] = None
    oci: Optional[bool] = None
    docker: Optional[bool] = None
    referrers: Optional[bool] = None
    refused: dict[str, RegistryError] = field(default_factory=dict)

    def words(self) -> str:
        """Return one line for people: what it takes, and what it does not."""
        asked = {
            "push by digest": self.by_digest,
            "mounts": self.mounts,
            "uploads in pieces": self.pieces,
            "manifest lists": self.lists,
            "sparse indexes": self.sparse,
            "OCI types": self.oci,
            "Docker types": self.docker,
            "referrers": self.referrers,
        }
        yes = ", ".join(name for name, found in asked.items() if found)
        no = ", ".join(name for name, found in asked.items() if found is False)
        return f"takes {yes or 'what it was not asked for'}{f'; not {no}' if no else ''}"


def try_registry(registry: Registry, kind: str, images: Sequence[PushImage], known: Optional[Known]) -> Trial:
    """Ask what ``images`` need, in the first repository of each project; nothing of theirs is sent.

    A repository that may not be pushed to, and an image that cannot be taken, are named in ``refused``.
    """
    trial = Trial(kind)
    place = _try_projects(registry, images, trial)
    if place is None:
        return trial
    if not kind and b"_zot" in (registry.answers("/v2/_oci/ext/discover") or b""):
        trial.kind = ZOT
    trial.referrers = registry.has_referrers(place, _NOWHERE)
    held = next((pair for pair in sorted(known.blobs) if pair[0] == place), None) if known is not None else None
    if held is not None:
        # From the repository to itself: it has the blob already, so that nothing changes but our knowledge.
        trial.mounts, opened = registry.mount(place, held[1], place)
        registry.drop(place, opened)
    _Manifests(registry, place, trial).judge([image for image in images if str(image) not in trial.refused])
    return trial


def _try_projects(registry: Registry, images: Sequence[PushImage], trial: Trial) -> Optional[str]:
    """Open an upload in one repository of every project; return the first that takes it."""
    place = None
    projects: dict[str, list[PushImage]] = {}
    for image in images:
        projects.setdefault(image.repository.partition("/")[0], []).append(image)
    errors = []
    for members in projects.values():
        try:
            pieces = registry.try_push(members[0].repository)
        except RegistryError as error:
            if error.status == 0 and not registry.is_alive():
                raise
            errors.append(error)
            trial.refused.update((str(image), error) for image in members)
            continue
        if place is None:
            place, trial.pieces = members[0].repository, pieces
    if place is None and errors:
        raise errors[0]
    return place


class _Manifests:
    """Trials with manifests in the repository ``place``."""

    def __init__(self, registry: Registry, place: str, trial: Trial) -> None:
        self._registry = registry
        self._place = place
        self._trial = trial
        self._answers: dict[bytes, Answer] = {}

    def judge(self, images: Sequence[PushImage]) -> None:
        """Refuse every image of which the registry would not take what it is made of."""
        singles = {index: self._single(index) for index in _FAMILIES if any(_is_of(index, one) for one in images)}
        self._tell(singles)
        for image in images:
            family = next(index for index in _FAMILIES if _is_of(index, image))
            error = self._refusal(image, family, singles[family])
            if error is not None:
                self._trial.refused[str(image)] = error

    def _tell(self, singles: Mapping[str, Answer]) -> None:
        trial = self._trial
        trial.oci = _yes(singles.get(OCI_INDEX))
        trial.docker = _yes(singles.get(DOCKER_LIST))
        if trial.docker is False and trial.oci is None:
            trial.oci = _yes(self._single(OCI_INDEX))
        if trial.oci or trial.docker:
            trial.by_digest = True
        elif any(_says_unsupported(one) or trial.kind == OPENSHIFT for one in singles.values() if _yes(one) is False):
            # It takes no manifest by digest, so that nothing is said about its type.
            trial.by_digest, trial.oci, trial.docker = False, None, None

    def _refusal(self, image: PushImage, family: str, single: Answer) -> Optional[RegistryError]:
        trial = self._trial
        if family == DOCKER_LIST and trial.docker is False and (trial.oci or trial.kind == ZOT):
            return self._error(image, "it does not take Docker's types", single, NO_DOCKER_TYPES)
        if image.top.media_type not in INDEX_TYPES:
            return None
        missing = _missing(image)
        listed = self._listed(image.top.media_type, _FAMILIES[family][0], missing)
        # An OCI index of Docker's images is judged by OCI's own: what looks into the one may not look into the other.
        plain = self._single(image.top.media_type)
        if listed.outcome == "refused" and (plain.outcome in {"taken", "known"} or trial.by_digest is False):
            trial.lists = False
            return self._error(image, "it does not take manifest lists", listed, NO_LISTS)
        if listed.outcome in {"taken", "known"}:
            trial.lists = True
        if missing:
            trial.sparse = {"taken": True, "known": False}.get(listed.outcome)
        if missing and trial.sparse is False and not self._has_all(image.repository, missing):
            return self._error(image, "it does not take an index with children missing", listed, NO_SPARSE)
        return None

    def _has_all(self, repository: str, children: Sequence[Descriptor]) -> bool:
        return all(self._registry.head_manifest(repository, child.digest) is not None for child in children)

    def _single(self, family: str) -> Answer:
        single, config, layer = _FAMILIES[family]
        parts = {"config": _part(config), "layers": [_part(layer)]}
        found = self._try({"schemaVersion": 2, "mediaType": single, **parts}, single)
        # No type is refused that way, but a registry may stumble over parts that are nowhere.
        return replace(found, outcome="unclear") if found.reply is not None and found.reply.status == 500 else found

    def _listed(self, index: str, single: str, missing: Sequence[Descriptor]) -> Answer:
        """Try an index whose children are nowhere, of the platforms that are missing: some may be let off."""
        platforms = sorted({child.platform for child in missing if child.platform}) or ["linux/amd64"]
        children = [{**_part(single), "platform": _platform(one)} for one in platforms]
        return self._try({"schemaVersion": 2, "mediaType": index, "manifests": children}, index)

    def _try(self, plain: Mapping[str, object], media_type: str) -> Answer:
        data = json.dumps(plain, separators=(",", ":")).encode("ascii")
        if data not in self._answers:
            self._answers[data] = _read(self._registry.try_manifest(self._place, data, media_type))
        return self._answers[data]

    def _error(self, image: PushImage, what: str, answer: Answer, hint: str) -> RegistryError:
        said = answer.reply.said if answer.reply is not None else ""
        status = answer.reply.status if answer.reply is not None else 0
        return RegistryError(
            f"{self._registry.host} cannot take {image}: {what}",
            status=status,
            why=f"a trial manifest got {said}",
            hint=hint,
        )


def _read(reply: Reply) -> Answer:
    text = reply.body.lower()
    unsupported = b"unsupported" in text or "UNSUPPORTED" in reply.codes
    if 200 <= reply.status < 300:
        return Answer("taken", reply)
    if reply.status in {400, 404} and not unsupported and (_UNKNOWN & set(reply.codes) or b"missing" in text):
        return Answer("known", reply)
    return Answer("refused" if reply.status in _REFUSALS else "unclear", reply)


def _says_unsupported(answer: Answer) -> bool:
    return answer.reply is not None and (b"unsupported" in answer.reply.body.lower() or answer.reply.status == 405)


def _yes(answer: Optional[Answer]) -> Optional[bool]:
    if answer is None or answer.outcome == "unclear":
        return None
    return answer.outcome != "refused"


def _is_of(family: str, image: PushImage) -> bool:
    docker = any(one.media_type in {DOCKER_LIST, DOCKER_MANIFEST} for one in image.manifests)
    return docker == (family == DOCKER_LIST)


def _missing(image: PushImage) -> list[Descriptor]:
    """Return the children that the index names and the bundle does not carry."""
    carried = {manifest.digest for manifest in image.manifests}
    children = parse_manifest(image.top.data, str(image), image.top.media_type).children
    return [child for child in children if child.digest not in carried]


def _part(media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _NOWHERE, "size": 2}


def _platform(text: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), text.split("/")))
