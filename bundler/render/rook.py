"""Rook: which image plays which part, and the patch that names it, by Rook version; pure.

The one place that knows which Rook version reads which key. Source: rook/rook ``pkg/operator/ceph/csi/spec.go`` and
``deploy/examples`` at v1.4.0 to v1.20.6. Every reference is ``name@digest`` and never names the mirror.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from bundler.render.model import PinnedImage, Rendered, json_body
from loader.bundle.errors import ConfigError, FormatError
from loader.bundle.manifest import AUTO, Document, Target, When
from loader.cluster.rookrange import Version, in_range, parse_version
from loader.oci.model import ImageRef

OLDEST: Version = (1, 4, 0)
# From here on no code in Rook reads ROOK_CSI_*_IMAGE: patching it succeeds and changes nothing.
IMAGE_SET: Version = (1, 20, 0)
# Before, the ceph-csi-operator runs only where a site switched it on, with a second container.
CSI_OPERATOR: Version = (1, 18, 0)
# The last release with volume replication of its own, and with an NFS plugin that is not cephcsi, is v1.10.0.
_WITHOUT_THEM: Version = (1, 10, 1)
_REPLICATION = "CSI_VOLUME_REPLICATION_IMAGE"
_RELEASE = re.compile(r"v?[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(?:-[0-9A-Za-z.-]+)?")


@dataclass(frozen=True)
class Role:
    """One part an image can play; ``repositories`` end its repository's name.

    ``since`` is the first Rook with it, ``until`` the first without it again.
    """

    name: str
    repositories: tuple[str, ...]
    config_map_key: Optional[str] = None
    required: bool = False
    since: Version = OLDEST
    until: Version = (999, 0, 0)

    def is_in(self, version: Version) -> bool:
        """Tell whether that Rook has this part."""
        return self.since <= version < self.until


# Required: Rook falls back to a compiled-in tag for each of them, and digest mirrors do not serve tags.
_ROLES = (
    Role("operator", ("rook/ceph",), required=True),
    Role("ceph", ("ceph/ceph",)),
    Role("plugin", ("cephcsi/cephcsi",), "ROOK_CSI_CEPH_IMAGE", required=True),
    Role("registrar", ("csi-node-driver-registrar",), "ROOK_CSI_REGISTRAR_IMAGE", required=True),
    Role("provisioner", ("csi-provisioner",), "ROOK_CSI_PROVISIONER_IMAGE", required=True),
    Role("resizer", ("csi-resizer",), "ROOK_CSI_RESIZER_IMAGE", required=True),
    Role("snapshotter", ("csi-snapshotter",), "ROOK_CSI_SNAPSHOTTER_IMAGE", required=True),
    Role("attacher", ("csi-attacher",), "ROOK_CSI_ATTACHER_IMAGE", required=True),
    Role("addons", ("csiaddons/k8s-sidecar",), "ROOK_CSIADDONS_IMAGE", since=(1, 8, 3)),
    Role("volumeReplication", ("volumereplication-operator",), _REPLICATION, since=(1, 6, 0), until=_WITHOUT_THEM),
    Role("nfs", ("sig-storage/nfsplugin",), "ROOK_CSI_NFS_IMAGE", since=(1, 9, 1), until=_WITHOUT_THEM),
    Role("csiOperator", ("ceph-csi-operator",), since=(1, 15, 0)),
    Role("rbacProxy", ("kube-rbac-proxy",), since=(1, 15, 0), until=CSI_OPERATOR),
    # Its image is the operator's or Ceph's, by release: only the config can say which.
    Role("toolbox", ()),
)
ROLES: Mapping[str, Role] = {role.name: role for role in _ROLES}


@dataclass(frozen=True)
class RookConfig:
    """The config's ``rook:``; ``running`` is the range of Rook versions the documents may be applied to."""

    version: str
    running: str
    operator_namespace: str
    cluster_namespace: str
    ceph_cluster: str
    images: Mapping[str, ImageRef]


def version_problem(text: str) -> Optional[str]:
    """Return why ``text`` is no Rook release we have rules for, or None."""
    version = parse_version(text) if _RELEASE.fullmatch(text) else None
    if version is None:
        return f"{text!a} is not a Rook release such as v1.5.0; name the release the images belong to"
    if version < OLDEST or version[0] != OLDEST[0]:
        return f"{text} is not supported; Rook v1.4.0 and newer v1 releases are"
    return None


def normal_version(text: str) -> str:
    """Return a release as Rook tags it, with its ``v``."""
    return text if text.startswith("v") else f"v{text}"


def default_range(version: str) -> str:
    """Return the same and the previous minor: Rook is upgraded one minor release at a time."""
    major, minor, _ = numbers(version)
    return f">=v{major}.{max(minor - 1, OLDEST[1])}.0 <v{major}.{minor + 1}.0"


def range_problem(version: str, running: str) -> Optional[str]:
    """Return why ``running`` cannot be the range of running versions for a set of ``version``, or None."""
    target = numbers(version)
    try:
        if not in_range(target, running):
            return f"{running!a} leaves out {version} itself"
    except FormatError:
        return f"{running!a} is not a range such as {default_range(version)!r}"
    # The ends of the interval: each bound, the release after it, and the border itself.
    bounds = [parse_version(bound.lstrip("<>=")) or target for bound in running.split(" ")]
    ends = {IMAGE_SET, *bounds, *((a, b, c + 1) for a, b, c in bounds)}
    if target < IMAGE_SET and any(end >= IMAGE_SET and in_range(end, running) for end in ends):
        return f"{running!a} reaches v1.20, where the CSI images of a {version} set would be ignored"
    return None


