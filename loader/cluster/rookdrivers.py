"""The csi-operator's poke: it does not watch the ConfigMap its images are in, only its Driver objects.

Source: ceph/ceph-csi-operator ``internal/controller`` at v0.1.0 to v1.0.4: any update of a Driver counts.
"""

from __future__ import annotations

import hashlib
import json

POKE = "airgap/images"
