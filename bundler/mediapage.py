"""``report.html`` of a media set: what the discs carry, for a person with a browser and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from loader.bundle.head import Head
from loader.bundle.manifest import BundleManifest
from loader.page import Page, table
from loader.sections import contents, identity_rows
from loader.units import human
from loader.verdict import described


def media_page(manifest: BundleManifest, head: Head, paths: Sequence[str]) -> bytes:
    """Return the page; ``paths`` are the common files, of which the bundle's signatures are named."""
    found = described(manifest, head)
    page = Page(f"{manifest.name} {manifest.version} on discs")
    page.facts([*identity_rows(found), ("bytes of blobs and documents", human(found["size"]))])
    signatures = [[path] for path in paths if path.endswith(".sig")]
    page.section("Signatures of the bundle (README-VERIFY.txt checks them)", table(["file"], signatures))
    for heading, body in contents(found):
        page.section(heading, body)
    return page.html().encode("utf-8")
