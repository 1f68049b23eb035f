"""Opening a SOURCE: the archive, the signatures beside it, and the verdict on both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loader.bundle import manifest as manifests
from loader.bundle.archive import read_exact
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import FormatError, StorageError
from loader.bundle.head import LABEL, Head, read_head
from loader.bundle.limits import MAX_SIGNATURE, MAX_SIGNATURES
from loader.bundle.manifest import BundleManifest
from loader.bundle.rules import check_manifest
from loader.bundle.sums import render_sums
from loader.bundle.verify import Trust, VerifiedBundle, verify_head
from loader.bundle.volumes import FileSource
from loader.zstd import find_decoder

_MAX_BESIDE = 4 * MAX_SIGNATURES  # counted before the first is read


@dataclass(frozen=True)
class Unverified:
    """What an archive claims to be, read without any trust; for ``inspect`` alone."""

    head: Head
    manifest: BundleManifest


def signatures_beside(archive: Path, extra: Sequence[Path] = ()) -> list[tuple[str, bytes]]:
    """Return (label, bytes) of every ``X.tar.zst.LABEL.sig`` beside ``archive``, and of ``extra`` files."""
    try:
        names = sorted(entry.name for entry in archive.parent.iterdir() if entry.name.endswith(".sig"))
    except OSError as error:
        raise StorageError(f"cannot read {archive.parent}", why=error.strerror or str(error)) from error
    found: list[tuple[str, Path]] = []
    for name in names:
        label = name[len(archive.name) + 1 : -len(".sig")]
        if name.startswith(f"{archive.name}.") and LABEL.fullmatch(label):
            found.append((label, archive.parent / name))
    found += [(path.name, path) for path in extra]
    if len(found) > _MAX_BESIDE:
        raise FormatError(f"too many signatures beside {archive.name}", why=f"{len(found)}; at most {_MAX_BESIDE}")
    return [(label, _read_signature(path)) for label, path in found]


def _read_signature(path: Path) -> bytes:
    """Read a signature file; a FIFO on the medium would keep us waiting for ever, so regular files only."""
    with FileSource(str(path)) as source:
        if source.size > MAX_SIGNATURE:
            raise FormatError(f"{path} is too large for a signature", why=f"{source.size} bytes")
        return bytes(read_exact(source, 0, source.size))


@contextlib.contextmanager
def open_bundle(archive: Path, trust: Trust, *, signatures: Sequence[Path] = ()) -> Iterator[VerifiedBundle]:
    """Do steps 1 to 5 on ``archive`` and keep it open: the blobs are read from it while the context lasts."""
    with FileSource(str(archive)) as source:
        yield verify_head(source, trust, find_decoder(), beside=signatures_beside(archive, signatures))


def read_unverified(archive: Path) -> Unverified:
    """Read what ``archive`` claims, checked for form but not for trust. Raises ``FormatError`` for nonsense."""
    with FileSource(str(archive)) as source:
        head = read_head(source)
    manifest = manifests.decode(head.manifest)
    check_manifest(manifest)
    if render_sums(manifest.files, sha256_hex(head.manifest)) != head.sums:
        raise FormatError("SHA256SUMS and bundle.json disagree", why="the list made from bundle.json is another one")
    return Unverified(head, manifest)
