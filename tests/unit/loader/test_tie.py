from __future__ import annotations

import ctypes
import importlib

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from loader import tie
from loader.bundle.pieces import Tie
from loader.tie import Gmac, find_tie

PARTS = [memoryview(bytearray(b"a" * 1000)), memoryview(b"b" * 7), memoryview(b"xcccx")[1:4]]


def found() -> Tie:
    made = find_tie()
    assert made is not None
    return made


def reference(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """GMAC by another library's interface."""
    engine = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    engine.authenticate_additional_data(data)
    engine.finalize()
    return engine.tag


def test_a_tag_is_what_another_library_says() -> None:
    library = ctypes.PyDLL(importlib.import_module("_hashlib").__file__)
    key = bytes(range(32))
    data = b"".join(map(bytes, PARTS))
    for member, number in ((0, 0), (3, 0), (200_000, 2**20)):
        nonce = member.to_bytes(4, "big") + number.to_bytes(8, "big")
        assert Gmac(library, key).tag(member, number, PARTS) == reference(key, nonce, data)


def test_a_tag_is_of_content_and_place_and_not_of_the_blocks() -> None:
    made = found()
    whole = [memoryview(b"".join(map(bytes, PARTS)))]
    assert made.tag(1, 2, PARTS) == made.tag(1, 2, whole)
    others = [made.tag(1, 3, whole), made.tag(2, 2, whole), made.tag(1, 2, [whole[0][:-1]]), made.tag(1, 2, [])]
    assert len({made.tag(1, 2, whole), *others}) == 5


def test_the_key_is_made_anew() -> None:
    assert found().tag(0, 0, PARTS) != found().tag(0, 0, PARTS)


class Library:
    """A libcrypto in which one function does not do what it should."""

    def __init__(self, name: str) -> None:
        self._real = ctypes.PyDLL(importlib.import_module("_hashlib").__file__)
        self._name = name

    def __getattr__(self, name: str) -> object:
        if name == self._name == "EVP_aes_256_gcm":
            raise AttributeError(name)
        if name == self._name:
            return _Failing()
        return getattr(self._real, name)


class _Failing:
    def __call__(self, *_: object) -> int:
        return 0


@pytest.mark.parametrize(
    "name", ["EVP_aes_256_gcm", "EVP_EncryptInit_ex", "EVP_EncryptUpdate", "EVP_EncryptFinal_ex", "EVP_CIPHER_CTX_ctrl"]
)
def test_a_libcrypto_that_does_not_do_it_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "PyDLL", lambda _: Library(name))
    assert find_tie() is None


def test_a_python_without_its_own_libcrypto_makes_no_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert find_tie() is None


def test_a_libcrypto_that_counts_wrong_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tie, "_KNOWN", bytes(16))
    assert find_tie() is None


def test_no_memory_is_no_tag() -> None:
    library = ctypes.PyDLL(importlib.import_module("_hashlib").__file__)
    engine = Gmac(library, bytes(32))
    engine._new = lambda: None
    with pytest.raises(MemoryError):
        engine.tag(0, 0, PARTS)
