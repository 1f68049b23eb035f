"""What the tags of a config name upstream now, against the lock."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.imagelist import ConfigImage
from bundler.lock import Lock
from bundler.resolve import OpenSource
from bundler.sidebyside import side_by_side
from loader.bundle.digest import digest_of


def moved_upstream(
    images: Sequence[ConfigImage], lock: Lock, open_source: OpenSource, *, jobs: int
) -> list[tuple[str, str, str]]:
    """Return (name, locked digest, digest now) of every locked image whose name means another one by now.

    Only manifests are read. Raises the first error, in config order.
    """

    def now(image: ConfigImage) -> tuple[str, str, str]:
        data, _ = open_source(image, None).manifest()
        return str(image.name), lock.images[str(image.name)].digest, digest_of(data)

    asked = [image for image in images if image.name.digest is None and str(image.name) in lock.images]
    return [found for found in side_by_side(now, asked, jobs=jobs) if found[1] != found[2]]
