"""Signatures as cosign makes them with a key, checked without any network; pure.

Two forms: the simple signing payload of a ``.sig`` tag (cosign ``specs/SIGNATURE_SPEC.md``), and the Sigstore bundle
v0.3 of a referrer (sigstore/protobuf-specs), whose envelope is DSSE. A transparency log is not asked: the key is the
whole of the trust.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Union

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from loader.bundle.digest import sha256_hex
from loader.bundle.errors import ConfigError, TrustError

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle"
SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature"
# The predicate that says "signed", and not something else about the image, such as its SBOM.
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
# The forms: nodes check the first alone (containers/image reads no referrers).
COSIGN, BUNDLED = "cosign", "bundle"
_TYPES = frozenset({"cosign container image signature", "atomic container signature"})
_STATEMENTS = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
_IN_TOTO = "application/vnd.in-toto+json"
_MIN_RSA = 2048

_Key = Union[ec.EllipticCurvePublicKey, rsa.RSAPublicKey, Ed25519PublicKey]


@dataclass(frozen=True)
class SigningKey:
    """A public key as the config names it; ``pem`` is its one canonical form."""

    place: str
    pem: bytes
    key: _Key

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Tell whether ``signature`` is this key's over ``data``."""
        try:
            if isinstance(self.key, ec.EllipticCurvePublicKey):
                # cosign takes SHA-256 for every curve; other signers take the curve's own hash.
                return any(self._ecdsa(signature, data, kind) for kind in _hashes(self.key))
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
            else:
                self.key.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    def _ecdsa(self, signature: bytes, data: bytes, kind: hashes.HashAlgorithm) -> bool:
        assert isinstance(self.key, ec.EllipticCurvePublicKey)  # noqa: S101 - asked just before
        try:
            self.key.verify(signature, data, ec.ECDSA(kind))
        except InvalidSignature:
            return False
        return True


def _hashes(key: ec.EllipticCurvePublicKey) -> tuple[hashes.HashAlgorithm, ...]:
    own = {384: hashes.SHA384(), 521: hashes.SHA512()}.get(key.curve.key_size)
    return (hashes.SHA256(), own) if own else (hashes.SHA256(),)


def read_signing_key(place: str, data: bytes) -> SigningKey:
    """Read a PEM public key such as ``cosign.pub``. Raises ``ConfigError`` for anything else."""
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        hint = "that is a private key: give its public half" if b"PRIVATE KEY" in data else "cosign.pub is one"
        raise ConfigError(f"{place} is not a public key in PEM form", why=hint) from error
    if not isinstance(key, (ec.EllipticCurvePublicKey, rsa.RSAPublicKey, Ed25519PublicKey)):
        raise ConfigError(f"{place} is a key of a kind that signs no images", why="ECDSA, RSA or Ed25519 do")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA:
        raise ConfigError(f"{place} is too short a key", why=f"RSA of {key.key_size} bits; {_MIN_RSA} at least")
    return SigningKey(place, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), key)


@dataclass(frozen=True)
class Signed:
    """A signature that holds: whose, in which form, and under which name the image was signed (if it says)."""

    key: SigningKey
    form: str
    identity: str = ""


def check_simple_signing(payload: bytes, annotation: object, digest: str, keys: Sequence[SigningKey]) -> Signed:
    """Check one layer of a ``.sig`` image against the image's ``digest``. ``TrustError`` says why it does not hold."""
    key = _signer(_decoded(annotation, "signature annotation"), payload, keys)
    critical = _object(payload, "payload").get("critical")
    if not isinstance(critical, dict) or critical.get("type") not in _TYPES:
        raise TrustError("the payload is no image signature")
    _require_digest(_at(critical, "image", "docker-manifest-digest"), digest)
    identity = _at(critical, "identity", "docker-reference")
    return Signed(key, COSIGN, identity if isinstance(identity, str) else "")


def check_bundle(data: bytes, manifest: bytes, keys: Sequence[SigningKey]) -> Signed:
    """Check a Sigstore bundle against the bytes of the image's ``manifest``. ``TrustError`` as above."""
    plain = _object(data, "bundle")
    digest = f"sha256:{sha256_hex(manifest)}"
    if "messageSignature" in plain:
        signature = _decoded(_at(plain, "messageSignature", "signature"), "signature")
        return Signed(_signer(signature, manifest, keys), BUNDLED)
    envelope = plain.get("dsseEnvelope")
    signatures = envelope.get("signatures") if isinstance(envelope, dict) else None
    if not isinstance(envelope, dict) or not isinstance(signatures, list) or len(signatures) != 1:
        raise TrustError("the bundle has neither a message signature nor an envelope with one signature")
    if envelope.get("payloadType") != _IN_TOTO:
        raise TrustError(f"the envelope holds {str(envelope.get('payloadType'))[:80]!a}")
    payload = _decoded(envelope.get("payload"), "payload")
    first = signatures[0] if isinstance(signatures[0], dict) else {}
    key = _signer(_decoded(first.get("sig"), "signature"), _pae(payload), keys)
    statement = _object(payload, "statement")
    if statement.get("_type") not in _STATEMENTS or statement.get("predicateType") != SIGN_PREDICATE:
        raise TrustError(f"it states {str(statement.get('predicateType'))[:80]!a}, which is no signature")
    subjects = statement.get("subject")
    named = [_at(item, "digest", "sha256") for item in subjects] if isinstance(subjects, list) else []
    if digest[7:] not in named:
        raise TrustError("it signs another image")
    return Signed(key, BUNDLED)


def _pae(payload: bytes) -> bytes:
    """Return what DSSE signs (secure-systems-lab/dsse, "PAE")."""
    kind = _IN_TOTO.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _signer(signature: bytes, data: bytes, keys: Sequence[SigningKey]) -> SigningKey:
    for key in keys:
        if key.verifies(signature, data):
            return key
    raise TrustError("it is by another key, or not of these bytes")


def _require_digest(found: object, digest: str) -> None:
    if found != digest:
        raise TrustError("it signs another image")


def _decoded(text: object, what: str) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TrustError(f"its {what} is not base64") from error


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        plain = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise TrustError(f"its {what} is not JSON") from error
    if not isinstance(plain, dict):
        raise TrustError(f"its {what} is not a JSON object")
    return plain


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _at(plain: object, *path: str) -> object:
    for key in path:
        plain = plain.get(key) if isinstance(plain, dict) else None
    return plain
