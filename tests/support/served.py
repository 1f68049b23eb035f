"""A bundle for registries: two tags in one repository, names that meet, a signature, a referrer, no tag."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, replace

from bundler.pack import plan_files
from loader.bundle import manifest as m
from loader.bundle import ocimanifest as oci
from loader.bundle.digest import digest_of
from loader.bundle.limits import FRAME
from tests.support.bundles import Recipe, make_recipe, pack_image
from tests.support.images import MadeImage, make_image, make_layer

PREFIX = "registry.example:5000/site"
AMD64 = ("linux/amd64",)
BIG = make_layer("big", FRAME + 70_000)
PLAIN = make_layer("plain", FRAME + 90_000, compressed=False)


@dataclass(frozen=True)
class Served:
    """The recipe and its images: ``one`` (an index), ``two``, ``bare`` (no tag), and what is attached to ``one``."""

    recipe: Recipe
    one: MadeImage
    two: MadeImage
    bare: MadeImage
    signature: MadeImage
    referrer: MadeImage


def make_artifact(text: str, *, kind: str | None = None, subject: MadeImage | None = None) -> MadeImage:
    """An artifact as cosign and oras make them."""
    layer, config = text.encode(), b"{}"
    plain: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": oci.OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": "text/plain", "digest": digest_of(layer), "size": len(layer)}],
        "annotations": {"org.example.note": text},
    }
    if kind:
        plain["artifactType"] = kind
    if subject:
        plain["subject"] = {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.data)}
    data = json.dumps(plain).encode()
    return MadeImage(((digest_of(data), oci.OCI_MANIFEST, data),), {digest_of(layer): layer, digest_of(config): config})


@functools.cache
def served() -> Served:
    """The one bundle of this module, signed by ``builder``."""
    one = make_image(layers=[BIG, PLAIN], name="one")
    two = make_image(layers=[BIG], name="two", platforms=["linux/amd64"], oci_types=True)
    bare = make_image(name="bare", platforms=["linux/amd64"])
    signature = make_artifact("a signature")
    referrer = make_artifact("a statement", kind="application/vnd.example.sbom", subject=one)
    recipe = make_recipe([one, two, bare], registry=PREFIX)
    first, second, third = recipe.manifest.images
    images = (
        replace(first, source="docker.io/ceph/ceph", repository="ceph/ceph", tag="v1"),
        replace(second, source="quay.io/ceph/ceph", repository="ceph/ceph", tag="v2", platforms=AMD64),
        replace(third, source="registry.local:5000/team/bare", repository="team/bare", tag=None, platforms=AMD64),
    )
    attached = (
        m.Attachment("signature", one.digest, signature.digest, "images/0003-ceph", "ceph/ceph", "sha256-1.sig"),
        m.Attachment("referrers", one.digest, referrer.digest, "images/0004-ceph", "ceph/ceph", None),
    )
    packed = [pack_image(image, entry.path, {}) for image, entry in zip((one, two, bare), images)]
    packed += [pack_image(image, item.path, {}) for image, item in zip((signature, referrer), attached)]
    contents = dict(recipe.contents)
    for image, item, pack in zip((signature, referrer), attached, packed[3:]):
        contents.update({f"{item.path}/{name}": data for name, data in pack.texts.items()})
        contents.update({f"{item.path}/{digest[7:]}": data for digest, data in image.blobs.items()})
    made = replace(recipe, contents=contents).change(images=images, attachments=attached, files=plan_files({}, packed))
    return Served(made, one, two, bare, signature, referrer)
