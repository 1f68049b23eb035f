"""``X.report.html``: what a bundle holds, as a page for the people who sign, carry and approve it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loader.bundle.head import Head
from loader.bundle.manifest import BundleManifest
from loader.page import Page, table
from loader.signing import Signer
from loader.units import human
from loader.verdict import described, documents_table, identity_rows, images_table


def build_page(manifest: BundleManifest, head: Head, signers: Sequence[Signer], facts: Mapping[str, str]) -> bytes:
    """Return the page of a finished bundle; ``facts`` are further rows such as the archive's SHA-256."""
    found = described(manifest, head)
    page = Page(f"{manifest.name} {manifest.version}")
    page.facts([*identity_rows(found), *facts.items()])
    page.section(
        "Signers",
        table(
            ["label", "key fingerprint", "algorithm"],
            [[signer.label, signer.public.fingerprint, signer.public.algorithm] for signer in signers],
        ),
    )
    page.section("Images", images_table(found))
    page.section(
        "Left out",
        table(
            ["image", "digest", "why"],
            [
                [image["source"], item["digest"], item["reason"]]
                for image in found["images"]
                for item in image["omitted"]
            ],
        ),
    )
    page.section(
        "Mirrors",
        table(["source", "mirror", "policy"], [[m["source"], m["mirror"], m["policy"]] for m in found["mirrors"]]),
    )
    page.section("Documents", documents_table(found))
    stored = [[file.path, human(file.size), file.sha256] for file in manifest.files if file.link_to is None]
    page.section("Files", table(["path", "size", "SHA-256"], stored))
    return page.html().encode("utf-8")
