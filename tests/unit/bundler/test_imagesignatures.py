"""Signatures of cosign's forms: what holds, and every way not to."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bundler.imagesignatures import SigningKey, check_bundle, check_simple_signing, read_signing_key
from loader.bundle.digest import digest_of
from loader.bundle.errors import ConfigError, TrustError

MANIFEST = b'{"schemaVersion":2}'
DIGEST = digest_of(MANIFEST)
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PREDICATE = "https://sigstore.dev/cosign/sign/v1"


def public(key: Any) -> SigningKey:
    return read_signing_key("k.pub", key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


KEYS = (public(ec.generate_private_key(ec.SECP256R1())), public(PRIVATE))


def signed(data: bytes) -> str:
    return base64.b64encode(PRIVATE.sign(data, ec.ECDSA(hashes.SHA256()))).decode()


def payload(**change: object) -> bytes:
    critical = {
        "identity": {"docker-reference": "quay.io/x/app"},
        "image": {"docker-manifest-digest": DIGEST},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": {**critical, **change}, "optional": None}).encode()


def bundle(statement: dict[str, object], kind: str = "application/vnd.in-toto+json") -> bytes:
    body = json.dumps(statement).encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(body), body)
    envelope = {
        "payload": base64.b64encode(body).decode(),
        "payloadType": kind,
        "signatures": [{"sig": signed(pae)}],
    }
    return json.dumps({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "dsseEnvelope": envelope}).encode()


def statement(**change: object) -> dict[str, object]:
    plain = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": DIGEST[7:]}}]}
    return {**plain, "predicateType": PREDICATE, "predicate": {}, **change}


def test_a_payload_that_holds() -> None:
    found = check_simple_signing(payload(), signed(payload()), DIGEST, KEYS)
    assert (found.key, found.identity) == (KEYS[1], "quay.io/x/app")


@pytest.mark.parametrize(
    ("data", "signature", "problem"),
    [
        (payload(), signed(payload() + b" "), "another key"),
        (payload(), "", "another key"),
        (payload(), None, "another key"),
        (payload(), "%", "not base64"),
        (payload(image={"docker-manifest-digest": f"sha256:{'0' * 64}"}), "", "another image"),
        (payload(image={}), "", "another image"),
        (payload(type="something else"), "", "no image signature"),
        (b'{"critical": 1}', "", "no image signature"),
        (b"[]", "", "not a JSON object"),
        (b'{"critical": 1, "critical": 2}', "", "not JSON"),
        (b"[" * 100_000, "", "not JSON"),
    ],
)
def test_a_payload_that_does_not(data: bytes, signature: object, problem: str) -> None:
    given = signed(data) if signature == "" and "another key" not in problem else signature
    with pytest.raises(TrustError, match=problem):
        check_simple_signing(data, given, DIGEST, KEYS)


def test_a_bundle_that_holds() -> None:
    assert check_bundle(bundle(statement()), MANIFEST, KEYS).key == KEYS[1]
    message = {"messageSignature": {"signature": signed(MANIFEST)}}
    assert check_bundle(json.dumps(message).encode(), MANIFEST, KEYS).key == KEYS[1]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (bundle(statement(predicateType="https://spdx.dev/Document")), "which is no signature"),
        (bundle(statement(_type="x")), "which is no signature"),
        (bundle(statement(subject=[{"digest": {"sha256": "0" * 64}}])), "another image"),
        (bundle(statement(subject=DIGEST)), "another image"),
        (bundle(statement(), kind="text/plain"), "the envelope holds"),
        (bundle(statement()).replace(b'"sig": "ME', b'"sig": "MF'), "another key"),
        (b"{}", "neither a message signature nor an envelope"),
        (b'{"dsseEnvelope": {"signatures": []}}', "neither"),
        (json.dumps({"messageSignature": {"signature": signed(b"other")}}).encode(), "another key"),
        (b'{"messageSignature": 1}', "another key"),
    ],
)
def test_a_bundle_that_does_not(data: bytes, problem: str) -> None:
    with pytest.raises(TrustError, match=problem):
        check_bundle(data, MANIFEST, KEYS)


def test_other_kinds_of_keys() -> None:
    data = payload()
    p384 = ec.generate_private_key(ec.SECP384R1())
    edwards = ed25519.Ed25519PrivateKey.generate()
    long = rsa.generate_private_key(65537, 2048)
    for key, signature in (
        (p384, p384.sign(data, ec.ECDSA(hashes.SHA384()))),
        (p384, p384.sign(data, ec.ECDSA(hashes.SHA256()))),
        (edwards, edwards.sign(data)),
        (long, long.sign(data, padding.PKCS1v15(), hashes.SHA256())),
    ):
        text = base64.b64encode(signature).decode()
        assert check_simple_signing(data, text, DIGEST, [public(key)]).form == "cosign"
        with pytest.raises(TrustError):
            check_simple_signing(data + b" ", text, DIGEST, [public(key)])


def test_a_key_that_is_too_short() -> None:
    with pytest.raises(ConfigError, match="too short"):
        public(rsa.generate_private_key(65537, 1024))
