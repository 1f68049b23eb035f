"""A verified bundle as one site gets it: where its images go, which documents hold for this registry."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Optional, Union

from loader.bundle.errors import BundleError, ConfigError, FormatError
from loader.bundle.manifest import Attachment, Document, Image, Mirror
from loader.bundle.strictjson import loads
from loader.bundle.verify import VerifiedBundle
from loader.cluster.wishes import Pair
from loader.mirrors import MirrorDocument, render_mirrors, retarget, scopes_of
from loader.nodefiles import render_node_files
from loader.oci.model import RegistryTarget, tag_in_airgap
from loader.oci.pushplan import PushBlob, PushImage, PushManifest
from loader.signatureplaces import POLICIES, render_signature_places
from loader.units import counted

_MAX_DEPTH = 64  # a CRD's schema nests deeper than bundle.json ever does
# ``--only`` names to the phases they mean; files for nodes say the same mirrors where no object does.
ONLY = {"mirrors": ("mirrors", "nodes"), "manifests": ("before-rook", "after-rook"), "rook": ("rook",)}


@dataclass(frozen=True)
class SiteDocument:
    """A document with the bytes it has here, and its parsed object; None for files that are not applied."""

    document: Document
    content: bytes
    parsed: object


@dataclass(frozen=True)
class PushSet:
    """What a push takes: images, and all blobs in archive order. ``base``: the id of what a delta builds on."""

    images: tuple[PushImage, ...]
    blobs: tuple[PushBlob, ...]
    base: Optional[str] = None


class BundleBodies:
    """Blobs straight out of the first archive that has one, each block checked before it is handed on."""

    def __init__(self, *bundles: VerifiedBundle) -> None:
        self._bundles = bundles

    def open(self, digest: str, /) -> AbstractContextManager[Iterator[memoryview]]:
        """Open a blob from its first byte."""
        return self._opened(digest)

    def has(self, digest: str, /) -> bool:
        """Tell whether an archive carries the blob."""
        return any(bundle.has_blob(digest) for bundle in self._bundles)

    @contextmanager
    def _opened(self, digest: str) -> Iterator[Iterator[memoryview]]:
        bundle = next(bundle for bundle in self._bundles if bundle.has_blob(digest))
        try:
            yield bundle.open_blob(digest)
        except BundleError as error:
            if len(self._bundles) > 1:
                # A delta and what it builds on have members of the same names.
                error.message = f"{bundle.stored.name}: {error.message}"
            raise

    def place(self, digest: str) -> tuple[int, int]:
        """A key that sorts blobs by where they stand; those that nobody carries come first."""
        for number, bundle in enumerate(self._bundles):
            if bundle.has_blob(digest):
                return number, bundle.position(digest)
        return -1, -1


def push_set(
    bundle: VerifiedBundle,
    target: RegistryTarget,
    globs: Sequence[str] = (),
    more: Sequence[VerifiedBundle] = (),
    *,
    listed: bool = False,
) -> PushSet:
    """Return what to push where: every image under ``target``, its children before it.

    With ``globs`` only the images whose name one of them matches; ``ConfigError`` when none does.
    ``more`` are bundles that fill a delta up. ``listed``: without the bytes of manifests, to compare and not to push.
    """

    def body(path: str) -> bytes:
        return b"" if listed else bundle.read(path)

    images = []
    bodies = BundleBodies(bundle, *more)
    blobs: dict[str, PushBlob] = {}
    required = {item.digest: item.repositories for item in bundle.manifest.requires}
    chosen = chosen_images(bundle.manifest.images, globs)
    everything: list[Union[Image, Attachment]] = [*chosen, *attachments_of(bundle, chosen)]
    for image in everything:
        nodes = bundle.graphs[image.path].nodes
        manifests = tuple(PushManifest(node.digest, node.media_type, body(node.path)) for node in nodes)
        named = [blob for node in nodes for blob in node.blobs]
        images.append(
            PushImage(
                target.repository(image.repository),
                tag_in_airgap(image.tag, image.digest) if isinstance(image, Image) else image.tag,
                manifests,
                tuple(dict.fromkeys(blob.digest for blob in named)),
                image.subject if isinstance(image, Attachment) and image.tag is None else None,
                attached=isinstance(image, Attachment),
            )
        )
        for blob in named:
            places = tuple(target.repository(place) for place in required.get(blob.digest, ()))
            blobs[blob.digest] = PushBlob(blob.digest, blob.size, bodies.has(blob.digest), places)
    ordered = sorted(blobs.values(), key=lambda blob: bodies.place(blob.digest))
    return PushSet(tuple(images), tuple(ordered), bundle.manifest.base)


def attachments_of(bundle: VerifiedBundle, images: Sequence[Image]) -> list[Attachment]:
    """What was signed, attested or said of the images or their children, in the same repositories; and of that again.

    What it is said of comes before what is said of it.
    """
    subjects = {(image.repository, node.digest) for image in images for node in bundle.graphs[image.path].nodes}
    found: list[Attachment] = []
    left = list(bundle.manifest.attachments)
    while True:
        new = [item for item in left if (item.repository, item.subject) in subjects]
        if not new:
            return found
        found += new
        left = [item for item in left if (item.repository, item.subject) not in subjects]
        subjects = {(item.repository, item.digest) for item in new}


def chosen_images(images: Sequence[Image], globs: Sequence[str]) -> list[Image]:
    """The images that a glob matches by ``source:tag``, ``source`` or repository; all without globs."""
    if not globs:
        return list(images)
    chosen = [
        image
        for image in images
        for names in [(f"{image.source}:{image.tag}", image.source, image.repository)]
        if any(fnmatch.fnmatchcase(name, glob) for name in names for glob in globs)
    ]
    if not chosen:
        raise ConfigError(
            f"no image matches {', '.join(globs)[:200]}",
            why=f"the bundle has {counted(len(images), 'image')} of other names",
            hint="airgap-loader inspect lists the images of a bundle",
        )
    return chosen


def site_mirrors(bundle: VerifiedBundle, registry: str) -> tuple[Mirror, ...]:
    """The mirror table for ``registry``: the signed one, its registry replaced where the site's is another."""
    return retarget(bundle.manifest.mirrors, bundle.manifest.registry, registry)


