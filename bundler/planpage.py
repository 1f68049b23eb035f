"""A plan as lines for people and as a JSON document for scripts; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from bundler.coverage import Coverage
from bundler.imagelist import ConfigImage, normalised
from bundler.origin import SkopeoOrigin
from bundler.plan import Plan, PlannedImage
from bundler.references import Reference
from loader.bundle.manifest import Attachment
from loader.units import counted, human
from loader.verdict import delta_lines

Moved = Sequence[tuple[str, str, str]]
PinnedTo = Sequence[tuple[str, Reference, str]]


@dataclass(frozen=True)
class Space:
    """Bytes: what copies from other transports take for the time of a build, and what is free there and here."""

    temporary: int
    free_temporary: int
    free: int


def space_needed(plan: Plan, images: Sequence[ConfigImage], free: int, free_temporary: int) -> Space:
    """Return the space a build takes; images that only skopeo reads are copied first, each place once."""
    places = {
        image.origin: planned.size
        for image, planned in zip(images, plan.images)
        if isinstance(image.origin, SkopeoOrigin)
    }
    return Space(sum(places.values()), free_temporary, free)


def space_line(plan: Plan, space: Space) -> str:
    """Say what has to be free, and what is."""
    copies = f"{human(space.temporary)} of temporary files ({human(space.free_temporary)} free there)"
    return (
        f"{human(plan.subject.size)} in the output folder ({human(space.free)} free here), "
        f"{copies if space.temporary else 'no temporary files'}; for media as much again"
    )


def plan_lines(plan: Plan, space: Space, pinned: PinnedTo = ()) -> Iterator[tuple[str, str]]:
    """Yield (step, text); what nobody covers stands first."""
    manifest = plan.subject.manifest
    for item in plan.coverage:
        if item.covered != "digest" and item.reference.certain:
            yield ("NO IMAGE" if item.covered == "none" else "by tag"), str(item)
    yield from delta_lines(manifest)
    for image in plan.images:
        yield "image", _image_text(image)
    for one in manifest.attachments:
        yield "attached", f"{one.kind} {one.repository}:{one.tag or one.digest} of {one.subject}"
    yield (
        "blobs",
        (
            f"{counted(plan.blobs, 'blob')}: {human(plan.unique)} unique, {human(plan.uses)} before sharing "
            f"({human(plan.uses - plan.unique)} saved)"
        ),
    )
    for row in manifest.mirrors:
        yield (
            "mirror",
            f"{row.source} -> {row.mirror}{'' if row.policy == 'AllowContactingSource' else f' ({row.policy})'}",
        )
    for document in manifest.documents:
        yield "document", f"{document.path} ({document.phase}, {document.action})"
    for path, found, text in pinned:
        yield "pinned", f"{path}: {found.owner}, {found.why}: {found.text} -> {text}"
    for item in plan.coverage:
        if item.covered == "digest" and item.reference.certain:
            yield "by digest", str(item)
    for item in plan.coverage:
        if not item.reference.certain:
            yield "perhaps", str(item)
    for note in plan.notes:
        yield "note", note
    name = f"{manifest.name}-{manifest.version}.tar.zst"
    bound = "" if plan.subject.exact else "at most "
    yield "archive", f"{name}  {bound}{human(plan.subject.size)} ({plan.subject.size} bytes)"
    yield "space", space_line(plan, space)
    yield "discs", " · ".join(f"{medium} {count or 'too many'}" for medium, count in plan.discs.items())


def diff_lines(moved: Moved) -> Iterator[tuple[str, str]]:
    """Yield one line for each image that is another one upstream than in the lock."""
    for name, locked, now in moved:
        yield "moved", f"{name} {locked} -> {now}"
    if not moved:
        yield "moved", "nothing: every locked tag names the same image upstream"


def normalised_names(images: Sequence[ConfigImage]) -> list[dict[str, object]]:
    """Return the names that were filled up, as written and as they are."""
    return [{"line": image.line, "name": str(image.name), "written": image.written} for image in normalised(images)]


def plan_document(
    plan: Plan, space: Space, *, changes: Sequence[str], moved: Optional[Moved], pinned: PinnedTo = ()
) -> Mapping[str, Any]:
    """Return the plan as a JSON value; ``moved`` is None when nobody asked upstream."""
    manifest = plan.subject.manifest
    return {
        "archive": {
            "exact": plan.subject.exact,
            "name": f"{manifest.name}-{manifest.version}.tar.zst",
            "size": plan.subject.size,
        },
        "attachments": [_attachment_document(one) for one in manifest.attachments],
        "blobs": {"beforeSharing": plan.uses, "count": plan.blobs, "unique": plan.unique},
        "discs": dict(plan.discs),
        "documents": [
            {
                "action": item.action,
                "path": item.path,
                "phase": item.phase,
                "size": len(plan.subject.documents[item.path]),
            }
            for item in manifest.documents
        ],
        "images": [_image_document(image) for image in plan.images],
        "lock": list(changes),
        "mirrors": [{"mirror": row.mirror, "policy": row.policy, "source": row.source} for row in manifest.mirrors],
        "moved": None if moved is None else [{"locked": a, "name": n, "upstream": b} for n, a, b in moved],
        "name": manifest.name,
        "notes": list(plan.notes),
        "pinned": [
            {"from": found.text, "manifest": path, "to": text, "where": f"{found.owner}, {found.why}"}
            for path, found, text in pinned
        ],
        "references": [_coverage_document(item) for item in plan.coverage],
        "registry": manifest.registry,
        "space": {
            "free": space.free,
            "freeTemporary": space.free_temporary,
            "output": plan.subject.size,
            "temporary": space.temporary,
        },
        "version": manifest.version,
    }


def _attachment_document(one: Attachment) -> Mapping[str, Any]:
    return {
        "digest": one.digest,
        "kind": one.kind,
        "repository": one.repository,
        "subject": one.subject,
        "tag": one.tag,
    }


def _coverage_document(item: Coverage) -> Mapping[str, Any]:
    return {
        "certain": item.reference.certain,
        "covered": item.covered,
        "document": item.document,
        "problem": item.problem,
        "reference": item.reference.text,
        "where": f"{item.reference.owner}, {item.reference.why}",
    }


def _image_text(item: PlannedImage) -> str:
    image = item.image
    name = f"{image.source}:{image.tag}" if image.tag else image.source
    sizes = f"{human(item.size)}, {human(item.shared)} of it shared" if item.shared else human(item.size)
    platforms = " ".join(image.platforms) or "no platform"
    return f"{name}  {image.digest}  {platforms}  {sizes}  ({'; '.join(item.why) or 'listed in the config'})"


def _image_document(item: PlannedImage) -> Mapping[str, Any]:
    image = item.image
    return {
        "digest": image.digest,
        "manifests": item.manifests,
        "mediaType": image.media_type,
        "omitted": [{"digest": left.digest, "reason": left.reason} for left in image.omitted],
        "platforms": list(image.platforms),
        "repository": image.repository,
        "rewritten": image.rewritten,
        "shared": item.shared,
        "size": item.size,
        "source": image.source,
        "tag": image.tag,
        "why": list(item.why),
    }
