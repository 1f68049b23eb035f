"""What the bundle will say: images, directories, documents, ``bundle.json``, and the signed head.

Everything here is decided from manifests alone, before a single layer is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Optional, Union

from bundler.config import BuildConfig
from bundler.delta import Base, without
from bundler.fetch import libzstd_version
from bundler.imagesignatures import COSIGN
from bundler.lock import Lock
from bundler.pack import PackedImage, directory_name, plan_files
from bundler.remembered import remembered
from bundler.render.documents import bundle_mirrors, render_documents, render_signatures
from bundler.render.imagepolicy import SignedImage
from bundler.render.model import PinnedImage, Rendered
from bundler.resolve import Attached, ResolvedImage
from bundler.sequence import floor_of, newest, numbered
from bundler.targets import require_one_each
from loader import __version__
from loader.bundle import manifest as manifests
from loader.bundle.errors import ConfigError, FormatError
from loader.bundle.graph import VERSION_FILE
from loader.bundle.head import Head
from loader.bundle.limits import MAX_MEMBER
from loader.bundle.tarlayout import check_name, payload_size
from loader.signatureplaces import SIGNATURE
from loader.signing import CryptographyCheck, Signer

FOREIGN = "foreign layer: its bytes are hosted elsewhere"
"""Why such a layer is left out, in ``bundle.json`` and for people."""
_PLATFORM = "platform "


@dataclass(frozen=True)
class Composition:
    """A bundle decided but not written; ``lock`` is what to keep once it is."""

    head: Head
    manifest: manifests.BundleManifest
    documents: tuple[Rendered, ...]
    packed: tuple[PackedImage, ...]
    lock: Lock

    @property
    def name(self) -> str:
        """``NAME-VERSION``."""
        return f"{self.manifest.name}-{self.manifest.version}"

    @property
    def texts(self) -> dict[str, bytes]:
        """Content of every member that is at hand, by path."""
        texts = {item.document.path: item.content for item in self.documents}
        for image in self.packed:
            texts.update({f"{image.directory}/{name}": data for name, data in image.texts.items()})
        return texts


def compose(
    config: BuildConfig,
    lock: Lock,
    resolved: Sequence[ResolvedImage],
    signers: Sequence[Signer],
    *,
    now: int,
    there: Optional[Head] = None,
    base: Optional[Base] = None,
) -> Composition:
    """Render, list every file, choose the sequence and sign. Raises ``ConfigError`` for what can't be rendered.

    ``there`` is the head of the bundle of this name and version that was built before: one that differs in nothing but
    its time and sequence is taken as it is, signatures included, so that building twice gives one bundle. With ``base``
    it is a delta: what the base has is required, not carried.
    """
    locked = remembered(lock, resolved, utc(now))
    _require_possible(resolved)
    require_one_each(resolved)
    images, packed = _directories(resolved)
    attachments, beside = _attachments(resolved)
    packed, requires = _delta((*packed, *beside), base)
    pinned = [_pinned(image) for image in resolved]
    signed = [found for image in resolved for found in _signed(image)]
    documents = render_documents(config, pinned, render_signatures(config, images, attachments, (signed, pinned)))
    files = _files(documents, packed)
    mirrors = bundle_mirrors(config, pinned)
    manifest = manifests.BundleManifest(
        format_version=1,
        name=config.name,
        version=config.version,
        sequence=0,
        created=utc(now),
        not_after=config.not_after,
        builder=manifests.Builder(f"airgap-bundler {__version__}", libzstd_version()),
        complete=base is None,
        base=None if base is None else base.id,
        registry=config.registry,
        images=images,
        attachments=attachments,
        mirrors=mirrors,
        documents=tuple(item.document for item in documents),
        files=files,
        requires=requires,
        payload_size=payload_size(files),
    )
    before = manifests.decode(there.manifest) if there is not None else None
    head, manifest = numbered(manifest, lock, before, (config.sequence, now), floor_of(config, base))
    head = _signed_head(head, signers, there)
    return Composition(head, manifest, documents, packed, replace(locked, last=newest(lock, manifest, head)))


def _files(documents: Sequence[Rendered], packed: Sequence[PackedImage]) -> tuple[manifests.File, ...]:
    files = plan_files({item.document.path: item.content for item in documents}, packed)
    try:
        for file in files:
            check_name(file.path)
        return files
    except FormatError as error:
        # Only the files that containerd reads are named by a host.
        raise ConfigError(
            error.message,
            why=error.why,
            hint="leave out the image whose host has such a long name, or shorten the host",
        ) from error


def _delta(
    packed: tuple[PackedImage, ...], base: Optional[Base]
) -> tuple[tuple[PackedImage, ...], tuple[manifests.Require, ...]]:
    if base is None:
        return packed, ()
    slim = [without(image, base) for image in packed]
    required = {item.digest: item for _, left_out in slim for item in left_out}
    return tuple(image for image, _ in slim), tuple(required[digest] for digest in sorted(required))


def utc(seconds: int) -> str:
    """``seconds`` since the epoch as ``YYYY-MM-DDTHH:MM:SSZ``."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _pinned(image: ResolvedImage) -> PinnedImage:
    name = image.config.name
    return PinnedImage(name.name, name.tag, image.digest, image.config.repository, _rewritten(image))


