"""Keys that never leave a token: ``pkcs11:`` addresses (RFC 7512), through the optional package python-pkcs11."""

from __future__ import annotations

import hashlib
import importlib
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import ConfigError, StorageError
from loader.bundle.keys import HASHES, RSA, PublicKey
from loader.signing import CryptographyCheck, Signer, allowed_public, read_small_file

_PATH = frozenset({"token", "object", "id", "serial", "type"})
_QUERY = frozenset({"module-path", "pin-source", "pin-value"})
# DigestInfo of RFC 8017 section 9.2, note 1: what CKM_RSA_PKCS expects before the hash.
_DIGEST_INFO = {"sha256": bytes.fromhex("3031300d060960864801650304020105000420")}
_LABEL = re.compile(r"[^a-z0-9-]+")

AskSecret = Callable[[str], str]


@dataclass(frozen=True)
class TokenAddress:
    """A ``pkcs11:`` address: which key in which token, through which module, and where its PIN is."""

    module: str
    token: Optional[str]
    serial: Optional[str]
    object: Optional[str]
    id: Optional[bytes]
    pin_source: Optional[Path]

    @property
    def words(self) -> str:
        """The key as a person calls it."""
        parts = [f"{name} {value!a}" for name, value in (("token", self.token), ("object", self.object)) if value]
        return ", ".join([*parts, *([f"id {self.id.hex()}"] if self.id else [])])


def parse_address(uri: str) -> TokenAddress:
    """Read ``pkcs11:token=T;object=O?module-path=/…``; ``ConfigError`` for what could mean something else."""
    path, _, query = uri.partition(":")[2].partition("?")
    found = {**_attributes(path, ";", _PATH), **_attributes(query, "&", _QUERY)}
    if "pin-value" in found:
        raise ConfigError(
            "a PIN does not belong into the address of a key",
            why="pin-value would stand in the list of processes and in the shell's history",
            hint="--passphrase-file F, ?pin-source=file:/path, or type it when asked",
        )
    if "module-path" not in found:
        raise ConfigError(
            "the address of the key names no module",
            why="module-path=… is missing",
            hint="for SoftHSM: …?module-path=/usr/lib/softhsm/libsofthsm2.so; for cards: opensc-pkcs11.so",
        )
    if found.get("type", "private") != "private" or not {"object", "id"} & found.keys():
        raise ConfigError(
            "the address names no private key",
            why="a token holds many",
            hint="pkcs11:token=NAME;object=LABEL or ;id=%01 picks one",
        )
    source = found.get("pin-source")
    return TokenAddress(
        module=found["module-path"],
        token=found.get("token"),
        serial=found.get("serial"),
        object=found.get("object"),
        id=found["id"].encode("latin-1") if "id" in found else None,
        pin_source=None if source is None else Path(source.removeprefix("file:")),
    )


def _attributes(text: str, separator: str, known: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name not in known or not equals or not value or name in found:
            raise ConfigError(
                "the address of the key is not understood",
                why=f"{name[:60]!a}: unknown, empty or given twice",
                hint="pkcs11:token=NAME;object=LABEL?module-path=/path/to/module.so (RFC 7512)",
            )
        # An id is bytes; everything else is UTF-8.
        found[name] = urllib.parse.unquote(value, "latin-1" if name == "id" else "utf-8", "strict")
    return found


@dataclass(frozen=True)
class TokenSigner(Signer):
    """A key in a token: ``_private`` signs a hash of the given name and returns the signature as we store it."""

    def sign(self, message: bytes) -> bytes:
        """Return the raw detached signature, which was verified here; ``StorageError`` if the token's is wrong."""
        name = HASHES[self.public.algorithm]
        signature: bytes = self._private(hashlib.new(name, message).digest(), name)
        if not self.public.has_shape(signature) or not CryptographyCheck().verify(self.public, signature, message):
            raise StorageError(
                "the token gave a signature that does not verify",
                why="it is not by the key that the token names, or not of these bytes",
                hint="check the token and its module",
            )
        return signature

    def sign_sha256(self, digest: bytes) -> bytes:
        """Return the signature over bytes whose SHA-256 is ``digest``."""
        signature: bytes = self._private(digest, "sha256")
        return signature


def open_token(uri: str, *, label: Optional[str], passphrase_file: Optional[Path], ask: AskSecret) -> Signer:
    """Log in to a token and return its key as a signer; ``label`` defaults to the key's own.

    The PIN comes from ``passphrase_file``, the address's ``pin-source``, or ``ask``. Raises ``ConfigError`` where the
    package, the module, the token or the key is missing, or the PIN is wrong; it is tried once, since tokens lock.
    """
    address = parse_address(uri)
    package = _package()
    source = passphrase_file or address.pin_source
    if source is not None:
        pin = read_small_file(source).rstrip(b"\r\n").decode("utf-8", "replace")
    else:
        pin = ask(f"PIN of {address.words}: ")
    try:
        session = _find_token(package, address).open(user_pin=pin)
        private = session.get_key(object_class=package.ObjectClass.PRIVATE_KEY, label=address.object, id=address.id)
        public = _public_key(package, session, private, address)
    except package.exceptions.PKCS11Error as error:
        raise _refused(address, error) from error
    name = label or _LABEL.sub("-", (address.object or "token").lower()).strip("-")[:32]
    return TokenSigner(name, public, _signing(package, private, public.algorithm))


def _package() -> Any:
    try:
        return importlib.import_module("pkcs11")
    except ImportError as error:
        raise ConfigError(
            "keys in tokens need a package that is not here",
            why="python-pkcs11 can't be imported",
            hint='pip install "airgap-bundler[pkcs11]", or sign with pkcs11-tool and attach-signature',
        ) from error


def _find_token(package: Any, address: TokenAddress) -> Any:
    try:
        library = package.lib(address.module)
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"{address.module} is no PKCS#11 module", why=str(error)) from error
    wanted: Mapping[str, Any] = {
        "token_label": address.token,
        "token_serial": address.serial.encode() if address.serial else None,
    }
    return library.get_token(**{name: value for name, value in wanted.items() if value is not None})


