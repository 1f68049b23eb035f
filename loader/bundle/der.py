"""Just enough strict DER to read a public key and an ECDSA signature (ITU-T X.690 section 10).

Every length is minimal, every integer minimal and not negative, nothing trails. What the stock
tools let through (junk behind a signature, BER lengths) is refused here, before any backend sees it.
"""

from __future__ import annotations

from loader.bundle.errors import TrustError

SEQUENCE = 0x30
INTEGER = 0x02
BIT_STRING = 0x03
OID = 0x06
NULL = 0x05


class Der:
    """A cursor over DER bytes; every method raises ``TrustError`` naming ``what`` on a second spelling."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    def take(self, tag: int) -> bytes:
        """Return the content of the next element, which must have ``tag``."""
        if len(self._data) < self._at + 2 or self._data[self._at] != tag:
            raise self._bad(f"tag 0x{tag:02x} expected at byte {self._at}")
        length = self._data[self._at + 1]
        start = self._at + 2
        if length & 0x80:
            count = length & 0x7F
            digits = self._data[start : start + count]
            length = int.from_bytes(digits, "big")
            if not 1 <= count <= 4 or len(digits) != count or digits[0] == 0 or length < 0x80:
                raise self._bad("a length is not minimal")
            start += count
        if start + length > len(self._data):
            raise self._bad("cut off")
        self._at = start + length
        return self._data[start : self._at]

    def enter(self, tag: int) -> Der:
        """Return a cursor over the content of the next element, which must have ``tag``."""
        return Der(self.take(tag), self._what)

    def integer(self) -> int:
        """Return the next element as a non-negative integer in its shortest form."""
        content = self.take(INTEGER)
        if not content or content[0] & 0x80 or (len(content) > 1 and content[0] == 0 and not content[1] & 0x80):
            raise self._bad("an integer is negative or not minimal")
        return int.from_bytes(content, "big")

    def end(self) -> None:
        """Require that nothing follows."""
        if self._at != len(self._data):
            raise self._bad(f"{len(self._data) - self._at} bytes follow")

    def _bad(self, why: str) -> TrustError:
        return TrustError(f"{self._what} is not strict DER", why=why)
