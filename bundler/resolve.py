"""Config images to manifests: every tag becomes a digest once, every child manifest is fetched and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Optional, Protocol, Union

from bundler.fetch import BlobSource
from bundler.imagelist import ConfigImage
from bundler.imagesignatures import Signed
from bundler.lock import Lock, Locked
from bundler.neighbours import Neighbours
from bundler.platforms import kept_children, rewritten_index
from bundler.sidebyside import side_by_side
from loader.bundle.digest import digest_of, require_digest
from loader.bundle.errors import AirgapError, ConfigError, FormatError, RegistryError, StorageError, TrustError
from loader.bundle.limits import MAX_CONFIG
from loader.bundle.ocimanifest import Descriptor, ParsedManifest, parse_manifest
from loader.oci.platforms import matches

_UNNAMED = frozenset({None, "unknown/unknown"})  # buildkit gives attestation manifests the latter as a platform


class ManifestSource(Protocol):
    """Manifests of an image outside."""

    def manifest(self, digest: Optional[str] = None) -> tuple[bytes, str]:
        """Return (bytes, media type) of the image's own manifest, or of the child ``digest``."""
        ...


class ImageSource(ManifestSource, BlobSource, Protocol):
    """An image outside: its manifests and blobs, the signature files of a dir layout, what stands beside it."""

    def signatures(self) -> Mapping[str, bytes]:
        """Return simple-signing files by name (``signature-1``), empty for a registry."""
        ...

    def neighbours(self) -> Optional[Neighbours]:
        """Return what stands beside it in its repository; None where it is in none."""
        ...


# Opens an image at a digest, or at whatever its reference names now.
OpenSource = Callable[[ConfigImage, Optional[str]], ImageSource]


@dataclass(frozen=True)
class Child:
    """A manifest of the image: its file name in the layout, digest, bytes, and what they say."""

    descriptor: Descriptor
    data: bytes
    parsed: ParsedManifest


@dataclass(frozen=True)
class Attached:
    """A signature, attestation, SBOM or other referrer of ``subject``, with its manifests.

    ``tag`` is None for what the registry finds from ``subject`` itself.
    """

    kind: str
    subject: str
    tag: Optional[str]
    digest: str
    data: bytes
    parsed: ParsedManifest
    children: tuple[Child, ...]

    @property
    def manifests(self) -> tuple[ParsedManifest, ...]:
        """The image manifests."""
        return tuple(child.parsed for child in self.children) if self.parsed.is_index else (self.parsed,)


@dataclass(frozen=True)
class ResolvedImage:
    """An image with the manifests that are taken of it.

    ``blobs`` holds bytes of blobs that had to be read on the way, ``left_out`` the children of an index that are
    named and not taken. ``upstream`` is the digest outside; it differs from ``digest`` where the index was rewritten.
    ``beside``: what belongs to each manifest that was asked for, by its digest, nothing where there is none.
    ``signed``: the signatures that the config requires, checked.
    """

    config: ConfigImage
    source: ImageSource
    digest: str
    data: bytes
    parsed: ParsedManifest
    children: tuple[Child, ...]
    platforms: tuple[str, ...]
    signatures: Mapping[str, bytes]
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    left_out: tuple[Descriptor, ...] = ()
    upstream: str = ""
    offered: tuple[str, ...] = ()
    beside: Mapping[str, tuple[Attached, ...]] = field(default_factory=dict)
    signed: tuple[Signed, ...] = ()

    @property
    def manifests(self) -> tuple[ParsedManifest, ...]:
        """The image manifests, in index order; of a single image the one."""
        return tuple(child.parsed for child in self.children) if self.parsed.is_index else (self.parsed,)

    @property
    def attached(self) -> tuple[Attached, ...]:
        """Everything that belongs to one of its manifests."""
        return tuple(one for found in self.beside.values() for one in found)

    @property
    def all_manifests(self) -> tuple[ParsedManifest, ...]:
        """The image manifests, and those of everything attached."""
        return (*self.manifests, *(parsed for one in self.attached for parsed in one.manifests))


