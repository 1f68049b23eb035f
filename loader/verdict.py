"""What the verifier found, as lines, as a JSON document, and as files for the security officer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from loader.bundle import strictjson
from loader.bundle.errors import AirgapError, TrustError
from loader.bundle.head import Head
from loader.bundle.manifest import BundleManifest
from loader.bundle.verify import VerifiedBundle
from loader.durable import write_report
from loader.history import History, Seen, Vouched
from loader.page import Page, listed, table
from loader.sections import contents, discs, identity_rows
from loader.sharing import find_sharing
from loader.sidecar import SidecarCheck
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


def delta_lines(manifest: BundleManifest) -> Iterator[tuple[str, str]]:
    """What a delta needs of others; nothing for a bundle that is complete."""
    if not manifest.complete:
        size = human(sum(one.size for one in manifest.requires))
        needed = f"{counted(len(manifest.requires), 'blob')} ({size}) of that"
        yield "delta", f"builds on the bundle of id {manifest.base}; the registry has to have {needed}"


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


def replay_line(bundle: Vouched, history: History) -> str:
    """What the state folder says of the bundle's sequence; who only reads is told it and refused nothing."""
    sequence = bundle.manifest.sequence
    try:
        before = history.check(bundle)
    except TrustError as error:
        return f"OLDER than what was imported here: {error.why}; load and push will refuse it"
    except AirgapError as error:  # a home that is not ours to read, say
        return f"NOT KNOWN, sequence {sequence}: {error}"
    if before is None:
        return f"sequence {sequence}: nothing of this name was imported here before"
    return f"sequence {sequence}: {before.sequence} was imported here before"


def document(bundle: VerifiedBundle, replay: str, now: str, sidecar: SidecarCheck) -> dict[str, Any]:
    """The verdict as a JSON value; it exists only for a bundle that passed."""
    lines = [*head_lines(bundle), *content_lines(bundle), *(sidecar.lines() if sidecar.result else ())]
    return {
        **described(bundle.manifest, bundle.head),
        "checkedAt": now,
        "formatVersion": 1,
        "checks": [{"check": step, "result": text} for step, text in lines if step != "warning"],
        "notChecked": list(_not_checked(bundle.manifest, sidecar)),
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


def _not_checked(manifest: BundleManifest, sidecar: SidecarCheck) -> Iterator[str]:
    """What a verdict does not speak of, so that nobody reads it into it."""
    yield "what the software in the images does: scan them before they are packed"
    if manifest.attachments:
        yield "the signatures and statements among the attachments: they are carried, not judged"
    if not manifest.complete:
        yield f"{counted(len(manifest.requires), 'blob')} of the base: load asks the registry for them"
    yield "registry, nodes and cluster: load does, before it sends anything (load --dry-run shows it)"
    if sidecar.omitted:
        yield sidecar.omitted
    others = "report.html" if sidecar.result else "report.html and the .sha256 sidecar"
    yield f"files beside the archive, such as {others}: they are claims"


def described(manifest: BundleManifest, head: Head) -> dict[str, Any]:
    """What a bundle says of itself; sizes in bytes. An image's ``own`` bytes are in no other image."""
    weights = find_sharing(manifest)
    return {
        "attachments": [_plain(item) for item in manifest.attachments],
        "base": manifest.base,
        "builder": manifest.builder.program,
        "complete": manifest.complete,
        "created": manifest.created,
        "documents": [_plain(item) for item in manifest.documents],
        "files": len(manifest.files),
        "id": head.id,
        "images": [
            {**_plain(image), "own": weights.own[image.path], "size": weights.sizes[image.path]}
            for image in manifest.images
        ],
        "mirrors": [_plain(row) for row in manifest.mirrors],
        "name": manifest.name,
        "notAfter": manifest.not_after,
        "registry": manifest.registry,
        "requires": [_plain(item) for item in manifest.requires],
        "sequence": manifest.sequence,
        "shared": [{"digest": blob.digest, "images": list(blob.paths), "size": blob.size} for blob in weights.blobs],
        "size": sum(file.size for file in manifest.files if file.link_to is None),
        "version": manifest.version,
    }


def _plain(item: Any) -> dict[str, Any]:
    """A part of the manifest as it stands in ``bundle.json``."""
    found: dict[str, Any] = json.loads(strictjson.encode(item))
    return found


def write_verdict(folder: Path, verdict: dict[str, Any]) -> list[Path]:
    """Write ``NAME-VERSION.verify.json`` and ``.html`` into ``folder``."""
    stem = f"{verdict['name']}-{verdict['version']}.verify"
    paths = [folder / f"{stem}.json", folder / f"{stem}.html"]
    write_report(paths[0], (json.dumps(verdict, indent=2, sort_keys=True) + "\n").encode())
    write_report(paths[1], _verdict_page(verdict).encode())
    return paths


def _verdict_page(verdict: dict[str, Any]) -> str:
    media = verdict.get("media")
    page = Page(f"{verdict['name']} {verdict['version']}: verified")
    rows = [("checked", verdict["checkedAt"]), ("replay", verdict["replay"])]
    page.facts([*identity_rows(verdict), *([("set id", media["setId"])] if media else []), *rows])
    page.section("What was checked", table(["check", "result"], [[c["check"], c["result"]] for c in verdict["checks"]]))
    if verdict["warnings"]:
        page.section("Warnings", listed(verdict["warnings"]))
    page.section(
        f"Who signed ({verdict['threshold']} needed)",
        table(
            ["name", "label", "algorithm", "key fingerprint"],
            [[s["name"], s["label"], s["algorithm"], s["fingerprint"]] for s in verdict["signers"]],
        ),
    )
    page.section("What was not checked", listed(verdict["notChecked"]))
    if media:
        page.section("Discs", discs(media))
    for heading, body in contents(verdict):
        page.section(heading, body)
    return page.html()
