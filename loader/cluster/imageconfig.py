"""What a load may give the nodes on request: the registry's CA, and a login in the global pull secret; pure.

One key of one ConfigMap and one entry of one Secret, never another. Source: openshift/api ``config/v1`` Image,
``spec.additionalTrustedCA``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, Optional

from loader.bundle.errors import ClusterError, ConfigError
from loader.bundle.manifest import Document, When
from loader.cluster.nodeside import CONFIG, IMAGE_CONFIG, PULL_SECRET, NodeSide, auths_in, ca_key
from loader.cluster.objects import JsonObject
from loader.cluster.preflight import ca_entry
from loader.cluster.versions import HANDS_OUT_AUTHORITIES
from loader.cluster.wishes import Wish

# The key that the Secret type kubernetes.io/dockerconfigjson has.
DOCKERCONFIG = ".dockerconfigjson"
MAX_FILE = 1024 * 1024  # what a Secret or ConfigMap can hold
AUTHORITY = "--cluster-ca"
CA_MAP = "airgap-registry-cas"
GROUP_VERSIONS = (CONFIG,)
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def authority_in(data: bytes, name: str) -> str:
    """Return the certificates of a PEM file, other text left out; ``ConfigError`` where it has none or a key."""
    try:
        lines = data[: MAX_FILE + 1].decode("ascii").splitlines()
    except ValueError as error:
        raise ConfigError(f"--cluster-ca {name} is not PEM", why="it is not ASCII") from error
    if any("PRIVATE KEY" in line for line in lines):
        raise ConfigError(
            f"--cluster-ca {name} holds a private key",
            why="it would be readable by all in the cluster",
            hint="give a file with the certificate alone",
        )
    kept: list[str] = []
    inside = False
    for line in lines:
        inside = inside or line.strip() == _BEGIN
        kept += [line.strip()] if inside else []
        inside = inside and line.strip() != _END
    blocks = "\n".join(kept).split(_BEGIN)[1:]
    if len(data) > MAX_FILE or inside or not blocks or not all(_is_der(block) for block in blocks):
        raise ConfigError(f"--cluster-ca {name} is not a file of PEM certificates", why=f"{len(blocks)} found")
    return "\n".join(kept) + "\n"


def _is_der(block: str) -> bool:
    body = block.partition(_END)[0]
    try:
        # A certificate is an ASN.1 SEQUENCE; whether it is a good one the nodes' TLS library decides.
        return base64.b64decode("".join(body.split()), validate=True)[:1] == b"\x30"
    except binascii.Error:
        return False


def login_in(data: bytes, name: str, registry: str) -> tuple[str, dict[str, str]]:
    """Return the entry that an auth file has for ``registry`` (``host[:port][/prefix]``), its name first.

    The longest name wins, as for a pull. ``ConfigError`` where the file has none; its content is never quoted.
    """
    try:
        plain = json.loads(data[: MAX_FILE + 1])
        auths = plain["auths"]
        names = [registry.rsplit("/", cut)[0] for cut in range(registry.count("/") + 1)]
        key = next(key for key in names if isinstance(auths.get(key), dict))
        packed = auths[key]["auth"]
        known = b":" in base64.b64decode(packed, validate=True)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, StopIteration, binascii.Error):
        known, key, packed = False, "", ""
    if not known:
        raise ConfigError(
            f"--cluster-auth {name} has no login for {registry}",
            why="an entry with `auth` under `auths` is needed; credential helpers do not reach nodes",
            hint=f"write one: podman login --authfile {name} {registry.partition('/')[0]}",
        )
    return key, {"auth": packed}


def authority_wishes(side: NodeSide, host: str, pem: str) -> tuple[Wish, ...]:
    """Return the wishes that make nodes trust ``pem`` for ``host[:port]``.

    The ConfigMap that image.config names is added to; only where it names none, one of ours is made and named.
    """
    _require_image_config(side, AUTHORITY)
    body = {"data": {ca_entry(host): pem}}
    wait = "authority" if side.rules.version >= HANDS_OUT_AUTHORITIES else None
    wishes = [Wish(_document(AUTHORITY, wait=wait), ca_key(side.ca_name or CA_MAP), "merge", body)]
    if not side.ca_name:
        reference = {"spec": {"additionalTrustedCA": {"name": CA_MAP}}}
        wishes.append(Wish(_document(AUTHORITY), IMAGE_CONFIG, "merge", reference))
    return tuple(wishes)


def login_wish(side: NodeSide, key: str, entry: Mapping[str, str]) -> Wish:
    """Return the wish for one entry of the global pull secret."""
    _require_image_config(side, "--cluster-auth")
    return Wish(_document("--cluster-auth", wait="pools"), PULL_SECRET, "login", {key: dict(entry)})


def login_patch(wish: Wish, current: Optional[JsonObject]) -> dict[str, Any]:
    """Return the merge patch that puts the entry of ``wish`` into ``current``, all others as they are.

    It is made from the secret as it is read each time: a patch from an older reading would undo another's change.
    Raises ``ClusterError`` where there is no such secret or it cannot be read as one.
    """
    auths = auths_in(current)
    if current is None or auths is None:
        raise ClusterError(
            f"{wish.key} holds no logins to add one to",
            why="it is not there" if current is None else f"{DOCKERCONFIG} in it is not JSON with auths",
            hint="every OpenShift cluster has one: restore it before anything else pulls",
        )
    plain = json.loads(base64.b64decode(current["data"][DOCKERCONFIG]))
    if all(auths.get(key) == entry for key, entry in wish.body.items()):
        return {"data": {DOCKERCONFIG: current["data"][DOCKERCONFIG]}}
    plain["auths"] = {**auths, **wish.body}
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=True)
    return {"data": {DOCKERCONFIG: base64.b64encode(text.encode("ascii")).decode("ascii")}}


def _require_image_config(side: NodeSide, option: str) -> None:
    unread = next((why for why in side.unread if str(IMAGE_CONFIG) in why), "")
    if unread:
        raise ClusterError(
            f"{option} needs image.config.openshift.io/cluster, and this login may not read it",
            why=unread,
            hint=f"log in as someone who may, or leave {option} away",
        )
    if side.image_config is None:
        raise ClusterError(
            f"{option} is for OpenShift, and this cluster has no image.config.openshift.io/cluster",
            why="only OpenShift hands a CA or a login from an object to its nodes",
            hint=f"leave {option} away and put the file on every node: documents/nodes say where",
        )


def _document(option: str, *, wait: Optional[str] = None) -> Document:
    """Return an entry for what no document of the bundle asks for but the person who runs the load."""
    return Document(option, "mirrors", "merge-patch", None, wait, When(None, None), "refuse")