def _signed(image: ResolvedImage) -> Iterator[SignedImage]:
    """Yield the required signatures that nodes can check: those of cosign's tag."""
    subjects = {one.subject for one in image.attached if one.kind == SIGNATURE}
    children = all(child.descriptor.digest in subjects for child in image.children if child.descriptor.platform)
    for found in image.signed:
        if found.form == COSIGN:
            yield SignedImage(_pinned(image), found.key.pem, found.identity, children)


def _rewritten(image: ResolvedImage) -> Optional[str]:
    return None if image.upstream == image.digest else image.upstream


def _directories(
    resolved: Sequence[ResolvedImage],
) -> tuple[tuple[manifests.Image, ...], tuple[PackedImage, ...]]:
    """The entries of ``images[]`` and their directories; entries with one digest share one directory."""
    packed: dict[str, PackedImage] = {}
    whole = _merged(resolved)
    images = []
    for index, image in enumerate(resolved):
        name = image.config.name
        if image.digest not in packed:
            packed[image.digest] = _packed(directory_name(index, name.repository), whole[image.digest])
        images.append(
            manifests.Image(
                source=name.name,
                tag=name.tag,
                digest=image.digest,
                media_type=image.parsed.media_type,
                platforms=image.platforms,
                path=packed[image.digest].directory,
                repository=image.config.repository,
                omitted=_omitted(whole[image.digest]),
                rewritten=_rewritten(image),
            )
        )
    return tuple(images), tuple(packed.values())


def _attachments(
    resolved: Sequence[ResolvedImage],
) -> tuple[tuple[manifests.Attachment, ...], tuple[PackedImage, ...]]:
    """The entries of ``attachments[]``, each once in a repository, and their directories behind the images'."""
    packed: dict[str, PackedImage] = {}
    listed: dict[tuple[str, str, str], manifests.Attachment] = {}
    for repository, one in ((image.config.repository, one) for image in resolved for one in image.attached):
        if one.digest not in packed:
            directory = directory_name(len(resolved) + len(packed), one.kind)
            packed[one.digest] = _packed(directory, one)
        listed.setdefault(
            (repository, one.subject, one.tag or one.digest),
            manifests.Attachment(
                kind=one.kind,
                subject=one.subject,
                digest=one.digest,
                path=packed[one.digest].directory,
                repository=repository,
                tag=one.tag,
            ),
        )
    return tuple(listed.values()), tuple(packed.values())


