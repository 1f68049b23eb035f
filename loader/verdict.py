"""What the verifier found, as lines, as a JSON document, and as files for the security officer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import TrustError
from loader.bundle.head import Head
from loader.bundle.manifest import BundleManifest
from loader.bundle.verify import VerifiedBundle
from loader.history import History, Seen
from loader.page import Page, table
from loader.report import replace_file
from loader.units import counted, human


def head_lines(bundle: VerifiedBundle) -> Iterator[tuple[str, str]]:
    """One (step, text) for each check of steps 1 to 5."""
    manifest = bundle.manifest
    signers = ", ".join(f"{s.key.name} {s.key.fingerprint[:19]}… {s.key.algorithm}" for s in bundle.signers)
    yield "head", f"{manifest.name} {manifest.version}, id {bundle.id} (steps 1, 2)"
    yield "signature", f"ok: {signers} (step 3)"
    yield "manifest", f"ok: SHA256SUMS and bundle.json agree, {counted(len(manifest.files), 'file')} (step 4)"
    yield "graph", f"ok: {counted(len(manifest.images), 'image')}, every reference leads to a file (step 4b)"
    yield "policy", f"ok: {len(bundle.signers)} of {bundle.threshold} signers needed (step 5)"
    for warning in bundle.warnings:
        yield "warning", warning


def content_lines(bundle: VerifiedBundle) -> Iterator[tuple[str, str]]:
    """One (step, text) for each check of steps 6 and 7, once they are through."""
    yield "content", f"ok: {human(bundle.size)}, every byte matched its SHA-256 (step 6)"
    yield "end", "ok: nothing missing, nothing extra (step 7)"


def signature_line(bundle: VerifiedBundle, before: Optional[Seen]) -> str:
    """Who signed, how much was checked, and what was imported before: the one line of a run that goes on."""
    signers = ", ".join(signer.key.name for signer in bundle.signers)
    seen = "first of its name" if before is None else f"after {before.sequence}"
    return (
        f"signature ok ({signers}: {len(bundle.signers)} of {bundle.threshold}) · "
        f"{counted(len(bundle.files), 'file')} · sequence {bundle.manifest.sequence}, {seen}"
    )


def replay_line(bundle: VerifiedBundle, history: History) -> str:
    """What the state folder says of the bundle's sequence; ``verify`` tells it and refuses nothing."""
    sequence = bundle.manifest.sequence
    try:
        before = history.check(bundle)
    except TrustError as error:
        return f"OLDER than what was imported here: {error.why}; load and push will refuse it"
    if before is None:
        return f"sequence {sequence}: nothing of this name was imported here before"
    return f"sequence {sequence}: {before.sequence} was imported here before"


def document(bundle: VerifiedBundle, replay: str, now: str) -> dict[str, Any]:
    """The verdict as a JSON value; it exists only for a bundle that passed."""
    lines = [*head_lines(bundle), *content_lines(bundle)]
    return {
        **described(bundle.manifest, bundle.head),
        "checkedAt": now,
        "checks": [{"check": step, "result": text} for step, text in lines if step != "warning"],
        "replay": replay,
        "signers": [
            {
                "algorithm": signer.key.algorithm,
                "fingerprint": signer.key.fingerprint,
                "label": signer.label,
                "name": signer.key.name,
            }
            for signer in bundle.signers
        ],
        "threshold": bundle.threshold,
        "verified": True,
        "warnings": list(bundle.warnings),
    }


def described(manifest: BundleManifest, head: Head) -> dict[str, Any]:
    """What a bundle says of itself."""
    return {
        "builder": manifest.builder.program,
        "complete": manifest.complete,
        "created": manifest.created,
        "documents": [{"action": item.action, "path": item.path, "phase": item.phase} for item in manifest.documents],
        "files": len(manifest.files),
        "id": head.id,
        "images": [
            {
                "digest": image.digest,
                "omitted": [{"digest": item.digest, "reason": item.reason} for item in image.omitted],
                "path": image.path,
                "platforms": list(image.platforms),
                "repository": image.repository,
                "source": image.source,
                "tag": image.tag,
            }
            for image in manifest.images
        ],
        "mirrors": [{"mirror": row.mirror, "policy": row.policy, "source": row.source} for row in manifest.mirrors],
        "name": manifest.name,
        "notAfter": manifest.not_after,
        "registry": manifest.registry,
        "sequence": manifest.sequence,
        "size": sum(file.size for file in manifest.files if file.link_to is None),
        "version": manifest.version,
    }


def write_verdict(folder: Path, verdict: dict[str, Any]) -> list[Path]:
    """Write ``NAME-VERSION.verify.json`` and ``.html`` into ``folder``."""
    stem = f"{verdict['name']}-{verdict['version']}.verify"
    paths = [folder / f"{stem}.json", folder / f"{stem}.html"]
    replace_file(paths[0], (json.dumps(verdict, indent=2, sort_keys=True) + "\n").encode())
    replace_file(paths[1], _verdict_page(verdict).encode())
    return paths


def _verdict_page(verdict: dict[str, Any]) -> str:
    page = Page(f"{verdict['name']} {verdict['version']}: verified")
    page.facts([*identity_rows(verdict), ("checked", verdict["checkedAt"]), ("replay", verdict["replay"])])
    page.section("Checks", table(["check", "result"], [[c["check"], c["result"]] for c in verdict["checks"]]))
    page.section(
        "Signers",
        table(["name", "fingerprint"], [[s["name"], s["fingerprint"]] for s in verdict["signers"]]),
    )
    page.section("Images", images_table(verdict))
    page.section("Documents", documents_table(verdict))
    return page.html()


def identity_rows(described_bundle: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows of a page that say which bundle this is."""
    return [
        ("bundle id", described_bundle["id"]),
        ("sequence", str(described_bundle["sequence"])),
        ("created", described_bundle["created"]),
        ("for registry", described_bundle["registry"]),
        ("built by", described_bundle["builder"]),
    ]


def images_table(described_bundle: dict[str, Any]) -> str:
    """The images of a page."""
    return table(
        ["image", "digest", "platforms"],
        [[_named(image), image["digest"], ", ".join(image["platforms"])] for image in described_bundle["images"]],
    )


def documents_table(described_bundle: dict[str, Any]) -> str:
    """The documents of a page."""
    rows = [[item["path"], item["phase"], item["action"]] for item in described_bundle["documents"]]
    return table(["document", "phase", "action"], rows)


def _named(image: dict[str, Any]) -> str:
    return f"{image['source']}:{image['tag']}" if image["tag"] else str(image["source"])
