"""The sidecar ``X.tar.zst.sha256``, where a trusted key signed it: the one hash over every bit of the archive file.

Steps 1 to 7 prove content. A zstd frame can hold the same content in many ways, so of such frames some bits are seen
by this hash alone (docs/decisions/0020).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loader.archivehash import ArchiveHash, hashed
from loader.bundle.errors import AirgapError, FormatError, StorageError, TrustError
from loader.bundle.verify import Trust, VerifiedBundle, verify_list
from loader.signaturefiles import signatures_beside
from loader.signing import read_small_file

_LINE = re.compile(rb"([0-9a-f]{64})  [A-Za-z0-9._-]{1,128}\n")
LOOSE_BITS = "bits of zstd frames that change no content, which --sidecar would see"
_HINT = "the archive or its sidecar was damaged or exchanged: get another copy of both"


@dataclass(frozen=True)
class Sidecar:
    """What the file ``name`` says the archive's SHA-256 is, and who of the trusted signed it.

    ``signatures``: theirs. Without ``signers`` it says nothing, for ``reason``: an unsigned hash is as good as the hand
    that put it there.
    """

    name: str
    sha256: str = ""
    signers: tuple[str, ...] = ()
    reason: str = ""
    signatures: tuple[bytes, ...] = ()

    def require_signed(self) -> None:
        """Raise ``TrustError`` where there is nothing to compare with."""
        if not self.signers:
            raise TrustError(
                f"the archive cannot be compared with {self.name}",
                why=self.reason,
                hint="without --sidecar its content is checked in full, and not this",
            )

    def compare(self, archive: ArchiveHash) -> None:
        """Wait for the archive's hash, and raise ``TrustError`` where it is not the signed one."""
        row = archive.row()
        if row is None or row["sha256"] is None:
            raise StorageError(f"the SHA-256 to compare with {self.name} was not made", why="a part could not be read")
        if row["sha256"] != self.sha256:
            raise TrustError(
                f"{row['name']} is not the file that its sidecar names",
                why=f"{', '.join(self.signers)} signed {self.sha256}, the file has {row['sha256']}",
                hint=_HINT,
            )

    def held(self) -> SidecarCheck:
        """The check, once it was made."""
        signers = ", ".join(self.signers)
        return SidecarCheck(result=f"ok: the file's SHA-256 is the one in {self.name}, signed by {signers}")


@dataclass(frozen=True)
class SidecarCheck:
    """What there is to say of the archive file's own hash.

    ``result`` where it was compared, ``omitted`` what stays unseen where it was not; both empty otherwise.
    """

    result: str = ""
    omitted: str = ""

    def lines(self) -> Iterator[tuple[str, str]]:
        """The same as (step, text)."""
        if self.result:
            yield "sidecar", self.result
        elif self.omitted:
            yield "sidecar", f"not compared: {self.omitted}"


def read_sidecar(archive: Path, trust: Trust, extra: Sequence[Path] = ()) -> Sidecar:
    """Return what the sidecar of ``archive`` says, if a signature beside it or one of ``extra`` is a trusted key's.

    Raises ``FormatError`` where a trusted key signed something that is no sidecar.
    """
    name = f"{archive.name}.sha256"
    try:
        path = archive.with_name(name)
        data = read_small_file(path)
        signers = verify_list(data, signatures_beside(path, extra), trust, "sidecar")
    except AirgapError as error:
        return Sidecar(name, reason=f"{error.message}: {error.why}" if error.why else error.message)
    found = _LINE.fullmatch(data)
    if found is None:
        raise FormatError(f"{name} is not a sidecar", why="expected one line, as sha256sum writes it", hint=_HINT)
    return Sidecar(
        name,
        found[1].decode("ascii"),
        tuple(signer.key.name for signer in signers),
        signatures=tuple(signer.signature for signer in signers),
    )


def has_loose_bits(bundle: VerifiedBundle) -> bool:
    """Tell whether the archive has bits that change no content: those of zstd frames."""
    return any(file.stored == "zstd" for file in bundle.manifest.files)


@contextmanager
def compared(bundle: VerifiedBundle, sidecar: Sidecar) -> Iterator[None]:
    """Hash the archive beside the block, and compare at its end."""
    with hashed(bundle.stored) as archive:
        yield
        sidecar.compare(archive)
