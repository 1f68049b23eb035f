"""``cryptography`` and the host's openssl give the same verdict over a corpus of keys and signatures made here.

The cases are those that libraries got wrong before, in the manner of Project Wycheproof: numbers at the edges of the
curve, additions that double or vanish, paddings that a lax parser reads past.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from loader.bundle.keys import PublicKey, parse_public_key
from loader.openssl_cli import OpensslCheck
from loader.signing import CryptographyCheck
from tests.support.bundles import make_signer, public_pem
from tests.support.curves import CURVES, Curve

MESSAGE = b"a list that somebody signs\n"
BACKENDS = (CryptographyCheck(), OpensslCheck())
Case = tuple[PublicKey, bytes, bool]


def verdicts(key: PublicKey, signature: bytes, message: bytes = MESSAGE) -> tuple[bool, bool]:
    """What the loader says with each backend: the shape first, then the mathematics."""
    first, second = (key.has_shape(signature) and check.verify(key, signature, message) for check in BACKENDS)
    return first, second


def point(curve: Curve, count: int) -> tuple[int, int]:
    found = curve.times(count)
    assert found is not None
    return found


def good(curve: Curve, message: bytes = MESSAGE, k: int = 7, s: int = 12345) -> tuple[PublicKey, int, int]:
    key, r = curve.key_for(message, point(curve, k), s)
    return key, r, s


def crafted(curve: Curve, place: tuple[int, int], s: int) -> Case:
    """A valid signature whose r is the x of ``place``."""
    key, r = curve.key_for(MESSAGE, place, s)
    return key, encode_dss_signature(r, s), True


def doubled(curve: Curve) -> Case:
    """Valid, and the last addition of the check adds a point to itself."""
    u1 = curve.hashed(MESSAGE) * pow(99, -1, curve.n) % curve.n
    r = point(curve, 2 * u1)[0] % curve.n
    private = curve.hashed(MESSAGE) * pow(r, -1, curve.n) % curve.n
    return curve.key(curve.times(private)), encode_dss_signature(r, 99), True


def vanished(curve: Curve) -> Case:
    """The last addition gives the point at infinity: no signature, whatever r is."""
    r = point(curve, 7)[0] % curve.n
    private = -curve.hashed(MESSAGE) * pow(r, -1, curve.n) % curve.n
    return curve.key(curve.times(private)), encode_dss_signature(r, 12345), False


def wrapped(curve: Curve) -> Case:
    """Valid: the x of R is not below the order, so r is what is left of it."""
    return crafted(curve, curve.lift(curve.n + 1), 12345)


def not_wrapped(curve: Curve) -> Case:
    """The same r, but R's x is r itself: the signature of another R."""
    key, _, _ = wrapped(curve)
    r = curve.lift(curve.n + 1)[0] - curve.n
    return key, encode_dss_signature(r + 1, 12345), False


def other_numbers(change: Callable[[int, int, int], tuple[int, int]]) -> Callable[[Curve], Case]:
    def make(curve: Curve) -> Case:
        key, r, s = good(curve)
        return key, encode_dss_signature(*change(r, s, curve.n)), False

    return make


def with_private(private: Callable[[int], int]) -> Callable[[Curve], Case]:
    """A true signature of a key that nobody should have."""

    def make(curve: Curve) -> Case:
        secret, k = private(curve.n), 3
        r = point(curve, k)[0] % curve.n
        s = pow(k, -1, curve.n) * (curve.hashed(MESSAGE) + r * secret) % curve.n
        return curve.key(curve.times(secret)), encode_dss_signature(r, s), True

    return make


