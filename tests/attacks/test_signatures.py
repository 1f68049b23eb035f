"""Signatures and keys that the stock tools let through, with both backends: the same verdict from each."""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from loader.bundle.errors import FormatError, TrustError
from loader.bundle.keys import P256, P384, SignatureCheck, parse_public_key
from loader.bundle.policy import Rule
from loader.signaturefiles import signatures_beside
from loader.signing import Signer
from loader.trust import load_trust
from tests.support.bundles import (
    ARCHIVE,
    Recipe,
    make_policy,
    make_signer,
    make_trust,
    open_head,
    private_pem,
    public_pem,
    tiny_recipe,
    verify,
)
from tests.support.refusals import refused

BUILDER, APPROVER, STRANGER = make_signer("builder"), make_signer("approver"), make_signer("stranger")
SUMS = tiny_recipe().head.sums
GOOD = BUILDER.sign(SUMS)
KINDS = ["P-256", "P-384", "RSA"]


def signed(*signatures: tuple[str, bytes]) -> bytes:
    return replace(tiny_recipe(), signatures=tuple(sorted(signatures))).archive()


def twin(signature: bytes, signer: Signer = BUILDER) -> bytes:
    """(r, n - s): the other signature that anyone can make of an ECDSA signature."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, signer.public.order - s)


@pytest.mark.parametrize("kind", KINDS)
def test_every_allowed_kind_of_key_is_accepted(kind: str, check: SignatureCheck) -> None:
    signer = make_signer(f"good-{kind.lower()}", kind)
    data = signed((signer.label, signer.sign(SUMS)))
    bundle = verify(data, make_trust(make_policy(signer), check)).bundle
    assert [(one.key.name, one.label) for one in bundle.signers] == [(signer.label, signer.label)]


def test_no_signature(check: SignatureCheck) -> None:
    with refused(TrustError, "no trusted key signed", "signatures: none", "builder"):
        verify(signed(), make_trust(check=check))


def test_the_right_signature_of_an_unknown_key(check: SignatureCheck) -> None:
    with refused(TrustError, "no trusted key signed", "builder"):
        verify(signed(("builder", STRANGER.sign(SUMS))), make_trust(check=check))


def test_a_label_is_no_identity(check: SignatureCheck) -> None:
    bundle = verify(signed(("approver", GOOD)), make_trust(make_policy(BUILDER, APPROVER), check)).bundle
    assert [signer.key.name for signer in bundle.signers] == ["builder"]


def test_the_signature_of_another_bundle(check: SignatureCheck) -> None:
    other = BUILDER.sign(tiny_recipe().change(sequence=8).head.sums)
    with refused(TrustError, "no trusted key signed"):
        verify(signed(("builder", other)), make_trust(check=check))


@pytest.mark.parametrize(
    "message",
    [
        SUMS.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + SUMS,
        SUMS[:-1],
        SUMS + b"\n",
        SUMS.upper(),
        b"",
        hashlib.sha256(SUMS).digest(),
    ],
    ids=["CRLF", "BOM", "cut", "longer", "capitals", "empty", "its hash"],
)
def test_a_signature_over_another_spelling_of_the_list(message: bytes, check: SignatureCheck) -> None:
    with refused(TrustError, "no trusted key signed"):
        verify(signed(("builder", BUILDER.sign(message))), make_trust(check=check))


def long_form(signature: bytes) -> bytes:
    return b"\x30\x81" + signature[1:]


def zero_padded(signature: bytes) -> bytes:
    """r with a zero byte more than it needs."""
    size = signature[3]
    r, rest = signature[4 : 4 + size], signature[4 + size :]
    body = b"\x02" + bytes([size + 1]) + b"\0" + r + rest
    return b"\x30" + bytes([len(body)]) + body


def negative(signature: bytes) -> bytes:
    """r as a negative number: its zero byte taken away."""
    body = b"\x02\x20" + b"\xff" * 32 + signature[4 + signature[3] :]
    return b"\x30" + bytes([len(body)]) + body


SHAPES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "one byte": lambda _: b"0",
    "junk behind it": lambda s: s + b"junk",
    "a zero byte behind it": lambda s: s + b"\0",
    "a line feed behind it": lambda s: s + b"\n",
    "junk inside": lambda s: b"\x30" + bytes([s[1] + 2]) + s[2:] + b"\5\0",
    "cut off": lambda s: s[:-1],
    "a long form length": long_form,
    "an indefinite length": lambda s: b"\x30\x80" + s[2:] + b"\0\0",
    "a length of five bytes": lambda s: b"\x30\x85\0\0\0\0" + s[1:],
    "a number that is not minimal": zero_padded,
    "a negative number": negative,
    "r of zero": lambda s: encode_dss_signature(0, decode_dss_signature(s)[1]),
    "s of zero": lambda s: encode_dss_signature(decode_dss_signature(s)[0], 0),
    "r and s of zero": lambda _: encode_dss_signature(0, 0),
    "r of the curve's order": lambda s: encode_dss_signature(BUILDER.public.order, decode_dss_signature(s)[1]),
    "s above the curve's order": lambda s: encode_dss_signature(
        decode_dss_signature(s)[0], decode_dss_signature(s)[1] + BUILDER.public.order
    ),
    "r and s as plain numbers": lambda s: b"".join(n.to_bytes(32, "big") for n in decode_dss_signature(s)),
    "base64": base64.b64encode,
    "hex": lambda s: s.hex().encode(),
    "twice itself": lambda s: s + s,
    "16 KiB": lambda s: s.ljust(16 * 1024, b"\0"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_signature_in_the_shape_of(name: str, check: SignatureCheck) -> None:
    changed = SHAPES[name](GOOD)
    assert not BUILDER.public.has_shape(changed)
    with refused(TrustError, "no trusted key signed"):
        verify(signed(("builder", changed)), make_trust(check=check))


def signature_of(length: int) -> tuple[bytes, bytes]:
    """A message and the builder's signature over it, ``length`` bytes long."""
    for number in range(1000):
        message = SUMS + b"%d" % number
        signature = BUILDER.sign(message)
        if len(signature) == length:
            return message, signature
    raise AssertionError("no signature of that length in a thousand")