def narrowed(table: Sequence[Mirror], images: Sequence[Image]) -> tuple[Mirror, ...]:
    """Return ``table`` with one source for each repository of ``images``, their mirrors as before.

    A node takes the longest source that fits a name: narrow ones are not shadowed by narrow ones of others.
    """
    rows: dict[Mirror, None] = {}
    for image in images:
        scope = next((s for s in scopes_of(image.source) if any(row.source == s for row in table)), None)
        for row in table:
            if row.source == scope:
                # A wildcard stands for the host alone.
                covered = image.source.partition("/")[0] if scope.startswith("*.") else scope
                rest = image.source[len(covered) :]
                rows[Mirror(image.source, row.mirror + rest, row.policy)] = None
    return tuple(rows)


def site_documents(
    bundle: VerifiedBundle, registry: str, *, only: Sequence[str] = (), by_repository: bool = False
) -> tuple[SiteDocument, ...]:
    """Return the bundle's documents for ``registry``, those of ``only`` if it is not empty.

    Mirror documents are rendered from the signed table with the builder's own code; for the bundle's own
    registry they must say what the signed bytes say (comments aside), else ``FormatError``. ``by_repository``: the
    cluster's mirror objects get a source for each repository.
    """
    phases = {phase for name in only for phase in ONLY[name]}
    name = _policy_name(bundle)
    rendered = _rendered(bundle, registry, name)
    own = registry == bundle.manifest.registry
    table = narrowed(site_mirrors(bundle, registry), bundle.manifest.images) if by_repository and name else ()
    narrow = {item.path: item for item in render_mirrors(table, name=name or "") if item.object is not None}
    documents = []
    for document in bundle.manifest.documents:
        if phases and document.phase not in phases:
            continue
        signed = bundle.read(document.path)
        mirror = rendered.get(document.path)
        if mirror is not None:
            if own and _without_comments(mirror.content) != _without_comments(signed):
                raise FormatError(
                    f"{document.path} is not what its mirror table gives",
                    why="the signed document and the signed table differ",
                    hint="what an officer read would not be what is applied: have the bundle built again",
                )
            own_words = signed if own else mirror.content
            chosen = narrow.get(document.path)
            documents.append(
                SiteDocument(document, chosen.content, chosen.object)
                if chosen
                else SiteDocument(document, own_words, mirror.object)
            )
        elif document.path.startswith(f"{POLICIES}/") and document.action == "file":
            documents.append(SiteDocument(document, signed, None))
        elif document.phase == "nodes" and not own:
            continue  # a file that cannot say this registry's mirrors, as the builder would have left it out
        elif document.phase in {"mirrors", "nodes"}:
            raise FormatError(
                f"{document.path} is no rendering of the mirror table", why="this loader does not know it"
            )
        else:
            parsed = loads(signed, document.path, max_depth=_MAX_DEPTH) if document.action != "file" else None
            documents.append(SiteDocument(document, signed, parsed))
    return tuple(documents)


def _rendered(bundle: VerifiedBundle, registry: str, name: Optional[str]) -> dict[str, MirrorDocument]:
    """Every rendering for ``registry`` by path; without a mirror document there is no name to render them for."""
    if not name:
        return {}
    table, manifest = site_mirrors(bundle, registry), bundle.manifest
    places = render_signature_places(manifest.images, manifest.attachments, registry=registry, name=name)
    found = (*render_mirrors(table, name=name), *render_node_files(table).documents, *places)
    return {item.path: item for item in found}


def _without_comments(text: bytes) -> list[bytes]:
    """The lines that count: the header comments are prose, and a later version may word them another way."""
    return [line for line in text.splitlines() if not line.startswith(b"#")]


def _policy_name(bundle: VerifiedBundle) -> Optional[str]:
    names = {d.target.name for d in bundle.manifest.documents if d.phase == "mirrors" and d.target is not None}
    if len(names) > 1:
        raise FormatError("the mirror documents do not have one name", why=", ".join(sorted(names)))
    return names.pop() if names else None


def of_mirrors(item: SiteDocument) -> bool:
    """Tell whether a document is a mirror object for the cluster, which ``--mirrors manual`` and ``none`` leave out."""
    return item.document.phase == "mirrors"


def pairs(documents: Sequence[SiteDocument]) -> list[Pair]:
    """The documents as the cluster side takes them."""
    return [(item.document, item.parsed) for item in documents]
