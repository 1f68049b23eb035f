"""All documents of a bundle, in order; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bundler.config import BuildConfig, ManifestFile
from bundler.pinning import Pinned, pin
from bundler.render.helm import render_helm
from bundler.render.imagepolicy import SignedImage, render_policies
from bundler.render.manifests import document_path
from bundler.render.mirrors import mirror_table
from bundler.render.model import PinnedImage, Rendered
from bundler.render.rook import render_rook
from loader.bundle.errors import ConfigError
from loader.bundle.limits import MAX_DOCUMENT
from loader.bundle.manifest import Attachment, Document, Image, Mirror, Target, When
from loader.mirrors import MirrorDocument, render_mirrors
from loader.nodefiles import render_node_files
from loader.signatureplaces import render_signature_places

# What the cluster must serve for a mirror kind to be taken. ITMS drains every node, so it is applied only where the
# config asks for it, and else is for a person to apply.
_SERVED = {
    "icsp": "operator.openshift.io/v1alpha1/imagecontentsourcepolicies",
    "idms": "config.openshift.io/v1/imagedigestmirrorsets",
    "itms": "config.openshift.io/v1/imagetagmirrorsets",
}
_APPLIED = ("icsp", "idms")
# One file for each kind of node; the drop-in registries.conf, which every engine reads, is named by itself.
HELM = "helm/"
NODE_FILES = ("containerd/", "registries.yaml", "hypershift.yaml", "microshift.conf")


def bundle_mirrors(config: BuildConfig, images: Sequence[PinnedImage]) -> tuple[Mirror, ...]:
    """Return ``mirrors[]`` of the bundle. Raises ``ConfigError`` on what :func:`mirror_table` refuses."""
    return mirror_table(
        images,
        registry=config.registry,
        paths=config.paths,
        scope=config.mirrors.scope,
        never_contact=config.mirrors.never_contact_source,
    )


def render_documents(
    config: BuildConfig, images: Sequence[PinnedImage], signatures: Sequence[Rendered] = ()
) -> tuple[Rendered, ...]:
    """Render mirrors, Rook patches and manifests, in this order; ``signatures`` stand behind the mirrors.

    Raises ``ConfigError`` for images that cannot be mirrored as asked or are no complete Rook set.
    """
    table = bundle_mirrors(config, images)
    name = config.mirrors.name
    rendered = (*render_mirrors(table, name=name), *render_node_files(table).documents)
    applied = (*_APPLIED, "itms") if config.mirrors.tags else _APPLIED
    documents = [*(_mirror(item, name, applied) for item in rendered), *signatures]
    if config.rook is not None:
        documents += [*render_rook(config.rook, images), *render_helm(config.rook, images)]
    documents += [_manifest(index, item, images) for index, item in enumerate(config.manifests, 1)]
    return tuple(documents)


def render_signatures(
    config: BuildConfig,
    images: Sequence[Image],
    attachments: Sequence[Attachment],
    signed: tuple[Sequence[SignedImage], Sequence[PinnedImage]],
) -> tuple[Rendered, ...]:
    """Render what the airgap needs to check signatures: where nodes find them, and what had to be ``signed``."""
    name = config.mirrors.name
    places = render_signature_places(images, attachments, registry=config.registry, name=name)
    return (*(_mirror(item, name) for item in places), *render_policies(name, *signed))


def summary(documents: Sequence[Rendered]) -> str:
    """Return the documents as the build's log line shows them: ``7 documents (icsp idms …), 6 node files, …``."""
    # The loader takes the first mirror kind that is served, so idms stands first in the bundle; people look by name.
    ours = ("mirrors", "nodes")
    named = [item for item in documents if not item.name.startswith((*NODE_FILES, HELM))]
    names = sorted(item.name for item in named if item.document.phase in ours)
    names += [item.name for item in named if item.document.phase not in ours]
    helm = sum(item.name.startswith(HELM) for item in documents)
    counts = ((len(documents) - len(named) - helm, "node file"), (helm, "Helm file"))
    files = "".join(f", {count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count)
    return f"{len(names)} document{'' if len(names) == 1 else 's'} ({' '.join(names)}){files}"


def _mirror(item: MirrorDocument, name: str, applied: Sequence[str] = _APPLIED) -> Rendered:
    target = None
    if item.object is not None:
        target = Target(str(item.object["apiVersion"]), str(item.object["kind"]), None, name)
    document = Document(
        path=item.path,
        phase="mirrors" if target else "nodes",
        action="apply" if item.name in applied else "file",
        target=target,
        wait="pools" if item.name in applied else None,
        when=When(api=_SERVED.get(item.name), rook=None),
        otherwise="skip",
    )
    return Rendered(item.name, document, item.content)


def pinned_manifests(config: BuildConfig, images: Sequence[PinnedImage]) -> Iterator[tuple[str, Pinned]]:
    """Yield (path in the config, what pinning did) of every manifest that asks for it."""
    for item in config.manifests:
        if item.pin:
            yield item.path, pin(item.content, images)


def _manifest(index: int, item: ManifestFile, images: Sequence[PinnedImage]) -> Rendered:
    path = document_path(index, item.path)
    content = pin(item.content, images).content if item.pin else item.content
    if len(content) > MAX_DOCUMENT:
        raise ConfigError(
            f"manifest {item.path} is too large once its images are pinned",
            why=f"{len(content)} bytes as JSON; at most {MAX_DOCUMENT}",
            hint="split the file",
        )
    document = Document(
        path=path,
        phase=item.phase,
        action="apply",
        target=None,
        wait=None,
        when=When(api=None, rook=None),
        otherwise="refuse",
    )
    return Rendered(path.rpartition("/")[2].partition("-")[2].partition(".")[0], document, content)