ECDSA: dict[str, Callable[[Curve], Case]] = {
    "an honest signature": lambda curve: crafted(curve, point(curve, 7), 12345),
    "s of one": lambda curve: crafted(curve, point(curve, 7), 1),
    "s of two": lambda curve: crafted(curve, point(curve, 7), 2),
    "s of the order less one": lambda curve: crafted(curve, point(curve, 7), curve.n - 1),
    "s of half the order": lambda curve: crafted(curve, point(curve, 7), curve.n // 2),
    "s just above half the order": lambda curve: crafted(curve, point(curve, 7), curve.n // 2 + 1),
    "a short r": lambda curve: crafted(curve, curve.lift(1), 12345),
    "a short r and a short s": lambda curve: crafted(curve, curve.lift(1), 1),
    "r of the base point": lambda curve: crafted(curve, curve.g, 12345),
    "r equal to s": lambda curve: crafted(curve, point(curve, 7), point(curve, 7)[0] % curve.n),
    "an r that went round the order": wrapped,
    "an r that did not go round": not_wrapped,
    "a last addition that doubles": doubled,
    "a last addition that vanishes": vanished,
    "a private key of one": with_private(lambda n: 1),
    "a private key of two": with_private(lambda n: 2),
    "a private key of the order less one": with_private(lambda n: n - 1),
    "a private key of half the order": with_private(lambda n: n // 2),
    "the twin with n - s": lambda curve: (good(curve)[0], encode_dss_signature(good(curve)[1], curve.n - 12345), True),
    "n - r": other_numbers(lambda r, s, n: (n - r, s)),
    "r and s exchanged": other_numbers(lambda r, s, n: (s, r)),
    "r plus one": other_numbers(lambda r, s, n: (r + 1, s)),
    "s plus one": other_numbers(lambda r, s, n: (r, s + 1)),
    "r of one and s of one": other_numbers(lambda r, s, n: (1, 1)),
    "r and s of the order less one": other_numbers(lambda r, s, n: (n - 1, n - 1)),
    "r of zero": other_numbers(lambda r, s, n: (0, s)),
    "s of zero": other_numbers(lambda r, s, n: (r, 0)),
    "r of the order": other_numbers(lambda r, s, n: (n, s)),
    "s of the order": other_numbers(lambda r, s, n: (r, n)),
    "r plus the order": other_numbers(lambda r, s, n: (r + n, s)),
    "s plus the order": other_numbers(lambda r, s, n: (r, s + n)),
    "r of two to the 521": other_numbers(lambda r, s, n: (2**521, s)),
    "s inverted": other_numbers(lambda r, s, n: (r, pow(s, -1, n))),
}


@pytest.mark.parametrize("name", ECDSA)
@pytest.mark.parametrize("curve", CURVES)
def test_ecdsa_with(curve: str, name: str) -> None:
    key, signature, valid = ECDSA[name](CURVES[curve])
    assert verdicts(key, signature) == (valid, valid)
    if valid:
        assert verdicts(key, signature, MESSAGE + b"\n") == (False, False)


def encodings(r: int, s: int) -> Iterator[bytes]:
    """The same two numbers in every spelling that is not the one."""
    der = encode_dss_signature(r, s)
    body = der[2:]
    yield from (der + b"\0", der + der, der[:-1], der[1:], b"\0" + der, der.hex().encode(), b"")
    yield b"\x30\x81" + der[1:]
    yield b"\x30\x82\0" + der[1:]
    yield b"\x30\x80" + body + b"\0\0"
    yield b"\x31" + der[1:]
    yield b"\x30" + bytes([len(body) + 2]) + body + b"\5\0"
    yield b"\x30" + bytes([len(body) + 3]) + body + b"\x02\x01\0"
    size = body[1]
    first, second = body[: 2 + size], body[2 + size :]
    yield b"\x30" + bytes([len(body) + 1]) + b"\x02" + bytes([size + 1]) + b"\0" + first[2:] + second
    yield b"\x30" + bytes([len(body) + 1]) + first + b"\x02" + bytes([second[1] + 1]) + b"\0" + second[2:]
    yield b"\x30" + bytes([len(body) + 1]) + b"\x02\x81" + first[1:] + second
    yield b"\x30" + bytes([len(first)]) + first
    yield b"\x30\0"
    yield b"\x30\x06\x02\x01\x01\x01\x01\xff"
    yield b"\x30" + bytes([len(body)]) + first.replace(b"\x02", b"\x0a", 1) + second


@pytest.mark.parametrize("curve", CURVES)
def test_ecdsa_numbers_in_another_spelling(curve: str) -> None:
    key, r, s = good(CURVES[curve])
    assert verdicts(key, encode_dss_signature(r, s)) == (True, True)
    for spelling in encodings(r, s):
        assert verdicts(key, spelling) == (False, False), spelling.hex()


@pytest.mark.parametrize("curve", CURVES)
def test_any_one_bit_of_an_ecdsa_signature(curve: str) -> None:
    key, r, s = good(CURVES[curve], s=2**200 + 12345)
    whole = encode_dss_signature(r, s)
    for bit in range(0, 8 * len(whole), 29):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        assert verdicts(key, bytes(changed)) == (False, False), bit


def roomy_key() -> Any:
    """A private key whose modulus leaves room: a tenth of its signatures are as long with the modulus added."""
    while True:
        key = rsa.generate_private_key(65537, 3072)
        if key.private_numbers().public_numbers.n < 2**3072 // 10 * 9:
            return key


PRIVATE = roomy_key()
NUMBERS = PRIVATE.private_numbers()
MODULUS = NUMBERS.public_numbers.n
LENGTH = 3072 // 8
RSA_KEY = parse_public_key(public_pem(PRIVATE.public_key()), "rsa")
DIGEST = hashlib.sha256(MESSAGE).digest()
INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo of SHA-256, RFC 8017 section 9.2


def raw(block: bytes) -> bytes:
    """The private key's power of any block at all."""
    power: int = pow(int.from_bytes(block, "big"), NUMBERS.d, MODULUS)
    return power.to_bytes(LENGTH, "big")


def padded(
    info: bytes, *, start: bytes = b"\0\1", fill: bytes = b"\xff", end: bytes = b"\0", behind: bytes = b""
) -> bytes:
    """A block in the manner of PKCS #1 v1.5, of the key's length."""
    count = LENGTH - len(start + end + info + behind)
    return start + fill * count + end + info + behind


RSA: dict[str, tuple[bytes, bool]] = {
    "an honest signature": (raw(padded(INFO + DIGEST)), True),
    "block type 0": (raw(padded(INFO + DIGEST, start=b"\0\0", fill=b"\0")), False),
    "block type 2": (raw(padded(INFO + DIGEST, start=b"\0\2", fill=b"\x55")), False),
    "a first byte that is not zero": (raw(padded(INFO + DIGEST, start=b"\1\1")), False),
    "padding of other bytes": (raw(padded(INFO + DIGEST, fill=b"\xfe")), False),
    "no zero behind the padding": (raw(padded(INFO + DIGEST, end=b"")), False),
    "eight bytes of padding and rubbish behind": (
        raw(b"\0\1" + b"\xff" * 8 + b"\0" + INFO + DIGEST + bytes(LENGTH - 11 - len(INFO + DIGEST))),
        False,
    ),
    "rubbish behind the hash": (raw(padded(INFO + DIGEST, behind=b"rubbish")), False),
    "rubbish before the hash": (raw(padded(INFO[:2] + b"\4\2xx" + INFO[2:] + DIGEST)), False),
    "no NULL behind the name of the hash": (
        raw(padded(bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + DIGEST)),
        False,
    ),
    "a NULL with content": (
        raw(padded(bytes.fromhex("3033300f06096086480165030402010502aabb0420") + DIGEST)),
        False,
    ),
    "a long length": (raw(padded(b"\x30\x81" + INFO[1:] + DIGEST)), False),
    "an indefinite length": (raw(padded(b"\x30\x80" + INFO[2:] + DIGEST + b"\0\0")), False),
    "the name of SHA-1 over SHA-256": (raw(padded(bytes.fromhex("3021300906052b0e03021a05000420") + DIGEST)), False),
    "the name of SHA-512 over SHA-256": (raw(padded(INFO[:14] + b"\3" + INFO[15:] + DIGEST)), False),
    "a hash cut off": (raw(padded(INFO + DIGEST[:-1])), False),
    "the bare hash": (raw(padded(DIGEST)), False),
    "the hash of the hash": (raw(padded(INFO + hashlib.sha256(DIGEST).digest())), False),
    "one": ((1).to_bytes(LENGTH, "big"), False),
    "zero": (bytes(LENGTH), False),
    "the modulus less one": ((MODULUS - 1).to_bytes(LENGTH, "big"), False),
    "the modulus": (MODULUS.to_bytes(LENGTH, "big"), False),
    "a byte too long": (b"\0" + raw(padded(INFO + DIGEST)), False),
    "a byte too short": (raw(padded(INFO + DIGEST))[:-1], False),
    "empty": (b"", False),
    "negated": ((MODULUS - int.from_bytes(raw(padded(INFO + DIGEST)), "big")).to_bytes(LENGTH, "big"), False),
    "reversed": (raw(padded(INFO + DIGEST))[::-1], False),
}


@pytest.mark.parametrize("name", RSA)
def test_rsa_with(name: str) -> None:
    signature, valid = RSA[name]
    assert verdicts(RSA_KEY, signature) == (valid, valid)


def test_rsa_plus_its_modulus() -> None:
    for message in (MESSAGE + bytes([count]) for count in range(256)):
        value = int.from_bytes(raw(padded(INFO + hashlib.sha256(message).digest())), "big") + MODULUS
        if value < 2**3072:
            assert verdicts(RSA_KEY, value.to_bytes(LENGTH, "big"), message) == (False, False)
            return
    raise AssertionError("no small signature among 256")


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA"])
@pytest.mark.parametrize("other", ["P-256", "P-384", "RSA"])
def test_the_signature_of_a_key_of_another_kind(kind: str, other: str) -> None:
    key, signer = make_signer(f"agree-{kind.lower()}", kind).public, make_signer(f"other-{other.lower()}", other)
    assert verdicts(key, signer.sign(MESSAGE)) == (False, False)
