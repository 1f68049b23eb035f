"""The bundle a delta builds on: its signed head says which blobs the far side has already."""

from __future__ import annotations

from pathlib import Path
from typing import Optional

from bundler.delta import Base, base_blobs
from bundler.pack import head_tar
from loader.bundle.archive import read_exact
from loader.bundle.errors import ConfigError, FormatError, StorageError
from loader.bundle.filesource import FileSource
from loader.bundle.head import HEAD_TAR, MANIFEST, SUMS, Head, read_head, read_head_tar, signature_label
from loader.bundle.limits import MAX_HEAD_FILE, MAX_SIGNATURE, MAX_SIGNATURES
from loader.bundle.prediction import decode_manifest
from loader.bundle.verify import Trust, verify_signatures
from loader.presence import is_folder
from loader.signaturefiles import signatures_beside


def open_base(path: Path, trust: Trust) -> Base:
    """Read an archive, its ``.head.tar``, or a folder with its head, and check signatures, form and policy.

    Such a folder has ``SHA256SUMS``, its signatures and ``bundle.json``, or is a disc of a media set; one of the files
    may be named as well. Signatures beside an archive count for its ``.head.tar`` too. Raises ``TrustError``,
    ``FormatError`` or ``StorageError``.
    """
    folder = _folder(path)
    head, beside = _read_file(path) if folder is None else (_read_folder(folder), [])
    signers = verify_signatures(head, trust, beside)
    manifest, _ = decode_manifest(head)
    trust.policy.judge(manifest.name, [signer.key for signer in signers])
    name = f"{manifest.name} {manifest.version}"
    return Base(head.id, name, manifest.name, manifest.sequence, base_blobs(manifest))


def _read_file(path: Path) -> tuple[Head, list[tuple[str, bytes]]]:
    stem = path.name[: -len(HEAD_TAR)] if path.name.endswith(HEAD_TAR) else None
    archive = path if stem is None else path.with_name(f"{stem}.tar.zst")
    with FileSource(str(path)) as source:
        if stem is None:
            head = read_head(source)
        else:
            head = read_head_tar(source)
            _require_whole(head, source)
    return head, signatures_beside(archive)


def _folder(path: Path) -> Optional[Path]:
    """Return the folder that holds the head, ``None`` where ``path`` is a file with all of it."""
    if is_folder(path):
        return path / "bundle" if not (path / MANIFEST).exists() and (path / "bundle" / MANIFEST).exists() else path
    return path.parent if path.name in {SUMS, MANIFEST} else None


def _read_folder(folder: Path) -> Head:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise StorageError(f"cannot read {folder}", why=error.strerror or str(error)) from error
    labels = [label for name in names if (label := signature_label(name)) is not None]
    if len(labels) > MAX_SIGNATURES:
        raise FormatError(f"too many signatures in {folder}", why=f"{len(labels)}; at most {MAX_SIGNATURES}")
    if SUMS not in names or MANIFEST not in names:
        raise ConfigError(
            f"{folder} is no bundle to build on",
            why=f"it has no {SUMS if SUMS not in names else MANIFEST}",
            hint=f"an archive, its {HEAD_TAR}, or a folder with {SUMS}, its signatures and {MANIFEST}",
        )
    signatures = tuple((label, _read(folder / f"{SUMS}.{label}.sig", MAX_SIGNATURE)) for label in labels)
    return Head(_read(folder / SUMS, MAX_HEAD_FILE), signatures, _read(folder / MANIFEST, MAX_HEAD_FILE))


def _read(path: Path, cap: int) -> bytes:
    with FileSource(str(path)) as source:
        if source.size > cap:
            raise FormatError(f"{path} is too large", why=f"{source.size} bytes; at most {cap}")
        return bytes(read_exact(source, 0, source.size))


def _require_whole(head: Head, source: FileSource) -> None:
    """One legal byte string per head, as for archives: what follows it would be nobody's."""
    due = head_tar(head)
    if source.size != len(due) or read_exact(source, 0, len(due)) != due:
        raise FormatError(f"{source.name} is not a head alone", why=f"{source.size} bytes; {len(due)} are due")
