"""``X.report.html``: what a bundle holds, as a page for the people who sign, carry and approve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loader.bundle.head import Head
from loader.bundle.manifest import BundleManifest
from loader.page import Page, table
from loader.sections import contents, identity_rows
from loader.signing import Signer
from loader.units import human
from loader.verdict import described

if TYPE_CHECKING:
    from loader.claims import Claim


def build_page(manifest: BundleManifest, head: Head, signers: Sequence[Signer], facts: Mapping[str, str]) -> bytes:
    """Return the page of a bundle just made; ``facts`` are further rows such as the archive's SHA-256."""
    rows = [[signer.label, signer.public.fingerprint, signer.public.algorithm] for signer in signers]
    return _page(manifest, head, table(["label", "key fingerprint", "algorithm"], rows), facts)


def claim_page(claim: Claim, bundle: Path) -> bytes:
    """Return the page of what ``bundle``, an archive, its head or a disc, says of itself; signatures are not judged."""
    labels = table(["label", "judged"], [[label, "no: airgap-loader verify does"] for label, _ in claim.signatures])
    facts = {"archive": bundle.name, "size": human(bundle.stat().st_size)} if bundle.is_file() else {}
    return _page(claim.manifest, claim.head, labels, facts)


def _page(manifest: BundleManifest, head: Head, signers: str, facts: Mapping[str, str]) -> bytes:
    found = described(manifest, head)
    page = Page(f"{manifest.name} {manifest.version}")
    page.facts([*identity_rows(found), *facts.items()])
    page.section("Signers", signers)
    for heading, body in contents(found):
        page.section(heading, body)
    stored = [[file.path, human(file.size), file.sha256] for file in manifest.files if file.link_to is None]
    page.section("Files", table(["path", "size", "SHA-256"], stored))
    return page.html().encode("utf-8")