def test_junk_behind_the_longest_signature_that_openssl_would_read_past(check: SignatureCheck) -> None:
    message, signature = signature_of(72)
    assert check.verify(BUILDER.public, signature, message)
    assert not BUILDER.public.has_shape(signature + b"junk")


def test_junk_behind_the_longest_signature_in_a_bundle(check: SignatureCheck) -> None:
    for sequence in range(8, 100):
        recipe = tiny_recipe().change(sequence=sequence)
        signature = BUILDER.sign(recipe.head.sums)
        if len(signature) == 72:
            break
    assert len(signature) == 72
    assert verify(recipe.archive(), make_trust(check=check)).bundle.manifest.sequence == sequence
    junk = replace(recipe, signatures=(("builder", signature + b"junk"),))
    with refused(TrustError, "no trusted key signed"):
        verify(junk.archive(), make_trust(check=check))


def test_the_twin_of_a_signature_is_the_same_signer(check: SignatureCheck) -> None:
    other = twin(GOOD)
    assert other != GOOD
    trust = make_trust(make_policy(BUILDER, APPROVER), check)
    assert [one.key.name for one in verify(signed(("a", GOOD), ("b", other)), trust).bundle.signers] == ["builder"]


def test_the_twin_of_a_signature_is_no_second_signer(check: SignatureCheck) -> None:
    trust = make_trust(make_policy(BUILDER, APPROVER, rule=Rule(2)), check)
    with refused(TrustError, "not enough signers", "1 of 2", "builder"):
        verify(signed(("a", GOOD), ("b", twin(GOOD))), trust)


def test_one_signature_twice_is_no_second_signer(check: SignatureCheck) -> None:
    trust = make_trust(make_policy(BUILDER, APPROVER, rule=Rule(2)), check)
    with refused(TrustError, "not enough signers", "1 of 2"):
        verify(signed(("a", GOOD), ("b", GOOD)), trust, beside=[("c", GOOD), ("d", twin(GOOD))])


