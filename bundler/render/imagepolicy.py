"""ClusterImagePolicy objects for what had to be signed to be built: OpenShift's nodes then ask for the same; pure.

Source: openshift/api ``config/v1`` ClusterImagePolicy (4.20 and newer), containers/image ``containers-policy.json(5)``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from bundler.render.model import PinnedImage, Rendered
from loader.bundle.manifest import Document, When
from loader.mirrors import MANAGED_BY
from loader.signatureplaces import POLICIES

# The API server's limit of spec.scopes.
_MAX_SCOPES = 256
_HEADER = """\
# Makes the nodes of OpenShift 4.20 and newer refuse these images unless they are signed by this key.
# Where it goes: the cluster, oc apply -f {name}.yaml, by hand, once the images are in the registry; the loader leaves
# it out. Nodes read the signature from the tag sha256-<digest>.sig beside the image, in the mirror too.
"""
_CHILDREN = """\
# Nodes check the manifest of their own platform. Those of {names} have no signature of their own:
# sign them outside with cosign sign --recursive and build again before this is applied.
"""


@dataclass(frozen=True)
class SignedImage:
    """An image whose signature held: the key (PEM), the name that was signed, whether each platform is signed too."""

    image: PinnedImage
    pem: bytes
    identity: str
    children: bool


def render_policies(name: str, signed: Sequence[SignedImage], images: Sequence[PinnedImage]) -> Iterator[Rendered]:
    """Yield an object for each key and signed name; ``images`` are all of the bundle.

    Where a repository has further images here, the scope is the digest, so that those are not asked for a signature.
    """
    digests: dict[str, set[str]] = {}
    for image in images:
        digests.setdefault(image.source, set()).add(image.digest)
    groups: dict[tuple[bytes, str], list[SignedImage]] = {}
    for one in signed:
        if _is_scope(one.image.source):
            groups.setdefault((one.pem, _identity(one)), []).append(one)
    for number, ((pem, identity), some) in enumerate(sorted(groups.items()), 1):
        scopes = {one.image.source if len(digests[one.image.source]) == 1 else one.image.reference for one in some}
        own = name if len(groups) == 1 else f"{name}-{number}"
        unsigned = sorted({one.image.source for one in some if not one.children})
        head = _HEADER.format(name=own) + (_CHILDREN.format(names=", ".join(unsigned)) if unsigned else "")
        policy = _object(own, pem, identity, sorted(scopes)[:_MAX_SCOPES])
        yield _rendered(own, head.encode("ascii") + json.dumps(policy, indent=2).encode("ascii") + b"\n")


def _object(name: str, pem: bytes, identity: str, scopes: Sequence[str]) -> Mapping[str, object]:
    policy: dict[str, object] = {
        "rootOfTrust": {"policyType": "PublicKey", "publicKey": {"keyData": base64.b64encode(pem).decode("ascii")}}
    }
    if identity:
        policy["signedIdentity"] = {
            "matchPolicy": "ExactRepository",
            "exactRepository": {"repository": identity},
        }
    metadata = {"name": name, "labels": {"app.kubernetes.io/managed-by": MANAGED_BY}}
    return {
        "apiVersion": "config.openshift.io/v1",
        "kind": "ClusterImagePolicy",
        "metadata": metadata,
        "spec": {"scopes": list(scopes), "policy": policy},
    }


def _rendered(name: str, content: bytes) -> Rendered:
    document = Document(
        path=f"{POLICIES}/{name}.yaml",
        phase="mirrors",
        action="file",
        target=None,
        wait=None,
        when=When(api=None, rook=None),
        otherwise="skip",
    )
    return Rendered("image-policy", document, content)


def _identity(one: SignedImage) -> str:
    """Return the repository that was signed where it is another than the image's: a copy keeps its first name."""
    head, slash, last = one.identity.partition("@")[0].rpartition("/")
    repository = f"{head}{slash}{last.partition(':')[0]}"
    return "" if repository in {"", one.image.source} or not _is_scope(repository) else repository


def _is_scope(source: str) -> bool:
    """Tell whether OpenShift takes the name: a host with a dot, or localhost."""
    host: Optional[str] = source.partition("/")[0].partition(":")[0]
    return host == "localhost" or "." in (host or "")
