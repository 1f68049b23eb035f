"""Another person's signature, made anywhere by anything, checked and put beside a bundle or its discs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from loader.bundle.discs import bundle_head
from loader.bundle.errors import ConfigError, StorageError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.head import LABEL, SUMS, read_head
from loader.bundle.keys import HASHES, PublicKey, SignatureCheck, parse_public_key
from loader.bundle.limits import MAX_SIGNATURE
from loader.durable import write_whole
from loader.media.opened import open_media
from loader.media.places import disc_paths, find_archive
from loader.signing import read_small_file

_ELSEWHERE = "airgap-loader attach-signature -o DIR stores it elsewhere; --signature FILE gives it then"


@dataclass(frozen=True)
class Signature:
    """A signature file and the public key it must verify under; ``label`` is what it will be called."""

    label: str
    public_key: Path
    file: Path


def check_label(label: str, hint: str = "give one with --signer NAME") -> str:
    """Return ``label`` if a signature file can bear it, else raise ``ConfigError`` with ``hint``."""
    if LABEL.fullmatch(label) is None:
        raise ConfigError(f"{label[:60]!a} can't name a signature", why="1 to 32 of a-z 0-9 -", hint=hint)
    return label


def attach_signature(
    sources: Sequence[Path], given: Signature, check: SignatureCheck, *, output: Optional[Path] = None
) -> Path:
    """Store a signature over the bundle's ``SHA256SUMS`` or the archive's sidecar, and return where.

    It stands beside the archive or the discs, or in ``output``, as ``X.tar.zst.LABEL.sig`` or
    ``X.tar.zst.sha256.LABEL.sig``. Raises ``TrustError`` for one over anything else, ``ConfigError`` where another
    key's signature has that name.
    """
    check_label(given.label)
    key = parse_public_key(read_small_file(given.public_key), given.public_key.stem)
    data = read_small_file(given.file, MAX_SIGNATURE)
    folder, candidates = _signable(sources)
    for name, message in candidates.items():
        if key.has_shape(data) and check.verify(key, data, message):
            target = (output or folder) / f"{name}.{given.label}.sig"
            keep_others(target, key, message, check)
            write_whole(
                target,
                data,
                hint="airgap-loader attach-signature -o DIR stores it elsewhere; --signature FILE gives it then",
            )
            return target
    raise TrustError(
        f"{given.file} is not {given.public_key}'s signature over this bundle",
        why=f"it verifies neither over {SUMS} nor over the .sha256 beside the archive",
        hint=f"openssl dgst -{HASHES[key.algorithm]} -sign KEY -out SIG SHA256SUMS "
        "(of the .head.tar, or bundle/SHA256SUMS on a disc)",
    )


def _signable(sources: Sequence[Path]) -> tuple[Path, Mapping[str, bytes]]:
    """Where signatures stand, and the bytes a signature may be over, each under the name it is stored by."""
    archive = find_archive(sources)
    if archive is None:
        with open_media(sources, None) as media:
            head = bundle_head(media.discs)
            return disc_paths(sources[0])[0].parent, {media.discs.media.archive.name: head.sums}
    with FileSource(str(archive)) as source:
        found = {archive.name: read_head(source).sums}
    sidecar = archive.with_name(f"{archive.name}.sha256")
    if sidecar.is_file():
        found[sidecar.name] = read_small_file(sidecar)
    return archive.parent, found


def keep_others(target: Path, key: PublicKey, message: bytes, check: SignatureCheck) -> None:
    """Let a signer's newer signature replace the older one; ``ConfigError`` for anybody else's at ``target``."""
    try:
        there = read_small_file(target, MAX_SIGNATURE)
    except StorageError:
        return
    if not (key.has_shape(there) and check.verify(key, there, message)):
        raise ConfigError(
            f"{target} is there already", why="it is not this key's signature", hint="give another --signer NAME"
        )