def test_one_key_under_two_names_is_no_second_signer(check: SignatureCheck, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.pub").write_bytes(BUILDER.public.pem)
    (tmp_path / "policy.toml").write_text("threshold = 2\n")
    with refused(TrustError, "not enough signers", "1 of 2"):
        verify(signed(("one", GOOD), ("two", twin(GOOD))), make_trust(load_trust(tmp_path), check))


def test_two_signers_of_two(check: SignatureCheck) -> None:
    trust = make_trust(make_policy(BUILDER, APPROVER, rule=Rule(2)), check)
    beside = [("approver", APPROVER.sign(SUMS))]
    bundle = verify(signed(("builder", GOOD)), trust, beside=beside).bundle
    assert {signer.key.name for signer in bundle.signers} == {"builder", "approver"}
    assert bundle.threshold == 2


def test_a_required_signer_is_missing(check: SignatureCheck) -> None:
    trust = make_trust(make_policy(BUILDER, APPROVER, rule=Rule(1, ("approver",))), check)
    with refused(TrustError, "required signer is missing", "approver"):
        verify(signed(("approver", GOOD)), trust)


def test_a_revoked_key(check: SignatureCheck) -> None:
    policy = make_policy(BUILDER, APPROVER, revoked=frozenset({BUILDER.public.fingerprint}))
    with refused(TrustError, "no trusted key signed", "keys tried: approver"):
        verify(signed(("builder", GOOD)), make_trust(policy, check))


def test_a_revoked_key_beside_a_good_one_does_not_count(check: SignatureCheck) -> None:
    policy = make_policy(BUILDER, APPROVER, revoked=frozenset({BUILDER.public.fingerprint}))
    data = signed(("approver", APPROVER.sign(SUMS)), ("builder", GOOD))
    assert [s.key.name for s in verify(data, make_trust(policy, check)).bundle.signers] == ["approver"]


def test_an_algorithm_the_policy_leaves_out(check: SignatureCheck) -> None:
    other = make_signer("other", "P-384")
    policy = make_policy(BUILDER, other, algorithms=(P384,))
    with refused(TrustError, "no trusted key signed", "keys tried: other"):
        verify(signed(("builder", GOOD)), make_trust(policy, check))


def sign_with(signer: Signer, algorithm: Any) -> bytes:
    signature: bytes = signer._private.sign(SUMS, *algorithm)
    return signature


@pytest.mark.parametrize(
    ("kind", "scheme"),
    [
        ("P-256", (ec.ECDSA(hashes.SHA384()),)),
        ("P-256", (ec.ECDSA(hashes.SHA1()),)),
        ("P-384", (ec.ECDSA(hashes.SHA256()),)),
        ("RSA", (padding.PKCS1v15(), hashes.SHA1())),
        ("RSA", (padding.PKCS1v15(), hashes.SHA512())),
        ("RSA", (padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())),
    ],
    ids=["P-256 SHA-384", "P-256 SHA-1", "P-384 SHA-256", "RSA SHA-1", "RSA SHA-512", "RSA PSS"],
)
def test_a_signature_under_another_hash_or_padding(kind: str, scheme: Any, check: SignatureCheck) -> None:
    signer = make_signer(f"good-{kind.lower()}", kind)
    data = signed((signer.label, sign_with(signer, scheme)))
    with refused(TrustError, "no trusted key signed"):
        verify(data, make_trust(make_policy(signer), check))


def test_rsa_signatures_of_another_length(check: SignatureCheck) -> None:
    signer = make_signer("good-rsa", "RSA")
    good = signer.sign(SUMS)
    trust = make_trust(make_policy(signer), check)
    too_large = (int.from_bytes(good, "big") + signer.public.order).to_bytes(len(good) + 1, "big")
    for changed in (b"\0" + good, good + b"\0", good[:-1], b"\xff" * len(good), bytes(len(good)), too_large):
        with refused(TrustError, "no trusted key signed"):
            verify(signed(("good-rsa", changed)), trust)


def certificate() -> bytes:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "builder")])
    moment = datetime.datetime(2025, 1, 1, tzinfo=datetime.timezone.utc)
    made = x509.CertificateBuilder(name, name, private.public_key(), 1, moment, moment.replace(year=2035))
    return made.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def compressed_point() -> bytes:
    """A P-256 key in its compressed spelling: another fingerprint for the same key."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    short = point.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    prefix = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    return pem_of(prefix + short)


def pem_of(spki: bytes, label: str = "PUBLIC KEY") -> bytes:
    text = base64.b64encode(spki)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([f"-----BEGIN {label}-----".encode(), *lines, f"-----END {label}-----".encode(), b""])


SPKI = BUILDER.public.spki
GOOD_PEM = BUILDER.public.pem
RSA_KEY = make_signer("good-rsa", "RSA")


def rsa_spki(modulus: int, exponent: int) -> bytes:
    """An RSA key of any numbers at all."""

    def element(tag: int, body: bytes) -> bytes:
        size = len(body)
        digits = size.to_bytes(2, "big").lstrip(b"\0")
        return bytes([tag]) + (bytes([size]) if size < 128 else bytes([0x80 | len(digits)]) + digits) + body

    def integer(value: int) -> bytes:
        return element(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))

    numbers = element(0x30, integer(modulus) + integer(exponent))
    algorithm = element(0x30, bytes.fromhex("06092a864886f70d0101010500"))
    return element(0x30, algorithm + element(3, b"\0" + numbers))


KEYS: dict[str, Callable[[], bytes]] = {
    "a certificate": certificate,
    "a private key": lambda: private_pem(ec.generate_private_key(ec.SECP256R1())),
    "RSA of 2048 bits": lambda: public_pem(rsa.generate_private_key(65537, 2048).public_key()),
    "RSA of 1024 bits": lambda: pem_of(rsa_spki(2**1023 + 1, 65537)),
    "RSA of 16,385 bits": lambda: pem_of(rsa_spki(2**16384 + 1, 65537)),
    "RSA with exponent 3": lambda: public_pem(rsa.generate_private_key(3, 3072).public_key()),
    "RSA with exponent 1": lambda: pem_of(rsa_spki(RSA_KEY.public.order, 1)),
    "RSA with an even exponent": lambda: pem_of(rsa_spki(RSA_KEY.public.order, 65538)),
    "RSA with a huge exponent": lambda: pem_of(rsa_spki(RSA_KEY.public.order, 2**32 + 1)),
    "RSA with an even modulus": lambda: pem_of(rsa_spki(RSA_KEY.public.order - 1, 65537)),
    "P-521": lambda: public_pem(ec.generate_private_key(ec.SECP521R1()).public_key()),
    "secp256k1": lambda: public_pem(ec.generate_private_key(ec.SECP256K1()).public_key()),
    "Ed25519": lambda: public_pem(ed25519.Ed25519PrivateKey.generate().public_key()),
    "a compressed point": compressed_point,
    "a point off its curve": lambda: pem_of(SPKI[:-1] + bytes([SPKI[-1] ^ 1])),
    "the point at infinity": lambda: pem_of(SPKI[:-64] + bytes(64)),
    "junk behind the key": lambda: pem_of(SPKI + b"\0"),
    "unused bits": lambda: pem_of(SPKI[:25] + b"\1" + SPKI[26:]),
    "half a key": lambda: pem_of(SPKI[:40]),
    "two keys": lambda: GOOD_PEM + APPROVER.public.pem,
    "text before it": lambda: b"builder's key\n" + GOOD_PEM,
    "text behind it": lambda: GOOD_PEM + b"# fine\n",
    "bad base64": lambda: GOOD_PEM.replace(b"=", b"").replace(b"A", b"A=", 1),
    "no lines": lambda: GOOD_PEM.replace(b"\n", b""),
    "another label": lambda: pem_of(SPKI, "EC PUBLIC KEY"),
    "DER": lambda: SPKI,
    "an OpenSSH key": lambda: b"ecdsa-sha2-nistp256 AAAA builder\n",
    "nothing": lambda: b"",
    "a mebibyte": lambda: GOOD_PEM + b"\n" * 2**20,
}


@pytest.mark.parametrize("name", KEYS)
def test_a_trusted_key_that_is(name: str) -> None:
    with refused(TrustError, "key mine"):
        parse_public_key(KEYS[name](), "mine")


def test_a_key_file_with_crlf_is_the_same_key() -> None:
    assert parse_public_key(GOOD_PEM.replace(b"\n", b"\r\n"), "builder") == BUILDER.public
    assert BUILDER.public.algorithm == P256


def test_one_bad_key_spoils_a_trust_directory(tmp_path: Path) -> None:
    # Going on without it could mean going on with a threshold nobody chose.
    (tmp_path / "good.pub").write_bytes(GOOD_PEM)
    (tmp_path / "old.pub").write_bytes(b"")
    with refused(TrustError, "key old"):
        load_trust(tmp_path)


def test_an_empty_trust_directory(tmp_path: Path) -> None:
    with refused(TrustError, "no trusted key"):
        load_trust(tmp_path)


def test_a_key_that_travels_with_the_bundle_is_not_trusted(tmp_path: Path, check: SignatureCheck) -> None:
    archive = tmp_path / ARCHIVE
    archive.write_bytes(signed(("stranger", STRANGER.sign(SUMS))))
    (tmp_path / "stranger.pub").write_bytes(STRANGER.public.pem)
    with refused(TrustError, "no trusted key signed"):
        verify(archive.read_bytes(), make_trust(check=check), beside=signatures_beside(archive))


def recipe_with(signatures: list[tuple[str, bytes]]) -> Recipe:
    return replace(tiny_recipe(), signatures=tuple(signatures))


def test_too_many_signatures() -> None:
    many = [(f"s{number:02}", GOOD) for number in range(17)]
    assert open_head(recipe_with(many[:16]).archive()).signers
    with refused(FormatError, ARCHIVE, "too many signatures"):
        verify(recipe_with(many).archive())


def test_signatures_out_of_order_or_twice() -> None:
    for labels in (("b", "a"), ("a", "a")):
        with refused(FormatError, ARCHIVE, "SHA256SUMS.a.sig", "out of order"):
            verify(recipe_with([(label, GOOD) for label in labels]).archive())


@pytest.mark.parametrize("label", ["A", "a_b", "a.b", "a" * 33, "../a"])
def test_a_signature_under_a_label_that_is_none(label: str) -> None:
    with refused(FormatError, ARCHIVE):
        verify(recipe_with([(label, GOOD)]).archive())


def test_a_signature_larger_than_any(check: SignatureCheck) -> None:
    with refused(FormatError, ARCHIVE, "SHA256SUMS.a.sig", "too large"):
        verify(recipe_with([("a", bytes(16 * 1024 + 1))]).archive(), make_trust(check=check))


def test_a_signature_beside_it_that_is_larger_than_any(tmp_path: Path) -> None:
    (tmp_path / f"{ARCHIVE}.a.sig").write_bytes(bytes(16 * 1024 + 1))
    with refused(FormatError, f"{ARCHIVE}.a.sig", "too large"):
        signatures_beside(tmp_path / ARCHIVE)


def test_too_many_signatures_beside_it(tmp_path: Path) -> None:
    for number in range(65):
        (tmp_path / f"{ARCHIVE}.s{number}.sig").write_bytes(b"")
    with refused(FormatError, ARCHIVE, "65"):
        signatures_beside(tmp_path / ARCHIVE)


@pytest.mark.parametrize(
    "name",
    [f"{ARCHIVE}.approver.sig", "SHA256SUMS.approver.sig", "approver.sig", f"{ARCHIVE}.sha256.approver.sig"],
)
@pytest.mark.parametrize("data", [GOOD, twin(GOOD), b"approved", APPROVER.sign(b"other"), STRANGER.sign(SUMS)])
def test_a_file_beside_it_that_imitates_a_second_signature(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(signed(("builder", GOOD)))
    (tmp_path / name).write_bytes(data)
    beside = signatures_beside(tmp_path / ARCHIVE)
    policy = make_policy(BUILDER, APPROVER, rule=Rule(2))
    with refused(TrustError, "not enough signers", "1 of 2"):
        verify((tmp_path / ARCHIVE).read_bytes(), make_trust(policy), beside=beside)


def test_a_fifo_that_is_called_a_signature(tmp_path: Path) -> None:
    # Opened as a file is, it would never open.
    os.mkfifo(tmp_path / f"{ARCHIVE}.a.sig")
    with refused(FormatError, f"{ARCHIVE}.a.sig", "not a regular file"):
        signatures_beside(tmp_path / ARCHIVE)


def test_an_expired_bundle(check: SignatureCheck) -> None:
    data = tiny_recipe().change(not_after="2025-12-31T23:59:59Z").archive()
    assert "2025-12-31T23:59:59Z" in verify(data, make_trust(check=check)).bundle.warnings[0]
    with refused(TrustError, "expired", "2026-01-01"):
        verify(data, make_trust(make_policy(BUILDER, enforce_not_after=True), check))