def assign(rook: RookConfig, images: Sequence[PinnedImage]) -> dict[str, PinnedImage]:
    """Return the image of each role: the config's word, else the one whose repository name fits.

    Raises ``ConfigError`` listing every role with two candidates, none where one is needed, or too old a Rook.
    """
    chosen: dict[str, PinnedImage] = {}
    faults: list[tuple[str, str]] = []
    for role in sorted(ROLES.values(), key=lambda role: role.name not in rook.images):
        said = rook.images.get(role.name)
        candidates = _named(said, images) if said else _fitting(role, images, tuple(chosen.values()))
        place = f"rook.images.{role.name}"
        if not role.is_in(numbers(rook.version)):
            if said:
                since = f"it came with v{_dotted(role.since)}"
                went = f", and went with v{_dotted(role.until)}" if numbers(rook.version) >= role.until else ""
                faults.append((place, f"Rook {rook.version} has no such image; {since}{went}"))
        elif len({image.reference for image in candidates}) > 1:
            names = " and ".join(str(image) for image in candidates)
            faults.append((place, f"{len(candidates)} images fit: {names}; say which"))
        elif candidates:
            chosen[role.name] = candidates[0]
        elif said:
            faults.append((place, f"{said} is not in images"))
        elif role.required:
            faults.append(
                (place, f"no image is named */{role.repositories[0]}; Rook would pull its own default by tag")
            )
    if faults:
        raise ConfigError(f"the images are no complete set for Rook {rook.version}", faults=faults)
    return chosen


def render_rook(rook: RookConfig, images: Sequence[PinnedImage]) -> tuple[Rendered, ...]:
    """Render the patches of one Rook release in the order of an upgrade: operator, CSI, Ceph, toolbox."""
    roles = assign(rook, images)
    documents = [
        _deployment(rook, "operator", "rook-ceph-operator", {"rook-ceph-operator": roles["operator"]}),
        _csi(rook, roles),
    ]
    if "csiOperator" in roles:
        documents.insert(1, _csi_operator(rook, roles))
    if "ceph" in roles:
        target = Target("ceph.rook.io/v1", "CephCluster", rook.cluster_namespace, rook.ceph_cluster)
        body = {"spec": {"cephVersion": {"image": roles["ceph"].reference}}}
        documents.append(_patch(rook, "cluster", target, body, wait="ceph"))
    if "toolbox" in roles:
        documents.append(_deployment(rook, "toolbox", "rook-ceph-tools", {"rook-ceph-tools": roles["toolbox"]}))
    return tuple(documents)


def _csi(rook: RookConfig, roles: Mapping[str, PinnedImage]) -> Rendered:
    new = numbers(rook.version) >= IMAGE_SET
    data = {
        role.name if new else role.config_map_key: roles[role.name].reference
        for role in ROLES.values()
        if role.config_map_key and role.name in roles
    }
    name = "rook-csi-operator-image-set-configmap" if new else "rook-ceph-operator-config"
    return _patch(rook, "csi", Target("v1", "ConfigMap", rook.operator_namespace, name), {"data": data}, wait="csi")


def _csi_operator(rook: RookConfig, roles: Mapping[str, PinnedImage]) -> Rendered:
    containers = {"manager": roles["csiOperator"]}
    if "rbacProxy" in roles:
        containers["kube-rbac-proxy"] = roles["rbacProxy"]
    item = _deployment(rook, "csi-operator", "ceph-csi-controller-manager", containers)
    if numbers(rook.version) >= CSI_OPERATOR:
        return item
    return replace(item, document=replace(item.document, otherwise="skip"))


def _deployment(rook: RookConfig, stem: str, deployment: str, images: Mapping[str, PinnedImage]) -> Rendered:
    # A strategic merge keeps the other containers; a JSON merge would replace the list.
    namespace = rook.cluster_namespace if stem == "toolbox" else rook.operator_namespace
    target = Target("apps/v1", "Deployment", namespace, deployment)
    containers = [{"name": name, "image": image.reference} for name, image in images.items()]
    body = {"spec": {"template": {"spec": {"containers": containers}}}}
    return _patch(rook, stem, target, body, wait="rollout")


def _patch(rook: RookConfig, stem: str, target: Target, body: object, *, wait: str) -> Rendered:
    # No namespace means: the one that is found at load (docs/decisions/0008). The name auto stays as it is.
    open_target = Target(target.api_version, target.kind, None, target.name)
    document = Document(
        path=f"documents/rook/{stem}.json",
        phase="rook",
        action="strategic-patch" if target.kind == "Deployment" else "merge-patch",
        target=open_target if target.namespace == AUTO else target,
        wait=wait,
        when=When(api=None, rook=rook.running),
        otherwise="refuse",
    )
    return Rendered(f"rook-{stem}", document, json_body(body))


def _named(said: ImageRef, images: Sequence[PinnedImage]) -> list[PinnedImage]:
    return [
        image
        for image in images
        if image.source == said.name
        and said.tag in (None, image.tag)
        and said.digest in (None, image.digest, image.rewritten)
    ]


def _fitting(role: Role, images: Sequence[PinnedImage], taken: Sequence[PinnedImage]) -> list[PinnedImage]:
    def fits(image: PinnedImage) -> bool:
        return any(f"/{image.source}".endswith(f"/{name}") for name in role.repositories)

    found = [image for image in images if fits(image)]
    # An image the config gave to another role (a toolbox of another Ceph) is a candidate only where it is the last.
    return [image for image in found if image not in taken] or found


def numbers(text: str) -> Version:
    """Return the three numbers of a version that the config's check let through."""
    version = parse_version(text)
    if version is None:
        raise RuntimeError(f"{text!a} passed the config as a Rook version")
    return version


def _dotted(version: Version) -> str:
    return ".".join(str(number) for number in version)