def resolve(
    images: Sequence[ConfigImage],
    lock: Lock,
    open_source: OpenSource,
    *,
    jobs: int,
) -> tuple[ResolvedImage, ...]:
    """Fetch and check the manifests of ``images``, ``jobs`` at a time; locked ones by their digest.

    Raises the one error there was, or for several one that lists them all: of the gravest kind among them.
    """

    def attempt(image: ConfigImage) -> Union[ResolvedImage, AirgapError]:
        try:
            return _resolve(image, lock.images.get(str(image.name)), open_source)
        except AirgapError as error:
            return error

    results = side_by_side(attempt, images, jobs=jobs)
    errors = [(image, found) for image, found in zip(images, results) if isinstance(found, AirgapError)]
    if errors:
        _raise(errors, len(images))
    return tuple(found for found in results if isinstance(found, ResolvedImage))


_GRAVEST = (TrustError, ConfigError, StorageError)
"""Of several errors the first of these kinds is the exit code, else the registry's."""


def _raise(errors: Sequence[tuple[ConfigImage, AirgapError]], count: int) -> NoReturn:
    if len({(type(error), str(error)) for _, error in errors}) == 1:
        raise errors[0][1]
    kind = next((kind for kind in _GRAVEST for _, error in errors if isinstance(error, kind)), RegistryError)
    raise kind(
        f"{len(errors)} of {count} images can't be had",
        why="; ".join(f"{image.name}: {error}" for image, error in errors),
        hint=next((error.hint for _, error in errors if error.hint), ""),
    )


def _resolve(image: ConfigImage, locked: Optional[Locked], open_source: OpenSource) -> ResolvedImage:
    wanted = image.name.digest or (locked.digest if locked else None)
    try:
        source = open_source(image, wanted)
        data, media_type = source.manifest()
        if wanted is not None:
            require_digest(data, wanted, f"manifest of {image.name}")
        parsed = parse_manifest(data, str(image.name), media_type)
        kept = kept_children(data, parsed, image.platforms)
        children = tuple(
            read_child(source, child, str(image.name)) for child in parsed.children if child.digest in kept
        )
    except FormatError as error:
        raise ConfigError(f"image {image.name} can't be carried", why=str(error), hint=error.hint) from error
    except TrustError as error:
        raise _moved(image, locked, error) from error
    except RegistryError as error:
        raise _gone(image, locked, error) from error
    _check_tag(image, open_source, locked)
    known = locked if locked is not None and locked.digest == digest_of(data) else None
    offered, blobs = _platforms(source, parsed, str(image.name), known)
    _require_platform(image, offered, found=bool(kept) or not parsed.is_index)
    whole = ResolvedImage(
        image,
        source,
        digest_of(data),
        data,
        parsed,
        children,
        tuple(platform for platform in offered if not image.platforms or matches(platform, image.platforms)),
        source.signatures(),
        blobs,
        tuple(child for child in parsed.children if child.digest not in kept),
        digest_of(data),
        offered,
    )
    return _rewritten(whole) if image.rewrite else whole


def _require_platform(image: ConfigImage, offered: Sequence[str], *, found: bool) -> None:
    # A single image that does not say its platform is taken at its word.
    if image.platforms and (not found or (offered and not any(matches(one, image.platforms) for one in offered))):
        raise ConfigError(
            f"image {image.name} has none of the platforms {', '.join(image.platforms)}",
            why=f"it has {', '.join(offered) or 'no named ones'}",
            hint="name one of them for this image: {image: …, platforms: […]}",
        )


def _rewritten(whole: ResolvedImage) -> ResolvedImage:
    """Replace an index that loses children: by one of those that are taken, or by the manifest of the one platform.

    Signatures of the rest would sign nothing.
    """
    named = {child.descriptor.digest: child for child in whole.children if child.descriptor.platform not in _UNNAMED}
    if whole.config.platforms and len(named) == 1:
        return _one_platform(whole, *named.values())
    if not whole.left_out:
        return whole
    kept = {child.descriptor.digest for child in whole.children}
    data = rewritten_index(whole.data, frozenset(kept))
    return dataclasses.replace(
        whole,
        digest=digest_of(data),
        data=data,
        parsed=parse_manifest(data, f"the rewritten index of {whole.config.name}", whole.parsed.media_type),
        signatures={
            name: text for name, text in whole.signatures.items() if f"sha256:{name.partition('.')[0]}" in kept
        },
        left_out=(),
    )


def _one_platform(whole: ResolvedImage, child: Child) -> ResolvedImage:
    """Take the platform's own manifest, with its own digest: registries that know no index take it too."""
    digest = child.descriptor.digest
    own = f"{digest[7:]}."
    return dataclasses.replace(
        whole,
        digest=digest,
        data=child.data,
        parsed=child.parsed,
        children=(),
        signatures={name[len(own) :]: text for name, text in whole.signatures.items() if name.startswith(own)},
        left_out=(),
    )