def _public_key(package: Any, session: Any, private: Any, address: TokenAddress) -> PublicKey:
    attribute, kind = package.Attribute, package.ObjectClass.PUBLIC_KEY
    found = list(session.get_objects({attribute.CLASS: kind, attribute.ID: private[attribute.ID]}))
    if len(found) != 1:
        raise ConfigError(
            f"the token has no public key for {address.words}",
            why=f"{len(found)} public keys have the private key's id",
            hint="store it beside: pkcs11-tool --write-object NAME.pub --type pubkey --id …",
        )
    return allowed_public(_loaded(package, found[0]), address.words)


def _loaded(package: Any, public: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    attribute = package.Attribute
    if public.key_type == package.KeyType.RSA:
        exponent, modulus = (int.from_bytes(public[a], "big") for a in (attribute.PUBLIC_EXPONENT, attribute.MODULUS))
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    curves: dict[bytes, ec.EllipticCurve] = {
        bytes.fromhex("06082a8648ce3d030107"): ec.SECP256R1(),
        bytes.fromhex("06052b81040022"): ec.SECP384R1(),
    }
    curve = curves.get(bytes(public[attribute.EC_PARAMS])) if public.key_type == package.KeyType.EC else None
    if curve is None:
        raise ConfigError(
            "the token's key is of a kind that is not allowed",
            why="no loader would take its signatures",
            hint="P-256, P-384, or RSA from 3072 bits",
        )
    point = bytes(public[attribute.EC_POINT])
    # PKCS#11 wraps the point into an OCTET STRING; some tokens give it bare.
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point[-(1 + curve.key_size // 4) :])


def _signing(package: Any, private: Any, algorithm: str) -> Callable[[bytes, str], bytes]:
    def sign(digest: bytes, name: str) -> bytes:
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        try:
            if algorithm == RSA:
                return bytes(private.sign(_DIGEST_INFO[name] + digest, mechanism=package.Mechanism.RSA_PKCS))
            plain = bytes(private.sign(digest, mechanism=package.Mechanism.ECDSA))
        except package.exceptions.PKCS11Error as error:
            raise StorageError("the token did not sign", why=type(error).__name__) from error
        half = len(plain) // 2
        return encode_dss_signature(int.from_bytes(plain[:half], "big"), int.from_bytes(plain[half:], "big"))

    return sign


def _refused(address: TokenAddress, error: Exception) -> ConfigError:
    words = {
        "NoSuchToken": "no such token is there",
        "MultipleTokensReturned": "several tokens are: name one with token= or serial=",
        "NoSuchKey": "the token has no such private key",
        "MultipleObjectsReturned": "several keys fit: add id=",
        "PinIncorrect": "the PIN is wrong; it was tried once",
        "PinLocked": "the PIN is locked",
        "PinLenRange": "the PIN is too short or too long",
        "ArgumentsBad": "the PIN is empty",
    }
    kind = type(error).__name__
    return ConfigError(
        f"cannot use the key {address.words}", why=words.get(kind, kind), hint="pkcs11-tool -O lists keys"
    )
