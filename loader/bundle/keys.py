"""Public keys and the shape of signatures; the mathematics is done by a :class:`SignatureCheck`.

Allowed: ECDSA P-256 with SHA-256, P-384 with SHA-384, RSA of 3072 to 16384 bits PKCS#1 v1.5 with
SHA-256 (format.md section 1). A key is known by its fingerprint, the SHA-256 of its
SubjectPublicKeyInfo; never by a file name or a label.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Protocol

from loader.bundle.der import BIT_STRING, NULL, OID, SEQUENCE, Der
from loader.bundle.digest import digest_of
from loader.bundle.errors import TrustError
from loader.bundle.limits import MAX_KEY_FILE, MAX_SIGNATURE

P256 = "ecdsa-p256-sha256"
P384 = "ecdsa-p384-sha384"
RSA = "rsa-pkcs1v15-sha256"
ALGORITHMS = (P256, P384, RSA)
HASHES = {P256: "sha256", P384: "sha384", RSA: "sha256"}

_EC_OID = bytes.fromhex("2a8648ce3d0201")  # 1.2.840.10045.2.1
_RSA_OID = bytes.fromhex("2a864886f70d010101")  # 1.2.840.113549.1.1.1
_RSA_BITS = (3072, 16384)
_RSA_EXPONENT = (65537, 2**32)  # even or tiny exponents are refused by FIPS 186-5 as well
_PEM = re.compile(
    rb"-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\r?\n?",
)


@dataclass(frozen=True)
class Curve:
    """A NIST curve y^2 = x^3 - 3x + b over the integers modulo ``p`` with order ``n`` (SP 800-186)."""

    algorithm: str
    size: int
    p: int
    b: int
    n: int

    def has_point(self, x: int, y: int) -> bool:
        """Whether (x, y) lies on the curve."""
        return x < self.p and y < self.p and (y * y - (x * x * x - 3 * x + self.b)) % self.p == 0


_CURVES = {
    bytes.fromhex("2a8648ce3d030107"): Curve(  # 1.2.840.10045.3.1.7
        P256,
        32,
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    ),
    bytes.fromhex("2b81040022"): Curve(  # 1.3.132.0.34
        P384,
        48,
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    ),
}


@dataclass(frozen=True)
class PublicKey:
    """A trusted key: ``name`` is its file's stem in the trust directory, ``order`` the curve's n or the modulus."""

    name: str
    spki: bytes
    algorithm: str
    order: int

    @property
    def fingerprint(self) -> str:
        """``sha256:`` and the hash of the SubjectPublicKeyInfo, as ``openssl pkey -pubin -outform DER`` gives it."""
        return digest_of(self.spki)

    @property
    def pem(self) -> bytes:
        """The key as a PEM file that openssl reads."""
        body = base64.encodebytes(self.spki).replace(b"\n", b"")
        lines = [body[i : i + 64] for i in range(0, len(body), 64)]
        return b"\n".join((b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b""))

    def has_shape(self, signature: bytes) -> bool:
        """Whether ``signature`` could be one of this key: strict DER with r and s in range, or an RSA number."""
        if len(signature) > MAX_SIGNATURE:
            return False
        if self.algorithm == RSA:
            return (
                len(signature) == (self.order.bit_length() + 7) // 8 and int.from_bytes(signature, "big") < self.order
            )
        try:
            outer = Der(signature, "signature")
            pair = outer.enter(SEQUENCE)
            outer.end()
            r, s = pair.integer(), pair.integer()
            pair.end()
        except TrustError:
            return False
        return 0 < r < self.order and 0 < s < self.order


class SignatureCheck(Protocol):
    """A backend: ``cryptography`` or the host's openssl. Both must give the same verdicts."""

    name: str

    def verify(self, key: PublicKey, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` (its shape already checked) is ``key``'s over ``message``."""
        ...


def parse_public_key(data: bytes, name: str) -> PublicKey:
    """Read one SubjectPublicKeyInfo in PEM. ``name`` is what the key is called in messages and policies.

    Raises ``TrustError`` for anything else: a certificate, a private key, another curve, a small RSA
    key, a point off the curve, a second spelling of the same key.
    """
    what = f"key {name}"
    match = _PEM.fullmatch(data) if len(data) <= MAX_KEY_FILE else None
    if match is None:
        raise TrustError(
            f"{what} is not one public key in PEM",
            why="expected a single -----BEGIN PUBLIC KEY----- block and nothing else",
            hint="openssl pkey -in KEY -pubout, or openssl x509 -in CERT -pubkey -noout, gives that form",
        )
    try:
        spki = base64.b64decode(match[1].replace(b"\r", b"").replace(b"\n", b""), validate=True)
    except binascii.Error as error:
        raise TrustError(f"{what} is not base64", why=str(error)) from error
    outer = Der(spki, what)
    body = outer.enter(SEQUENCE)
    outer.end()
    algorithm = body.enter(SEQUENCE)
    bits = body.take(BIT_STRING)
    body.end()
    if bits[:1] != b"\0":
        raise TrustError(f"{what} is not strict DER", why="unused bits in the key")
    oid = algorithm.take(OID)
    if oid == _RSA_OID:
        return _rsa_key(name, spki, algorithm, bits[1:])
    if oid == _EC_OID:
        return _ec_key(name, spki, algorithm, bits[1:])
    raise TrustError(
        f"{what} is of a kind that is not allowed",
        why=f"OID {oid.hex()}",
        hint="use ECDSA P-256, ECDSA P-384, or RSA of at least 3072 bits",
    )


def _ec_key(name: str, spki: bytes, algorithm: Der, point: bytes) -> PublicKey:
    curve = _CURVES.get(algorithm.take(OID))
    algorithm.end()
    if curve is None:
        raise TrustError(
            f"key {name} is on a curve that is not allowed",
            why="only P-256 and P-384 are taken",
            hint="use P-256 or P-384",
        )
    x = int.from_bytes(point[1 : 1 + curve.size], "big")
    y = int.from_bytes(point[1 + curve.size :], "big")
    if point[:1] != b"\4" or len(point) != 1 + 2 * curve.size or not curve.has_point(x, y):
        raise TrustError(
            f"key {name} is not an uncompressed point of its curve",
            why="it has another form, or is off the curve",
        )
    return PublicKey(name, spki, curve.algorithm, curve.n)


def _rsa_key(name: str, spki: bytes, algorithm: Der, key: bytes) -> PublicKey:
    algorithm.take(NULL)
    algorithm.end()
    outer = Der(key, f"key {name}")
    pair = outer.enter(SEQUENCE)
    outer.end()
    modulus, exponent = pair.integer(), pair.integer()
    pair.end()
    bits = modulus.bit_length()
    if not _RSA_BITS[0] <= bits <= _RSA_BITS[1]:
        raise TrustError(f"key {name} has a size that is not allowed", why=f"RSA of {bits} bits; 3072 to 16384 are")
    if modulus % 2 == 0 or exponent % 2 == 0 or not _RSA_EXPONENT[0] <= exponent < _RSA_EXPONENT[1]:
        raise TrustError(f"key {name} has numbers that no honest RSA key has", why=f"exponent {exponent}")
    return PublicKey(name, spki, RSA, modulus)
