"""``SHA256SUMS``: made from the manifest, never parsed; what is in the archive must be equal to it."""

from __future__ import annotations

from collections.abc import Iterable

from loader.bundle.manifest import File


def render_sums(files: Iterable[File], manifest_sha256: str) -> bytes:
    """Return the list over all ``files`` and ``bundle.json``: ``<hex>  <path>`` lines, sorted bytewise, LF."""
    lines = [f"{file.sha256}  {file.path}\n" for file in files]
    lines.append(manifest_line(manifest_sha256).decode("ascii"))
    return "".join(sorted(lines)).encode("ascii")


def manifest_line(sha256: str) -> bytes:
    """The list's line for ``bundle.json``."""
    return f"{sha256}  bundle.json\n".encode("ascii")
