from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from loader.bundle.der import INTEGER, NULL, OID, SEQUENCE, Der
from loader.bundle.errors import TrustError
from loader.bundle.keys import P256, P384, RSA, parse_public_key
from tests.support.bundles import make_signer

SIGNER = make_signer("builder")
ORDER = SIGNER.public.order


@pytest.mark.parametrize(("kind", "algorithm"), [("P-256", P256), ("P-384", P384), ("RSA", RSA)])
def test_a_key_is_read_and_written_again(kind: str, algorithm: str) -> None:
    public = make_signer(f"good-{kind.lower()}", kind).public
    assert public.algorithm == algorithm
    assert parse_public_key(public.pem, public.name) == public
    assert public.fingerprint == "sha256:" + hashlib.sha256(public.spki).hexdigest()


def test_the_name_is_no_part_of_the_fingerprint() -> None:
    assert parse_public_key(SIGNER.public.pem, "other").fingerprint == SIGNER.public.fingerprint


@given(st.integers(1, ORDER - 1), st.integers(1, ORDER - 1))
def test_every_pair_in_range_has_the_shape_of_a_signature(r: int, s: int) -> None:
    assert SIGNER.public.has_shape(encode_dss_signature(r, s))


@given(st.binary(max_size=80))
def test_bytes_of_that_shape_are_what_a_strict_encoder_writes(data: bytes) -> None:
    if SIGNER.public.has_shape(data):
        outer = Der(data, "it")
        pair = outer.enter(SEQUENCE)
        assert data == encode_dss_signature(pair.integer(), pair.integer())


@given(st.integers(1, ORDER - 1), st.integers(1, ORDER - 1), st.data())
def test_no_other_bytes_have_the_shape_of_the_same_pair(r: int, s: int, data: st.DataObject) -> None:
    signature = bytearray(encode_dss_signature(r, s))
    position = data.draw(st.integers(0, len(signature) - 1))
    signature[position] ^= data.draw(st.integers(1, 255))
    if SIGNER.public.has_shape(bytes(signature)):
        pair = Der(bytes(signature), "it").enter(SEQUENCE)
        assert (pair.integer(), pair.integer()) != (r, s)


def test_a_signature_above_the_cap_has_no_shape() -> None:
    public = make_signer("good-rsa", "RSA").public
    size = (public.order.bit_length() + 7) // 8
    assert public.has_shape(b"\1".rjust(size, b"\0"))
    assert not public.has_shape(b"\1".rjust(16 * 1024 + 1, b"\0"))


@pytest.mark.parametrize(("size", "head"), [(127, b"\x30\x7f"), (128, b"\x30\x81\x80"), (256, b"\x30\x82\x01\x00")])
def test_lengths_are_minimal(size: int, head: bytes) -> None:
    body = bytes(size)
    assert Der(head + body, "it").take(SEQUENCE) == body
    with pytest.raises(TrustError, match="not strict DER"):
        Der(b"\x30\x83\x00" + size.to_bytes(2, "big") + body, "it").take(SEQUENCE)


@pytest.mark.parametrize(
    "data", [b"", b"\x02", b"\x30\x02\x05", b"\x30\x80", b"\x30\x81", b"\x30\x84\1\1\1\1", b"\x31\0"]
)
def test_what_is_no_sequence(data: bytes) -> None:
    with pytest.raises(TrustError) as caught:
        Der(data, "the key").take(SEQUENCE)
    assert caught.value.message == "the key is not strict DER"


def test_elements_are_taken_in_order() -> None:
    der = Der(b"\x30\x08\x02\x01\x7f\x05\x00\x06\x01\x2a", "it")
    inner = der.enter(SEQUENCE)
    der.end()
    assert (inner.integer(), inner.take(NULL)) == (127, b"")
    with pytest.raises(TrustError, match="3 bytes follow"):
        inner.end()
    with pytest.raises(TrustError, match="tag 0x02 expected at byte 5"):
        inner.take(INTEGER)
    assert inner.take(OID) == b"*"
    inner.end()
