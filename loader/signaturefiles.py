"""Signatures that came beside a bundle: files ``X.tar.zst.LABEL.sig`` next to the archive or its discs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from loader.bundle.archive import read_exact
from loader.bundle.errors import FormatError, StorageError
from loader.bundle.filesource import FileSource
from loader.bundle.head import LABEL
from loader.bundle.limits import MAX_SIGNATURE, MAX_SIGNATURES
from loader.bundle.verify import VerifiedBundle
from loader.media.places import disc_paths

_MAX_BESIDE = 4 * MAX_SIGNATURES  # counted before the first is read


def signatures_beside(archive: Path, extra: Sequence[Path] = ()) -> list[tuple[str, bytes]]:
    """Return (label, bytes) of every ``X.tar.zst.LABEL.sig`` beside ``archive``, and of ``extra`` files."""
    found = _signature_files(archive.parent, archive.name)
    return _read_signatures([*found, *((path.name, path) for path in extra)], archive.name)


def signatures_by_discs(sources: Sequence[Path], archive: str, extra: Sequence[Path] = ()) -> list[tuple[str, bytes]]:
    """Return (label, bytes) of every ``ARCHIVE.LABEL.sig`` beside the discs ``sources`` name, and of ``extra`` files.

    Beside a disc is the folder it stands in; of a folder of discs that is the folder itself.
    """
    folders = dict.fromkeys(path.parent for source in sources for path in disc_paths(source))
    found: list[tuple[str, Path]] = []
    for folder in folders:
        # Where discs are mounted is not always ours to list; a signature that is missed there counts for nothing.
        with contextlib.suppress(StorageError):
            found += _signature_files(folder, archive)
    return _read_signatures([*found, *((path.name, path) for path in extra)], archive)


def passed_over(archive: Path) -> Iterator[tuple[str, str]]:
    """Say which files beside ``archive`` are named almost as its signatures: one meant them to count."""
    with contextlib.suppress(OSError):
        for name in sorted(entry.name for entry in archive.parent.iterdir()):
            label = name[len(archive.name) + 1 : -len(".sig")]
            ours = name.startswith(f"{archive.name}.") and name.endswith(".sig")
            if ours and not (LABEL.fullmatch(label) or label.startswith("sha256.")):
                yield "warning", f"{name} is not read: a signature is {archive.name}.LABEL.sig, LABEL of a-z 0-9 -"


def idle_signatures(
    paths: Sequence[Path], bundles: Sequence[VerifiedBundle], also: Iterable[bytes] = ()
) -> Iterator[tuple[str, str]]:
    """Say which of the signatures that were given by name count for none of ``bundles``: one meant them to.

    ``also``: what counted for something else, a sidecar.
    """
    counted = {signer.signature for bundle in bundles for signer in bundle.signers}.union(also)
    for path in paths:
        if _read_signature(path) not in counted:
            yield (
                "warning",
                f"--signature {path} adds nothing: no trusted key made it over this, or its key signed already",
            )


def _signature_files(folder: Path, archive: str) -> list[tuple[str, Path]]:
    """The files of ``folder`` that are named as signatures of ``archive``, by label."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sig"))
    except OSError as error:
        raise StorageError(f"cannot read {folder}", why=error.strerror or str(error)) from error
    labels = [(name[len(archive) + 1 : -len(".sig")], name) for name in names if name.startswith(f"{archive}.")]
    return [(label, folder / name) for label, name in labels if LABEL.fullmatch(label)]


def _read_signatures(found: Sequence[tuple[str, Path]], beside: str) -> list[tuple[str, bytes]]:
    if len(found) > _MAX_BESIDE:
        why = f"{len(found)}; at most {_MAX_BESIDE}"
        raise FormatError(f"too many signatures beside {beside}", why=why, hint="leave those there that are needed")
    return [(label, _read_signature(path)) for label, path in found]


def _read_signature(path: Path) -> bytes:
    """Read a signature file; a FIFO on the medium would keep us waiting for ever, so regular files only."""
    with FileSource(str(path)) as source:
        if source.size > MAX_SIGNATURE:
            raise FormatError(f"{path} is too large for a signature", why=f"{source.size} bytes")
        return bytes(read_exact(source, 0, source.size))
