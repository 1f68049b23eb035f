"""What each tag is to name in the airgap: an image that is listed, or what belongs to one, and never two of them."""

from __future__ import annotations

from collections.abc import Sequence

from bundler.resolve import ResolvedImage
from loader.bundle.errors import ConfigError

_LISTED = "leave out the one that is listed: what belongs to an image goes with it"
_TWICE = "paths: keep-host parts registries; attachments: false for one of the two leaves out what belongs to it"


def require_one_each(resolved: Sequence[ResolvedImage]) -> None:
    """Raise ``ConfigError``, naming all of them, for attachments on a tag that is to name something else.

    Listed images among themselves are compared where their mirrors are (:mod:`bundler.render.mirrors`).
    """
    named = {
        (image.config.repository, image.config.name.tag): (image.digest, str(image.config.name)) for image in resolved
    }
    listed = {name for _, name in named.values()}
    faults, others = [], set()
    for image in resolved:
        for one in image.attached:
            if one.tag is None:
                continue
            what = f"the {one.kind} of {image.config.name}"
            digest, other = named.setdefault((image.config.repository, one.tag), (one.digest, what))
            if digest != one.digest:
                target = f"{image.config.repository}:{one.tag}"
                faults.append((what, f"and {other} both become {target}, with different digests"))
                others.add(other)
    if faults:
        raise ConfigError(
            "two images with different digests on one target path",
            faults=faults,
            hint=_LISTED if others & listed else _TWICE,
        )