class MissingChild(RegistryError):
    """An index is there, and what it names is not."""


def read_child(source: ManifestSource, descriptor: Descriptor, name: str) -> Child:
    """Return a child manifest; ``TrustError`` or ``FormatError`` when it is not what the index says."""
    try:
        data, _ = source.manifest(descriptor.digest)
    except RegistryError as error:
        if error.status != 404:
            raise
        raise MissingChild(
            f"image {name} names {descriptor.digest}, which is not there",
            why=f"it is its manifest for {descriptor.platform or 'a platform it does not name'}",
            hint="platforms: [...] takes those that are there, or have the image pushed anew",
        ) from error
    require_digest(data, descriptor.digest, f"a child manifest of {name}")
    if len(data) != descriptor.size:
        raise FormatError(f"child {descriptor.digest} does not have its size", why=f"{len(data)} bytes")
    return Child(descriptor, data, parse_manifest(data, descriptor.digest, descriptor.media_type))


def _gone(image: ConfigImage, locked: Optional[Locked], error: RegistryError) -> RegistryError:
    """Say of an image that is not there where it stands in the config, and what can be done."""
    if error.status != 404 or isinstance(error, MissingChild):
        return error
    if locked is not None and image.name.digest is None:
        said = f"is locked to {locked.digest} since {locked.resolved}, which is gone"
        hint = f"take what the tag names now: --update {image.name}; or name another place of the old one with from:"
    else:
        said = "is not there"
        hint = "check name and tag; find-images shows what manifests name"
    return RegistryError(f"image {image.name} (line {image.line}) {said}", status=404, why=str(error), hint=hint)


def _moved(image: ConfigImage, locked: Optional[Locked], error: TrustError) -> AirgapError:
    if locked is None or image.name.digest is not None:
        return error
    return TrustError(
        f"image {image.name} is no longer what the lock says",
        why=error.why,
        hint=f"if it is meant to move: --update {image.name}",
    )


def _check_tag(image: ConfigImage, open_source: OpenSource, locked: Optional[Locked]) -> None:
    """Refuse a tag and a digest that disagree, when the image is resolved for the first time (cli.md)."""
    if image.name.digest is None or image.name.tag is None or locked is not None or image.origin != image.name:
        return
    tagged = dataclasses.replace(image, origin=dataclasses.replace(image.name, digest=None))
    data, _ = open_source(tagged, None).manifest()
    found = digest_of(data)
    if found != image.name.digest:
        raise ConfigError(
            f"image {image.name}: tag and digest disagree",
            why=f"{image.name.tag} is {found}",
            hint="leave one of the two out, or take the digest that is meant",
        )


def _platforms(
    source: ImageSource, parsed: ParsedManifest, name: str, known: Optional[Locked]
) -> tuple[tuple[str, ...], Mapping[str, bytes]]:
    if known is not None and not parsed.is_index:
        return known.platforms, {}
    if parsed.is_index:
        found = [child.platform for child in parsed.children if child.platform not in _UNNAMED]
        return tuple(dict.fromkeys(platform for platform in found if platform)), {}
    config = parsed.config
    if config is None or config.size > MAX_CONFIG or not config.media_type.endswith("json"):
        return (), {}
    data = read_blob(source, config, name)
    try:
        plain = json.loads(data)
        parts = [plain["os"], plain["architecture"]] + ([plain["variant"]] if plain.get("variant") else [])
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return (), {config.digest: data}
    platform = "/".join(part for part in parts if isinstance(part, str))
    return ((platform,) if platform.isascii() and platform.isprintable() else ()), {config.digest: data}


def read_blob(source: BlobSource, blob: Descriptor, image: str) -> bytes:
    """Return the bytes of a small blob of ``image``, checked; ``TrustError`` when they are not the digest's."""
    with source.open_blob(blob.digest, blob.size, start=0, length=blob.size) as body:
        view = memoryview(bytearray(blob.size))
        rest = view
        while rest:
            got = body.readinto(rest)
            if not got:
                break
            rest = rest[got:]
    data = bytes(view[: len(view) - len(rest)])
    require_digest(data, blob.digest, f"blob {blob.digest} of {image}")
    return data
