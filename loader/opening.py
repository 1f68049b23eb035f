"""Opening a SOURCE: the archive, the signatures beside it, and the verdict on both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loader.bundle import manifest as manifests
from loader.bundle.digest import sha256_hex
from loader.bundle.errors import FormatError, StorageError
from loader.bundle.head import LABEL, Head, read_head
from loader.bundle.limits import MAX_SIGNATURE, MAX_SIGNATURES
from loader.bundle.manifest import BundleManifest
from loader.bundle.rules import check_manifest
from loader.bundle.sums import render_sums
from loader.bundle.verify import Trust, VerifiedBundle, verify_head
from loader.bundle.volumes import FileSource
from loader.signing import read_small_file
from loader.zstd import find_decoder


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
    found = []
    for name in names:
        label = name[len(archive.name) + 1 : -len(".sig")]
        if name.startswith(f"{archive.name}.") and LABEL.fullmatch(label):
            found.append((label, read_small_file(archive.parent / name, MAX_SIGNATURE)))
    found += [(path.name, read_small_file(path, MAX_SIGNATURE)) for path in extra]
    if len(found) > 4 * MAX_SIGNATURES:
        raise FormatError(f"too many signatures beside {archive.name}", why=f"{len(found)}")
    return found


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
