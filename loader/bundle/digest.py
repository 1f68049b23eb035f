"""Digests, and readers that check while they are read."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from loader.bundle.errors import TrustError

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")


class ByteReader(Protocol):
    """Anything with ``read(n)``: up to ``n`` bytes, ``b""`` at the end."""

    def read(self, size: int = ..., /) -> bytes:
        """Return up to ``size`` bytes."""
        ...


def is_digest(text: str) -> bool:
    """Tell whether ``text`` is ``sha256:`` and 64 lower-case hex digits (CVE-2024-3727: never assume)."""
    return _DIGEST.fullmatch(text) is not None


def is_hex(text: str) -> bool:
    """Tell whether ``text`` is 64 lower-case hex digits."""
    return _HEX.fullmatch(text) is not None


def found_digests(data: bytes) -> frozenset[str]:
    """Return every digest that stands in ``data``, whatever that is."""
    return frozenset(_DIGEST.findall(data.decode("utf-8", "replace")))


def sha256_hex(data: bytes) -> str:
    """SHA-256 of ``data`` as 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_of(data: bytes) -> str:
    """OCI digest of ``data``: ``sha256:`` and 64 hex digits."""
    return "sha256:" + sha256_hex(data)


def require_digest(data: bytes, expected: str, what: str) -> None:
    """Raise :class:`TrustError` naming ``what`` unless ``data`` hashes to the OCI digest ``expected``."""
    got = digest_of(data)
    if got != expected:
        raise TrustError(f"{what} does not match its digest", why=f"expected {expected}, got {got}")