def _merged(resolved: Sequence[ResolvedImage]) -> Mapping[str, ResolvedImage]:
    """The images by digest, each with the children that any of its entries takes."""
    merged: dict[str, ResolvedImage] = {}
    for image in resolved:
        other = merged.setdefault(image.digest, image)
        taken = {child.descriptor.digest: child for child in (*other.children, *image.children)}
        merged[image.digest] = replace(
            other,
            children=tuple(taken[child.digest] for child in image.parsed.children if child.digest in taken),
            left_out=tuple(child for child in image.parsed.children if child.digest not in taken),
            signatures={**image.signatures, **other.signatures},
        )
    return merged


def _require_possible(resolved: Sequence[ResolvedImage]) -> None:
    """Raise ``ConfigError`` for a blob of a size that none can have, or of two: a manifest lies."""
    sizes: dict[str, int] = {}
    for image in resolved:
        for parsed in image.all_manifests:
            for blob in (*([parsed.config] if parsed.config else []), *parsed.layers):
                if sizes.setdefault(blob.digest, blob.size) != blob.size or not 0 <= blob.size <= MAX_MEMBER:
                    raise ConfigError(
                        f"image {image.config.name} names {blob.digest} with a size it can't have",
                        why=f"{blob.size} bytes; elsewhere it has {sizes[blob.digest]}, and {MAX_MEMBER} is the most",
                        hint="have that image made anew, or leave it out",
                    )


def sparse_warning(manifest: manifests.BundleManifest) -> Iterator[str]:
    """Say which images keep an index of which children stay at home: hardly a registry takes one as it comes."""
    sparse = [f"{image.source}:{image.tag}" if image.tag else image.source for image in manifest.images if _gaps(image)]
    if sparse:
        more = f" and {len(sparse) - 1} more" if len(sparse) > 1 else ""
        yield (
            f"{sparse[0]}{more}: an index without all of its platforms, which most registries refuse unless they are "
            "told to take it; --rewrite-index takes the platform's own manifest"
        )


def _gaps(image: manifests.Image) -> bool:
    return any(left.reason.startswith(_PLATFORM) for left in image.omitted)


def _omitted(image: ResolvedImage) -> tuple[manifests.Omitted, ...]:
    """What the manifests name and the bundle does not carry."""
    foreign = {layer.digest for parsed in image.manifests for layer in parsed.layers if layer.foreign}
    reasons = dict.fromkeys(foreign, FOREIGN)
    for child in image.left_out:
        reasons[child.digest] = f"{_PLATFORM}{child.platform or 'unknown'} is not asked for"
    return tuple(manifests.Omitted(digest, reason) for digest, reason in sorted(reasons.items()))


def _packed(directory: str, image: Union[ResolvedImage, Attached]) -> PackedImage:
    signatures = image.signatures if isinstance(image, ResolvedImage) else {}
    texts = {"version": VERSION_FILE, "manifest.json": image.data, **signatures}
    texts.update({f"{child.descriptor.digest[7:]}.manifest.json": child.data for child in image.children})
    return PackedImage(
        directory,
        texts,
        tuple(parsed.config for parsed in image.manifests if parsed.config),
        tuple(layer for parsed in image.manifests for layer in parsed.layers if not layer.foreign),
    )


def _signed_head(head: Head, signers: Sequence[Signer], there: Optional[Head]) -> Head:
    """Sign ``head``; the same one that was signed by the same keys before stays as it is.

    A token's signatures are other bytes every time, and a build that was stopped goes on under its head alone.
    """
    if there is not None and there.sums == head.sums and _made_by(there, signers):
        return replace(head, signatures=there.signatures)
    signatures = {signer.label: signer.sign(head.sums) for signer in signers}
    return replace(head, signatures=tuple(sorted(signatures.items())))


def _made_by(there: Head, signers: Sequence[Signer]) -> bool:
    by_label = dict(there.signatures)
    if there.signatures != tuple(sorted(by_label.items())) or by_label.keys() != {one.label for one in signers}:
        return False
    check = CryptographyCheck()
    return all(
        one.public.has_shape(by_label[one.label]) and check.verify(one.public, by_label[one.label], there.sums)
        for one in signers
    )
