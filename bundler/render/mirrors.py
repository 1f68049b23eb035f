"""The mirror table of a bundle, from its images and the scope the config asks for; pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bundler.render.model import PinnedImage
from loader.bundle.errors import ConfigError
from loader.bundle.manifest import POLICIES, Mirror
from loader.mirrors import NEVER_CONTACT, bare_host, table_faults
from loader.oci.model import ImageRef, repository_in_airgap

SCOPES = ("namespace", "repository", "registry")
PATHS = ("drop-host", "keep-host")
_DEFAULT_POLICY = next(policy for policy in POLICIES if policy != NEVER_CONTACT)


def mirror_table(
    images: Sequence[PinnedImage], *, registry: str, paths: str, scope: str, never_contact: bool
) -> tuple[Mirror, ...]:
    """Return the mirrors that ``images`` need, sources sorted bytewise, each once.

    ``registry`` is ``host[:port][/prefix]``, ``paths`` and ``scope`` the words of the config. Only hosts that
    images name are added: k8s.gcr.io does not bring registry.k8s.io. Raises ``ConfigError`` with every collision
    and every row that an API server would refuse or a node misread.
    """
    faults = [*collisions(images), *_bare_hosts(images, registry, scope)]
    policy = NEVER_CONTACT if never_contact else _DEFAULT_POLICY
    rows = {_row(image, registry, paths, scope): policy for image in images}
    table = tuple(Mirror(source, mirror, policy) for (source, mirror), policy in sorted(rows.items()))
    # A bare host that swallows a port is told above with the image's name.
    faults += [fault for fault in table_faults(table) if not faults]
    if faults:
        raise ConfigError(
            "these images cannot be mirrored as the config says",
            faults=faults,
            hint="see paths and mirrors.scope: keep-host parts registries, repository is the narrowest scope",
        )
    return table


def collisions(images: Sequence[PinnedImage]) -> list[tuple[str, str]]:
    """Return every (image, problem) where two digests would go under one name in the airgap."""
    first: dict[str, PinnedImage] = {}
    faults = []
    for image in images:
        other = first.setdefault(image.target, image)
        if other.digest != image.digest:
            faults.append((str(image), f"and {other} both become {image.target}, with different digests"))
    return faults


def _row(image: PinnedImage, registry: str, paths: str, scope: str) -> tuple[str, str]:
    host, _, repository = image.source.partition("/")
    target = image.repository
    if target != repository_in_airgap(ImageRef(host, repository, None, None), keep_host=paths == "keep-host"):
        raise RuntimeError(f"{image.source} was resolved to {target}, which is not {paths}")
    if scope == "repository" or (scope == "namespace" and "/" not in repository):
        # A repository without a namespace has its own row: its parent would be the bare host.
        return image.source, f"{registry}/{target}"
    if scope == "namespace":
        return image.source.rpartition("/")[0], f"{registry}/{target.rpartition('/')[0]}"
    inside = target[: -len(repository)].rstrip("/")
    return host, f"{registry}/{inside}" if inside else registry


def _bare_hosts(images: Sequence[PinnedImage], registry: str, scope: str) -> Iterator[tuple[str, str]]:
    if scope != "registry":
        return
    hosts = {image.source.partition("/")[0] for image in images}
    for other in sorted({*hosts, registry.partition("/")[0]}):
        host = bare_host(other)
        if host in hosts:
            yield host, f"as a mirror source would also match {other} and break its names; use scope: namespace"
