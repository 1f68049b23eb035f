"""registries.d: where nodes look for signatures; pure.

Rendered and signed by the builder, rendered again by the loader for another registry, as :mod:`loader.nodefiles` does.
Source: containers/image ``containers-registries.d(5)``; without such a file no signature beside an image is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from loader.bundle.manifest import Attachment, Image
from loader.mirrors import MirrorDocument

PATH = "documents/nodes/registries.d.yaml"
SIGNATURE = "signature"
# Objects for a person to apply, which name no registry: the same bytes for every site.
POLICIES = "documents/policies"
_HEADER = """\
# Makes nodes that are not OpenShift's read cosign signatures of these images: CRI-O, podman, skopeo.
# Where it goes: /etc/containers/registries.d/50-airgap-{name}.yaml. Which key must have signed what is said in
# /etc/containers/policy.json (sigstoreSigned). OpenShift writes both from a ClusterImagePolicy.
"""


def render_signature_places(
    images: Sequence[Image], attachments: Sequence[Attachment], *, registry: str, name: str
) -> tuple[MirrorDocument, ...]:
    """Return the file for the images that have signatures, under their own names and in ``registry``; none without."""
    signed = {item.repository for item in attachments if item.kind == SIGNATURE}
    places = {f"{registry}/{repository}" for repository in signed}
    places |= {image.source for image in images if image.repository in signed}
    if not places:
        return ()
    # JSON is YAML: nothing to quote by hand.
    body = {"docker": {place: {"use-sigstore-attachments": True} for place in sorted(places)}}
    text = _HEADER.format(name=name) + json.dumps(body, indent=2) + "\n"
    return (MirrorDocument("registries.d", PATH, None, text.encode("ascii")),)
