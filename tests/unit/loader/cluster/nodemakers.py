"""Images and pulls of a site, as the preflight of nodes takes them."""

from __future__ import annotations

from typing import Any

from loader.bundle.manifest import Image
from loader.cluster.preflight import Pulls
from loader.oci.model import RegistryTarget
from tests.unit.loader.cluster.makers import REGISTRY


def image(source: str, *platforms: str) -> Image:
    digest = "sha256:" + "a" * 64
    repository = source.partition("/")[2]
    media = "application/vnd.oci.image.index.v1+json"
    return Image(source, "v1", digest, media, platforms, "images/0001-x", repository, (), None)


def pulls(*images: Image, **changes: Any) -> Pulls:
    known = {"scheme": "https", "private_ca": False, "anonymous": True, **changes}
    return Pulls(images, RegistryTarget.parse(REGISTRY), **known)
