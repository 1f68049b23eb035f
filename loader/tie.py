"""Secret tags for what is read twice: GMAC by the libcrypto that Python itself is linked to.

AES-256-GCM over no text authenticates the bytes beside it (NIST SP 800-38D, GMAC) at several times the speed of
SHA-256. Its key is made anew and leaves the process as little as its tags do, so a medium that gives other bytes at
the second reading can only guess.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Sequence
from typing import Any, Optional

from loader.bundle.pieces import Tie
from loader.memory import place

_KEY, _NONCE, _TAG = 32, 12, 16
_GET_TAG = 0x10  # EVP_CTRL_AEAD_GET_TAG of evp.h
_KNOWN = bytes.fromhex("af9a355743247f9c82e345b545d860d1")


def find_tie() -> Optional[Tie]:
    """Return what makes tags on this host; ``None`` where libcrypto can't be reached, or does not count right."""
    try:
        # The symbols of what a library was linked to are found through it: the very libcrypto that hashes here.
        library = ctypes.PyDLL(importlib.import_module("_hashlib").__file__)
        if Gmac(library, bytes(_KEY)).tag(0, 0, [memoryview(bytearray(_KEY))]) == _KNOWN:
            return Gmac(library, os.urandom(_KEY))
    except (ImportError, AttributeError, OSError, RuntimeError):
        return None
    return None


class Gmac:
    """Tags under ``key``; the interpreter's lock is kept meanwhile: a piece takes less time than getting it back."""

    def __init__(self, library: ctypes.PyDLL, key: bytes) -> None:
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self._key = key
        self._new = _function(library, "EVP_CIPHER_CTX_new", pointer)
        self._free = _function(library, "EVP_CIPHER_CTX_free", None, pointer)
        text = ctypes.c_char_p
        self._begin = _function(library, "EVP_EncryptInit_ex", number, pointer, pointer, pointer, text, text)
        self._update = _function(library, "EVP_EncryptUpdate", number, pointer, pointer, pointer, pointer, number)
        self._end = _function(library, "EVP_EncryptFinal_ex", number, pointer, pointer, pointer)
        self._control = _function(library, "EVP_CIPHER_CTX_ctrl", number, pointer, number, number, pointer)
        self._cipher = _function(library, "EVP_aes_256_gcm", pointer)()

    def tag(self, member: int, number: int, blocks: Sequence[memoryview]) -> bytes:
        """Return the tag of ``blocks``; each (member, number) has a nonce of its own."""
        nonce = (member << 64 | number).to_bytes(_NONCE, "big")
        context, length, made = self._new(), ctypes.c_int(), ctypes.create_string_buffer(_TAG)
        if context is None:
            raise MemoryError
        try:
            good = self._begin(context, self._cipher, None, self._key, nonce)
            for block in blocks:
                good &= self._update(context, None, ctypes.byref(length), place(block), len(block))
            good &= self._end(context, made, ctypes.byref(length))
            good &= self._control(context, _GET_TAG, _TAG, made)
        finally:
            self._free(context)
        if good != 1:
            raise RuntimeError("libcrypto made no tag")
        return made.raw


def _function(library: ctypes.PyDLL, name: str, result: Any, *arguments: Any) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = result, arguments
    return function
