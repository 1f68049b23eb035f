"""A Sigstore bundle v0.3 over the archive, for people who check with cosign.

The form is that of sigstore/protobuf-specs, ``sigstore_bundle.proto``: a message signature under a key that the
verifier has, without certificate or transparency log.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from loader.bundle.errors import ConfigError, StorageError
from loader.bundle.keys import PublicKey
from loader.signing import Signer, read_small_file

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def sigstore_name(archive: str, label: str) -> str:
    """What the file is called beside the archive."""
    return f"{archive}.{label}.sigstore.json"


def sigstore_bundle(signer: Signer, sha256: str) -> bytes:
    """Return the JSON by which ``signer`` vouches for a file of that SHA-256, 64 hex digits.

    With a P-384 key too: cosign (3.0.6, 3.1.3) hashes a blob with SHA-256 whatever the key's curve.
    """
    digest = bytes.fromhex(sha256)
    document = {
        "mediaType": MEDIA_TYPE,
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": _text(digest)},
            "signature": _text(signer.sign_sha256(digest)),
        },
        "verificationMaterial": {"publicKey": {"hint": _hint(signer.public)}},
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode("ascii")


def keep_others_sigstore(path: Path, key: PublicKey) -> None:
    """Let a signer's newer file replace the older one; ``ConfigError`` for anything else at ``path``."""
    if not path.exists():
        return
    try:
        there = json.loads(read_small_file(path))["verificationMaterial"]["publicKey"]["hint"]
    except (ValueError, RecursionError, TypeError, KeyError):
        there = None
    if there != _hint(key):
        raise ConfigError(f"{path} is there already", why="it is not this key's", hint="give another --signer NAME")


def archive_sha256(path: Path) -> str:
    """SHA-256 of the archive, in hex."""
    running = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                running.update(block)
    except OSError as error:
        raise StorageError(f"cannot read {path}", why=error.strerror or str(error)) from error
    return running.hexdigest()


def _hint(key: PublicKey) -> str:
    return _text(hashlib.sha256(key.spki).digest())


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
