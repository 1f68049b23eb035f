"""Signing keys by URI, key pairs, and further signatures beside a bundle."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from bundler.output import write_file
from bundler.sigstore import archive_sha256, keep_others_sigstore, sigstore_bundle, sigstore_name
from bundler.token import AskSecret, open_token
from loader.attach import check_label, keep_others
from loader.bundle.errors import ConfigError, StorageError, TrustError
from loader.bundle.filesource import FileSource
from loader.bundle.head import read_head
from loader.bundle.keys import PublicKey, parse_public_key
from loader.bundle.prediction import decode_manifest
from loader.guarded import require_private
from loader.signing import CryptographyCheck, Signer, load_signer, new_key_pair, read_small_file

_SCHEME = re.compile(r"[a-z0-9]{2,16}:")


def open_signer(
    uri: str,
    *,
    label: Optional[str],
    environ: Mapping[str, str],
    passphrase_file: Optional[Path] = None,
    ask: Optional[AskSecret] = None,
) -> Signer:
    """Return the signer that ``uri`` names: ``file:PATH``, a bare path, ``env:VAR`` holding a PEM, or ``pkcs11:…``.

    ``label`` defaults to the file's stem. A key that is locked takes its passphrase from ``passphrase_file``, else from
    ``ask``. Raises ``ConfigError`` for an unknown scheme, a bad key, or where nobody can be asked; ``StorageError``
    when the file can't be read.
    """
    scheme = _SCHEME.match(uri)
    kind = scheme[0][:-1] if scheme else "file"
    name = uri[scheme.end() :] if scheme else uri
    if kind == "pkcs11":
        signer = open_token(uri, label=label, passphrase_file=passphrase_file, ask=ask or _nobody)
        check_label(signer.label)
        return signer
    if kind == "file":
        require_private(Path(name))
        pem, stem = read_small_file(Path(name)), Path(name).stem
    elif kind == "env":
        if name not in environ:
            raise ConfigError(f"--key {uri}: the variable is not set", why="the environment has no such variable")
        pem, stem = environ[name].encode(), name
    else:
        raise ConfigError(
            f"--key {kind}: is not a known kind of key",
            why="the part before the first colon says where a key is",
            hint="file:PATH, a path, env:VARIABLE, or pkcs11:…",
        )
    passphrase = read_small_file(passphrase_file).rstrip(b"\r\n") if passphrase_file else None
    if passphrase is None and b"ENCRYPTED" in pem:
        passphrase = (ask or _nobody)(f"passphrase of {name}: ").encode()
    return load_signer(pem, label=check_label(label or stem.lower()), where=name, passphrase=passphrase)


def _nobody(question: str) -> str:
    raise ConfigError(
        f"{question.rstrip(': ')} is needed",
        why="nobody can be asked: this is no terminal",
        hint="--passphrase-file F reads it from a file",
    )


def write_key_pair(name: str, folder: Path, passphrase_file: Optional[Path]) -> tuple[Path, Path, PublicKey]:
    """Write ``NAME.key`` (PKCS#8, 0600) and ``NAME.pub``; never over a file that is there."""
    check_label(name, "choose another NAME")
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise ConfigError(f"{path} exists", why="a key is never overwritten", hint="choose another name")
    passphrase = read_small_file(passphrase_file).rstrip(b"\r\n") if passphrase_file else None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {folder}", why=error.strerror or str(error)) from error
    key, pem = new_key_pair(passphrase)
    write_file(private, key, 0o600)
    write_file(public, pem)
    return private, public, parse_public_key(pem, name)


def sign_bundle(bundle: Path, signer: Signer, *, sigstore: bool = False) -> list[Path]:
    """Write a further signature over the bundle's ``SHA256SUMS``, and over its sidecar if that is there.

    With ``sigstore`` also a Sigstore bundle over the archive. Nothing is signed but a bundle's list and the sidecar of
    this very archive, which is read for it: a signature over whatever lies there under those names could be put beside
    what the signer never saw. ``BundleError`` for anything else, ``ConfigError`` where another key's signature has the
    label; then nothing is written.
    """
    messages = {bundle.with_name(f"{bundle.name}.{signer.label}.sig"): _list_of(bundle)}
    checksum = bundle.with_name(f"{bundle.name}.sha256")
    sha256 = archive_sha256(bundle) if sigstore or checksum.is_file() else ""
    if checksum.is_file():
        messages[checksum.with_name(f"{checksum.name}.{signer.label}.sig")] = _sidecar(checksum, bundle, sha256)
    for path, message in messages.items():
        keep_others(path, signer.public, message, CryptographyCheck())
    files = {path: signer.sign(message) for path, message in messages.items()}
    if sigstore:
        path = bundle.with_name(sigstore_name(bundle.name, signer.label))
        keep_others_sigstore(path, signer.public)
        files[path] = sigstore_bundle(signer, sha256)
    for path, data in files.items():
        write_file(path, data)
    return list(files)


def _list_of(bundle: Path) -> bytes:
    """Return the ``SHA256SUMS`` of an archive, which is the one that its ``bundle.json`` makes."""
    with FileSource(str(bundle)) as source:
        head = read_head(source)
    decode_manifest(head)
    return head.sums


def _sidecar(path: Path, bundle: Path, sha256: str) -> bytes:
    data = read_small_file(path)
    if data != os.fsencode(f"{sha256}  {bundle.name}\n"):
        named = data.startswith(sha256.encode("ascii"))
        raise TrustError(
            f"{path} is not the sidecar of {bundle.name}",
            why="it names another file, or more" if named else f"the archive's SHA-256 is {sha256}",
            hint=f"if the archive is right, make it anew in its folder: sha256sum {bundle.name} > {path.name}",
        )
    return data
