"""Signing and checking with ``cryptography``, imported only when asked for: the loader travels without it."""

from __future__ import annotations

import importlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import AirgapError, ConfigError, StorageError, TrustError
from loader.bundle.keys import HASHES, RSA, PublicKey, SignatureCheck, parse_public_key
from loader.bundle.limits import MAX_KEY_FILE
from loader.openssl_cli import PROGRAM, OpensslCheck

_FIPS_FLAG = Path("/proc/sys/crypto/fips_enabled")


def find_check(choice: str = "auto") -> SignatureCheck:
    """Return the backend named ``choice``: auto, openssl or cryptography.

    ``auto`` is the host's openssl in FIPS mode or where ``cryptography`` is missing. Raises
    ``ConfigError`` for an unknown or missing backend.
    """
    if choice not in {"auto", "openssl", "cryptography"}:
        raise ConfigError(
            f"--crypto {choice} is not known",
            why="it is none of the three ways to check a signature",
            hint="auto, openssl or cryptography",
        )
    here = _has_cryptography()
    if choice == "cryptography" and not here:
        raise ConfigError(
            "--crypto cryptography: the package is not installed",
            why="no module of that name can be imported",
            hint="use --crypto openssl",
        )
    if choice == "openssl" or (choice == "auto" and (not here or _fips_mode())):
        if not os.access(PROGRAM, os.X_OK):
            raise ConfigError(
                f"{PROGRAM} is not there",
                why="nothing that can be run has that name",
                hint="install openssl, or the Python package cryptography",
            )
        return OpensslCheck()
    return CryptographyCheck()


def _has_cryptography() -> bool:
    try:
        importlib.import_module("cryptography.hazmat.primitives.asymmetric.ec")
    except ImportError:
        return False
    return True


def _fips_mode() -> bool:
    try:
        return _FIPS_FLAG.read_text().strip() == "1"
    except OSError:
        return False


class CryptographyCheck:
    """Signature checks by the ``cryptography`` package."""

    name = "cryptography"

    def verify(self, key: PublicKey, signature: bytes, message: bytes) -> bool:
        """Whether ``signature`` is ``key``'s over ``message``; False for every kind of mismatch."""
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization

        try:
            public: Any = serialization.load_der_public_key(key.spki)
            public.verify(signature, message, *_scheme(key.algorithm))
        except (InvalidSignature, UnsupportedAlgorithm, ValueError):
            return False
        return True


def _scheme(algorithm: str, **signing: bool) -> tuple[Any, ...]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    digest: Any = hashes.SHA384() if HASHES[algorithm] == "sha384" else hashes.SHA256()
    if algorithm == RSA:
        return padding.PKCS1v15(), digest
    # A host's own package may be years older than the builder's, and know nothing of how to sign.
    return (ec.ECDSA(digest, **signing),)


@dataclass(frozen=True)
class Signer:
    """A private key in memory and its public half; ``label`` names its signature files."""

    label: str
    public: PublicKey
    _private: Any

    def sign(self, message: bytes) -> bytes:
        """Return the raw detached signature over ``message``: strict DER for ECDSA."""
        # RFC 6979: the same key and bytes give the same signature, so a rebuilt bundle is the same bytes.
        signature: bytes = self._private.sign(message, *_scheme(self.public.algorithm, deterministic_signing=True))
        return signature

    def sign_sha256(self, digest: bytes) -> bytes:
        """Return the signature over bytes whose SHA-256 is ``digest``, whatever hash the key is used with here."""
        signature: bytes = self._private.sign(digest, *_prehashed(self.public.algorithm))
        return signature


def _prehashed(algorithm: str) -> tuple[Any, ...]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding
    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

    digest = Prehashed(hashes.SHA256())
    if algorithm == RSA:
        return padding.PKCS1v15(), digest
    return (ec.ECDSA(digest, deterministic_signing=True),)


def load_signer(pem: bytes, *, label: str, where: str, passphrase: Optional[bytes] = None) -> Signer:
    """Read a PKCS#8 or traditional PEM private key. ``where`` names it in errors, never its content.

    Raises ``ConfigError`` when it can't be read, and for a key whose signatures no loader would accept.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        private = serialization.load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"key {where} can't be read",
            why=str(error).split("(", maxsplit=1)[0].strip(),
            hint="a private key in PEM; an encrypted one needs --passphrase-file",
        ) from error
    return Signer(label, allowed_public(private.public_key(), where), private)


def allowed_public(public: Any, where: str) -> PublicKey:
    """Return a key of ``cryptography`` as ours; ``ConfigError`` for one whose signatures no loader would accept."""
    try:
        return parse_public_key(_public_pem(public), where)
    except TrustError as error:
        raise ConfigError(f"key {where} is not of an allowed kind", why=str(error), hint=error.hint) from error


def _public_pem(public: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    pem: bytes = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return pem


def new_key_pair(passphrase: Optional[bytes] = None) -> tuple[bytes, bytes]:
    """Return (private PKCS#8 PEM, public SPKI PEM) of a new ECDSA P-256 key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    encryption: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem, _public_pem(private.public_key())


def read_small_file(path: Path, cap: int = MAX_KEY_FILE) -> bytes:
    """Return a regular file's bytes, at most ``cap``; a missing, other or larger one is an error naming it."""
    try:
        # O_NONBLOCK: a named pipe in a folder we search would otherwise wait for a writer for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise StorageError(f"cannot read {path}", why="not a regular file")
            data = stream.read(cap + 1)
    except OSError as error:
        raise StorageError(f"cannot read {path}", why=error.strerror or str(error)) from error
    if len(data) > cap:
        raise AirgapError(f"{path} is too large", why=f"more than {cap} bytes")
    return data
