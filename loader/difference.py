"""What changed between two bundles, as an officer asks it: images, documents, signers, what is no longer shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loader.bundle.manifest import BundleManifest, Image
from loader.units import counted


def difference(
    older: BundleManifest, newer: BundleManifest, signers: tuple[Sequence[str], Sequence[str]]
) -> dict[str, Any]:
    """Return what ``newer`` has that ``older`` had not, had otherwise, or lost, as a JSON value.

    ``signers`` are the names of who signed each of them.
    """
    before, after = _images(older), _images(newer)
    changed = [name for name in sorted(before.keys() & after.keys()) if before[name].digest != after[name].digest]
    moved = [name for name in sorted(before.keys() & after.keys()) if before[name].repository != after[name].repository]
    return {
        "documents": _documents(older, newer),
        "from": {"name": older.name, "sequence": older.sequence, "version": older.version},
        "images": {
            "added": [{"digest": after[name].digest, "image": name} for name in sorted(after.keys() - before.keys())],
            "changed": [{"from": before[name].digest, "image": name, "to": after[name].digest} for name in changed],
            "moved": [{"from": before[name].repository, "image": name, "to": after[name].repository} for name in moved],
            "removed": [
                {"digest": before[name].digest, "image": name} for name in sorted(before.keys() - after.keys())
            ],
            "unchanged": len(before.keys() & after.keys()) - len(changed),
        },
        "mirrors": _sides({_mirror(row) for row in older.mirrors}, {_mirror(row) for row in newer.mirrors}),
        "noLongerShipped": sorted(_references(older) - _references(newer)),
        "registry": None if older.registry == newer.registry else {"from": older.registry, "to": newer.registry},
        "signers": _sides(set(signers[0]), set(signers[1])),
    }


def difference_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The same as (step, text); one line that says so where nothing changed."""
    old, images = found["from"], found["images"]
    yield "compared", f"with {old['name']} {old['version']}, sequence {old['sequence']}"
    for row in images["added"]:
        yield "image +", f"{row['image']} {row['digest']}"
    for row in images["changed"]:
        yield "image ~", f"{row['image']} {row['from']} -> {row['to']}"
    for row in images["moved"]:
        yield "image ~", f"{row['image']} goes to {row['to']}, not {row['from']}"
    for row in images["removed"]:
        yield "image -", f"{row['image']} {row['digest']}"
    for kind, name in (("document", "documents"), ("mirror", "mirrors"), ("signer", "signers")):
        for sign, side in (("+", "added"), ("~", "changed"), ("-", "removed")):
            for item in found[name].get(side, ()):
                yield f"{kind} {sign}", item
    if found["registry"]:
        yield "registry ~", f"{found['registry']['from']} -> {found['registry']['to']}"
    for reference in found["noLongerShipped"]:
        yield "gone", f"{reference} is no longer shipped"
    yield "same", f"{counted(images['unchanged'], 'image')} with the digest as before"


def _images(manifest: BundleManifest) -> dict[str, Image]:
    return {_reference(image): image for image in manifest.images}


def _reference(image: Image) -> str:
    return f"{image.source}:{image.tag}" if image.tag else f"{image.source}@{image.digest}"


def _references(manifest: BundleManifest) -> set[str]:
    """Every name by which someone may ask for an image: by tag, and by digest."""
    by_digest = {f"{image.source}@{image.digest}" for image in manifest.images}
    return by_digest | {_reference(image) for image in manifest.images}


def _documents(older: BundleManifest, newer: BundleManifest) -> dict[str, list[str]]:
    sums = [{file.path: file.sha256 for file in manifest.files} for manifest in (older, newer)]
    before, after = (
        {item.path: (item, of[item.path]) for item in manifest.documents}
        for manifest, of in ((older, sums[0]), (newer, sums[1]))
    )
    changed = sorted(path for path in before.keys() & after.keys() if before[path] != after[path])
    return {**_sides(set(before), set(after)), "changed": changed}


def _mirror(row: Any) -> str:
    return f"{row.source} -> {row.mirror}"


def _sides(before: set[str], after: set[str]) -> dict[str, list[str]]:
    return {"added": sorted(after - before), "removed": sorted(before - after)}
