"""A first ``bundle.yaml``: complete, commented, and valid as it stands; pure."""

from __future__ import annotations

import json
import re

from bundler.foreign import Foreign
from bundler.render.rook import default_range
from bundler.rookpresets import CSI_OPERATOR, Release
from loader.cluster.rookrange import Version

PLACEHOLDER = "registry.example.com:5000"

_PARTS = {
    "operator": "the operator; its release decides which ConfigMap is patched",
    "ceph": "every Ceph daemon, as the release's cluster.yaml names it",
    "cephcsi": "CSI: plugin",
    "registrar": "CSI: registrar",
    "provisioner": "CSI: provisioner",
    "resizer": "CSI: resizer",
    "snapshotter": "CSI: snapshotter",
    "attacher": "CSI: attacher",
    "csiaddons": "CSI: addons",
    "csi_operator": "the ceph-csi-operator",
    "toolbox": "the toolbox, as the release's toolbox.yaml names it",
}
# From v1.16 on the toolbox has no release of Ceph, but its newest.
_MAJOR = re.compile(r"v[0-9]+")
# Until v1.7 the examples were elsewhere in Rook's repository; CRDs have a file of their own since v1.5.
_MOVED: Version = (1, 8, 0)
_CRDS: Version = (1, 5, 0)

_HEAD = """\
# What to carry into the airgap. Next:
#   airgap-bundler plan {name}      what it comes to: digests, sizes, mirrors, discs
#   airgap-bundler build {name} -o out --key builder.key
"""
_IDENTITY = """\
name: {bundle}
version: "{version}"
# sequence: 1                       # only grows; left out, it is the time of the build
# notAfter: 2027-01-01T00:00:00Z    # loaders warn after this time
"""
_REGISTRY = """\
# The registry inside, host[:port][/prefix]; a site can give another one at load.
registry: {registry}
platforms: all                      # or a list: [linux/amd64, linux/arm64]
attachments: true                   # take signatures, attestations, SBOMs and referrers along
paths: drop-host                    # docker.io/a/b becomes REGISTRY/a/b; keep-host: REGISTRY/docker.io/a/b
"""
_MIRRORS = """\
# What ICSP, IDMS, ITMS and registries.conf are rendered from.
mirrors:
  name: {mirrors}
  scope: namespace                  # or repository (narrower), registry (wider)
  neverContactSource: false         # true: nodes ask the mirror alone
"""
_PLAIN_IMAGES = """\
# Names as the workloads write them. A tag is resolved once and kept in the lock beside this file.
images:
- registry.k8s.io/pause:3.10
# - image: quay.io/example/app:1.0                 # the name it has in the airgap
#   from: dir:mirror/app                           # where its bytes are: dir:PATH, docker://REFERENCE
"""
_PLAIN_MANIFESTS = """\
# Objects to apply, before or after Rook's patches: CRDs, namespaces, deployments.
# manifests:
# - {path: manifests/app.yaml, phase: after-rook, pin: true}
"""


def plain_config(name: str, registry: str) -> str:
    """Return a config for images of any kind; ``name`` is the file's, for its comments."""
    return "\n".join(
        (
            _HEAD.format(name=name),
            _IDENTITY.format(bundle="my-images", version="1"),
            _REGISTRY.format(registry=registry),
            _PLAIN_IMAGES,
            _MIRRORS.format(mirrors="my-images"),
            _PLAIN_MANIFESTS,
        )
    )


def foreign_config(name: str, registry: str, bundle: str, found: Foreign) -> str:
    """Return the config that carries what another tool's config ``found``; what could not be taken over is comment."""
    left = [f"#   line {line}: {_printable(text)}" for line, text in found.unsupported]
    lines = ["# Not taken over:", *left] if left else []
    lines.append("images:")
    for image in found.images:
        more = []
        if image.platforms:
            more.append(f"platforms: [{', '.join(image.platforms)}]")
        if image.key:
            more.append(f"require: {{signatures: [{json.dumps(image.key)}]}}")
        text = f"{{image: {image.name}, {', '.join(more)}}}" if more else str(image.name)
        lines.append(f"- {text:<72} # line {image.line}")
    return "\n".join(
        (
            _HEAD.format(name=name),
            _IDENTITY.format(bundle=bundle, version="1"),
            _REGISTRY.format(registry=registry),
            f"# From a config of {found.tool}.\n" + "\n".join(lines) + "\n",
            _MIRRORS.format(mirrors=bundle),
            _PLAIN_MANIFESTS,
        )
    )


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:300]


def rook_config(name: str, registry: str, release: Release) -> str:
    """Return the config that carries everything a cluster of ``release`` runs."""
    return "\n".join(
        (
            _HEAD.format(name=name),
            _IDENTITY.format(bundle="rook-ceph", version=release.version),
            _REGISTRY.format(registry=registry),
            _rook_images(release),
            _MIRRORS.format(mirrors="rook-ceph-images"),
            _rook(release),
            _rook_manifests(release),
        )
    )


def _rook_images(release: Release) -> str:
    lines = [f"# Everything that Rook {release.version} runs by default.", "images:"]
    parts: dict[str, list[str]] = {}
    for part, image in release.images.items():
        moves = " (a tag that moves)" if _MAJOR.fullmatch(image.rpartition(":")[2]) else ""
        parts.setdefault(image, []).append(_PARTS[part] + moves)
    lines += [f"- {image:<72} # {'; '.join(names)}" for image, names in parts.items()]
    if release.optional:
        lines.append("# Only where the cluster uses them:")
        lines += [f"# - {item.image:<70} # {item.needs}" for item in release.optional if item.image not in parts]
    return "\n".join(lines) + "\n"


def _rook(release: Release) -> str:
    return f"""\
rook:
  version: {release.version}
  from: "{default_range(release.version)}"        # running versions the patches may be applied to
  operatorNamespace: rook-ceph      # ODF: openshift-storage
  clusterNamespace: rook-ceph
  cephCluster: rook-ceph            # the CephCluster's name
  images:
    ceph: {release.images["ceph"]}
    # toolbox: {release.images["toolbox"]}      # only where the Deployment rook-ceph-tools runs already
"""


def _rook_manifests(release: Release) -> str:
    folder = "deploy/examples" if release.number >= _MOVED else "cluster/examples/kubernetes/ceph"
    files = [("crds.yaml", "before-rook", False)] if release.number >= _CRDS else []
    files.append(("common.yaml", "before-rook", False))
    if release.number >= CSI_OPERATOR:
        files.append(("csi-operator.yaml", "before-rook", True))
    files.append(("operator-openshift.yaml", "before-rook", True))
    files.append(("cluster.yaml", "before-rook", True))
    files.append(("toolbox.yaml", "after-rook", True))
    rows = [
        f"# - {{path: manifests/{name}, phase: {phase}{', pin: true' if pinned else ''}}}"
        for name, phase, pinned in files
    ]
    return "\n".join(
        (
            "# For a first installation, and for the CRDs and roles of an upgrade: the release's own files, from",
            f"#   https://github.com/rook/rook/tree/{release.version}/{folder}",
            "# (operator.yaml in place of operator-openshift.yaml outside of OpenShift; cluster.yaml and toolbox.yaml",
            "# only where this bundle is to create them). pin: true writes name@digest for the images above.",
            "# manifests:",
            *rows,
            "",
        )
    )
