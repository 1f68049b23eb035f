from __future__ import annotations

import hashlib

import pytest

from loader.bundle.digest import digest_of, is_digest, is_hex, require_digest, sha256_hex
from loader.bundle.errors import TrustError

HEX = hashlib.sha256(b"x").hexdigest()


def test_digests_are_sha256() -> None:
    assert sha256_hex(b"x") == HEX
    assert digest_of(b"x") == f"sha256:{HEX}"


@pytest.mark.parametrize("text", [HEX[:-1], HEX + "0", HEX.upper(), HEX + "\n", "../" + HEX[3:], "\uff10" * 64, ""])
def test_what_only_looks_like_a_hash(text: str) -> None:
    assert not is_hex(text)
    assert not is_digest(f"sha256:{text}")


def test_what_is_a_hash() -> None:
    assert is_hex(HEX)
    assert is_digest(f"sha256:{HEX}")
    assert not is_digest(HEX)
    assert not is_digest(f"sha512:{HEX}")


def test_content_is_required_to_match() -> None:
    require_digest(b"x", digest_of(b"x"), "a thing")
    with pytest.raises(TrustError) as caught:
        require_digest(b"y", digest_of(b"x"), "a thing")
    assert caught.value.message == "a thing does not match its digest"
    assert caught.value.why == f"expected {digest_of(b'x')}, got {digest_of(b'y')}"
