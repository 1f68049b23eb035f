"""Points of the NIST curves by hand, to make keys and signatures that no library would make."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from loader.bundle.keys import HASHES, P256, P384, PublicKey, parse_public_key
from tests.support.bundles import public_pem

Point = tuple[int, int]


@dataclass(frozen=True)
class Curve:
    """A curve y^2 = x^3 - 3x + b with base point ``g`` of order ``n`` (SP 800-186)."""

    algorithm: str
    kind: ec.EllipticCurve
    p: int
    b: int
    n: int
    g: Point

    def add(self, left: Point | None, right: Point | None) -> Point | None:
        """The sum; None is the point at infinity."""
        if left is None or right is None:
            return left or right
        (x1, y1), (x2, y2) = left, right
        if x1 == x2 and (y1 + y2) % self.p == 0:
            return None
        if left == right:
            slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, self.p) % self.p
        else:
            slope = (y2 - y1) * pow(x2 - x1, -1, self.p) % self.p
        x = (slope * slope - x1 - x2) % self.p
        return x, (slope * (x1 - x) - y1) % self.p

    def times(self, count: int, point: Point | None = None) -> Point | None:
        """``count`` times ``point``, by default the base point."""
        total, step = None, point or self.g
        count %= self.n
        while count:
            if count & 1:
                total = self.add(total, step)
            step = self.add(step, step) or step
            count >>= 1
        return total

    def lift(self, x: int) -> Point:
        """The first point whose x is ``x`` or the next above it that has one."""
        while True:
            square = (x * x * x - 3 * x + self.b) % self.p
            y = pow(square, (self.p + 1) // 4, self.p)  # p is 3 modulo 4 for both curves
            if y * y % self.p == square:
                return x, y
            x += 1

    def hashed(self, message: bytes) -> int:
        """The hash as ECDSA takes it: both curves go with a hash of their own length."""
        return int.from_bytes(hashlib.new(HASHES[self.algorithm], message).digest(), "big")

    def key_for(self, message: bytes, point: Point, s: int) -> tuple[PublicKey, int]:
        """The key under which (r, ``s``), r being the x of ``point``, is a signature over ``message``; and that r."""
        r = point[0] % self.n
        inverse = pow(r, -1, self.n)
        left = self.times(s * inverse, point)
        right = self.times(-self.hashed(message) * inverse)
        return self.key(self.add(left, right)), r

    def key(self, point: Point | None) -> PublicKey:
        """The public key at ``point``."""
        if point is None:
            raise ValueError("the point at infinity is no key")
        public = ec.EllipticCurvePublicNumbers(*point, self.kind).public_key()
        return parse_public_key(public_pem(public), "crafted")


_P256 = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P384 = 2**384 - 2**128 - 2**96 + 2**32 - 1
CURVES = {
    "P-256": Curve(
        P256,
        ec.SECP256R1(),
        _P256,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
        0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        (
            0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
            0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
        ),
    ),
    "P-384": Curve(
        P384,
        ec.SECP384R1(),
        _P384,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
        0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
        (
            0xAA87CA22BE8B05378EB1C71EF320AD746E1D3B628BA79B9859F741E082542A385502F25DBF55296C3A545E3872760AB7,
            0x3617DE4A96262C6F5D9E98BF9292DC29F8F41DBD289A147CE9DA3113B5F0B8C00A60B1CE1D7E819D7A431D7C90EA0E5F,
        ),
    ),
}
