"""What a bundle claims of itself, read without any trust; and what of it is vouched for, without reading all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from loader.bundle import manifest as manifests
from loader.bundle.digest import sha256_hex
from loader.bundle.discs import bundle_head, read_common
from loader.bundle.errors import FormatError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.head import HEAD_TAR, Head, read_head, read_head_tar
from loader.bundle.manifest import BundleManifest
from loader.bundle.mediaset import SetFile
from loader.bundle.prediction import decode_manifest
from loader.bundle.rules import check_manifest
from loader.bundle.sums import is_sums
from loader.bundle.verify import Signer, Trust, verify_list, verify_signatures
from loader.media.opened import open_media
from loader.media.places import find_archive
from loader.opening import Sources, all_signatures, open_bundle
from loader.signaturefiles import signatures_beside


@dataclass(frozen=True)
class Claim:
    """What a bundle claims to be; ``signatures`` are all that came with it, none of them checked."""

    head: Head
    manifest: BundleManifest
    signatures: tuple[tuple[str, bytes], ...]

    def signers(self, trust: Optional[Trust]) -> tuple[tuple[str, ...], bool]:
        """Return who signed it and True; the mere labels and False where no trusted key did or none is given."""
        if trust is not None:
            try:
                return tuple(
                    one.key.name for one in verify_list(self.head.sums, self.signatures, trust, "bundle")
                ), True
            except TrustError:
                pass
        return tuple(label for label, _ in self.signatures), False


def read_claim(sources: Sources, extra: Sequence[Path] = ()) -> Claim:
    """Read what an archive, its ``.head.tar``, or any one disc of a set claims; checked for form but not for trust."""
    listed = [sources] if isinstance(sources, Path) else sources
    archive = find_archive(listed)
    if archive is None:
        with open_media(listed, None) as media:
            head = bundle_head(media.discs)
            signatures = [*all_signatures(media.discs, listed, extra)]
    elif archive.name.endswith(HEAD_TAR):
        with FileSource(str(archive)) as source:
            head = read_head_tar(source)
        whole = archive.with_name(f"{archive.name[: -len(HEAD_TAR)]}.tar.zst")
        signatures = [*head.signatures, *signatures_beside(whole, extra)]
    else:
        with FileSource(str(archive)) as source:
            head = read_head(source)
        signatures = [*head.signatures, *signatures_beside(archive, extra)]
    manifest = manifests.decode(head.manifest)
    check_manifest(manifest)
    if not is_sums(head.sums, manifest.files, sha256_hex(head.manifest)):
        raise FormatError("SHA256SUMS and bundle.json disagree", why="the list made from bundle.json is another one")
    return Claim(head, manifest, tuple(signatures))


def _judge(manifest: BundleManifest, signers: Sequence[Signer], trust: Trust) -> None:
    trust.policy.judge(manifest.name, [signer.key for signer in signers])
    trust.policy.judge_not_after(manifest.not_after, trust.now)


@dataclass(frozen=True)
class VouchedFor:
    """A bundle whose signatures and policy hold, and its documents by path; nothing else of it was read."""

    manifest: BundleManifest
    id: str
    signers: tuple[Signer, ...]
    documents: dict[str, bytes]


def read_vouched(sources: Sources, trust: Trust, *, signatures: Sequence[Path] = ()) -> VouchedFor:
    """Read an archive, or any one disc of a set, as far as its documents, and require its signatures and policy.

    A ``.head.tar`` is judged in the same way and has no documents.
    """
    listed = [sources] if isinstance(sources, Path) else sources
    archive = find_archive(listed)
    if archive is not None and archive.name.endswith(HEAD_TAR):
        claim = read_claim(listed, signatures)
        signers = verify_list(claim.head.sums, claim.signatures, trust, "bundle")
        _judge(claim.manifest, signers, trust)
        return VouchedFor(claim.manifest, claim.head.id, tuple(signers), {})
    if archive is not None:
        with open_bundle(sources, trust, signatures=signatures) as bundle:
            documents = {item.path: bundle.read(item.path) for item in bundle.manifest.documents}
            return VouchedFor(bundle.manifest, bundle.id, bundle.signers, documents)
    with open_media(listed, trust) as media:
        head = bundle_head(media.discs)
        signers = verify_signatures(head, trust, all_signatures(media.discs, sources, signatures))
        manifest, files = decode_manifest(head)
        _judge(manifest, signers, trust)
        wanted = [files[item.path] for item in manifest.documents]
        documents = {
            file.path: read_common(media.discs.discs, SetFile(file.path, file.size, file.sha256)) for file in wanted
        }
        return VouchedFor(manifest, head.id, tuple(signers), documents)
