"""The image set of the article this project started from: Rook master of October 2020 on OpenShift 4.5.

The article gives no digest for ceph/ceph; 64 zeros stand for it.
"""

from __future__ import annotations

from pathlib import Path

from bundler.render.model import PinnedImage

HERE = Path(__file__).parent
REGISTRY = "airgap-45-lb.airgap-ocp45.ibmcloud.io.cpak:5000"

_IMAGES = (
    ("docker.io/ceph/ceph:v15.2.4", "0" * 64),
    ("docker.io/rook/ceph:master", "637a92f1b356674a434b13299077ec40cf23f70e0b000b944f4954bdec4eaca8"),
    ("quay.io/cephcsi/cephcsi:v3.1.1", "afd643c2805029f14862bf8976916ce6ec894b172334eae7c4a74bd717df8f2d"),
    (
        "k8s.gcr.io/sig-storage/csi-node-driver-registrar:v2.0.1",
        "e07f914c32f0505e4c470a62a40ee43f84cbf8dc46ff861f31b14457ccbad108",
    ),
    (
        "k8s.gcr.io/sig-storage/csi-provisioner:v2.0.0",
        "271b0049ba7885e536d575a72ef56ab3b94c6989f36812d3fe4d886c4d8aed96",
    ),
    ("k8s.gcr.io/sig-storage/csi-resizer:v1.0.0", "5a8d85cdd1c80f43fb8fe6dcde1fae707a3177aaf0a786ff4b9f6f20247ec3ff"),
    (
        "k8s.gcr.io/sig-storage/csi-snapshotter:v3.0.0",
        "ece29e2217e0faf87973565c062c8508c2b78039169e855032bb357acefa3c98",
    ),
    ("k8s.gcr.io/sig-storage/csi-attacher:v3.0.0", "bc6d3ca87c62a2587470ba7adca84e9e5e7db61be1a35176084cc9ec3b4a87d5"),
)


def pinned(reference: str, hexdigits: str) -> PinnedImage:
    """Return ``host/repository:tag`` pinned to a digest, at its path without the host."""
    source, _, tag = reference.rpartition(":")
    return PinnedImage(source, tag, f"sha256:{hexdigits}", source.partition("/")[2])


IMAGES = tuple(pinned(reference, hexdigits) for reference, hexdigits in _IMAGES)

CONFIG = b"""\
name: rook-ceph
version: "2020.10"
sequence: 3
registry: airgap-45-lb.airgap-ocp45.ibmcloud.io.cpak:5000
images:
- docker.io/ceph/ceph:v15.2.4
- docker.io/rook/ceph:master
- quay.io/cephcsi/cephcsi:v3.1.1
- k8s.gcr.io/sig-storage/csi-node-driver-registrar:v2.0.1
- k8s.gcr.io/sig-storage/csi-provisioner:v2.0.0
- k8s.gcr.io/sig-storage/csi-resizer:v1.0.0
- k8s.gcr.io/sig-storage/csi-snapshotter:v3.0.0
- k8s.gcr.io/sig-storage/csi-attacher:v3.0.0
mirrors:
  name: rook-ceph-images
rook:
  version: v1.5.0
manifests:
- {path: toolbox.yaml, phase: after-rook}
"""

TOOLBOX = b"""\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: rook-ceph-tools
  namespace: rook-ceph # namespace:cluster
spec:
  replicas: 1
  selector:
    matchLabels: &labels
      app: rook-ceph-tools
  template:
    metadata:
      labels: *labels
    spec:
      containers:
      - name: rook-ceph-tools
        image: docker.io/rook/ceph@sha256:637a92f1b356674a434b13299077ec40cf23f70e0b000b944f4954bdec4eaca8
        command: ["/tini"]
"""
