"""``SHA256SUMS``: made from the manifest, never parsed; what is in the archive must be equal to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loader.bundle.manifest import File


def render_sums(files: Iterable[File], manifest_sha256: str) -> bytes:
    """Return the list over all ``files`` and ``bundle.json``: ``<hex>  <path>`` lines, sorted bytewise, LF."""
    return "".join(_lines(files, manifest_sha256)).encode("ascii")


def is_sums(data: bytes, files: Iterable[File], manifest_sha256: str) -> bool:
    """Tell whether ``data`` is what :func:`render_sums` returns, without making all of it."""
    position = 0
    for line in _lines(files, manifest_sha256):
        if not data.startswith(line.encode("ascii"), position):
            return False
        position += len(line)
    return position == len(data)


def _lines(files: Iterable[File], manifest_sha256: str) -> Iterator[str]:
    # All hashes have one length, so that the order of the pairs is the order of the lines.
    entries = [(file.sha256, file.path) for file in files]
    entries.append((manifest_sha256, "bundle.json"))
    entries.sort()
    return (f"{sha256}  {path}\n" for sha256, path in entries)


def manifest_line(sha256: str) -> bytes:
    """The list's line for ``bundle.json``."""
    return f"{sha256}  bundle.json\n".encode("ascii")
