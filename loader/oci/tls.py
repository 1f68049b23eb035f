"""How one registry host may be talked to: certificates from certs.d, and how strictly."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from loader.bundle.errors import ConfigError
from loader.oci.environment import AccessOptions, Environment
from loader.presence import is_folder

_UNSAFE = re.compile(r"(?:.*/.*|\.{1,2})", re.DOTALL)


@dataclass(frozen=True)
class TlsFiles:
    """Certificate authorities to add and a client certificate to show; ``searched`` is for hints."""

    authorities: tuple[Path, ...]
    client: Optional[tuple[Path, Path]]
    searched: tuple[Path, ...]


def find_tls_files(host: str, options: AccessOptions, environment: Environment) -> TlsFiles:
    """Return the files for ``host[:port]`` as containers-certs.d(5) finds them.

    ``--cert-dir`` is the directory itself; else the first ``certs.d/<host[:port]>`` that exists counts. ``*.crt`` are
    authorities, ``NAME.cert`` goes with ``NAME.key``. ``--ca-file`` is added. ``ConfigError`` for a missing half.
    """
    if _UNSAFE.fullmatch(host):
        raise ConfigError(
            f"{host[:80]!a} is not a registry host",
            why="a folder of certificates is named by it, and this would lead elsewhere",
        )
    if options.cert_dir is not None:
        if not is_folder(options.cert_dir):
            raise ConfigError(
                f"--cert-dir {options.cert_dir} is not a directory", why="there is no folder of that name"
            )
        searched: tuple[Path, ...] = (options.cert_dir,)
    else:
        searched = (
            environment.containers_config / "certs.d" / host,
            environment.etc / "containers/certs.d" / host,
            environment.etc / "docker/certs.d" / host,
        )
    authorities: list[Path] = []
    client = None
    directory = next((path for path in searched if is_folder(path)), None)
    if directory is not None:
        names = _names(directory)
        authorities = [directory / name for name in names if name.endswith(".crt")]
        client = _client_pair(directory, names)
    if options.ca_file is not None:
        authorities.append(options.ca_file)
    return TlsFiles(tuple(authorities), client, searched)


def make_context(files: TlsFiles, environment: Environment, *, verify: bool) -> ssl.SSLContext:
    """Return a client context: the system's authorities (``SSL_CERT_FILE``, ``SSL_CERT_DIR``) and ``files``.

    With ``verify`` off nothing is checked, which only ``--tls-verify=false`` or ``insecure`` may ask for.
    ``ConfigError`` names a file that is not a certificate or key.
    """
    # PROTOCOL_TLS_CLIENT, not create_default_context(): the latter reads the environment by itself.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _load_system(context, environment)
        for path in files.authorities:
            _load(context, path)
    if files.client is not None:
        certificate, key = files.client
        try:
            # An encrypted key would ask on the terminal; an empty password makes it an error instead.
            context.load_cert_chain(certificate, key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot use the client certificate {certificate} with {key}", why=str(error)) from error
    return context


def _load_system(context: ssl.SSLContext, environment: Environment) -> None:
    # Go programs (skopeo, oc) read these two as a replacement of the system's places; so do we.
    file, directory = environment.ssl_cert_file, environment.ssl_cert_dir
    places = ssl.get_default_verify_paths()
    own = file or Path(places.openssl_cafile)
    if file is not None or own.is_file():
        _load(context, own)
    folder = str(directory) if directory is not None else places.openssl_capath
    if Path(folder).is_dir():
        context.load_verify_locations(capath=folder)
    if file is None and directory is None:
        for known in ("pki/tls/certs/ca-bundle.crt", "ssl/certs/ca-certificates.crt"):
            if (environment.etc / known).is_file():
                # One bundle under two names is read once: it takes 40 ms.
                if not (own.is_file() and own.samefile(environment.etc / known)):
                    _load(context, environment.etc / known)
                break


def _load(context: ssl.SSLContext, path: Path) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot use {path} as a CA certificate", why=str(error), hint="it must hold PEM certificates"
        ) from error


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise ConfigError(f"cannot read {directory}", why=error.strerror or "") from error


def _client_pair(directory: Path, names: list[str]) -> Optional[tuple[Path, Path]]:
    for name in names:
        if name.endswith(".cert"):
            key = name[: -len(".cert")] + ".key"
            if key not in names:
                raise ConfigError(
                    f"{directory / name} has no key",
                    why="a client certificate is a pair",
                    hint=f"{key} belongs beside it",
                )
            return directory / name, directory / key
    for name in names:
        if name.endswith(".key") and name[: -len(".key")] + ".cert" not in names:
            raise ConfigError(
                f"{directory / name} has no certificate",
                why="a client certificate is a pair",
                hint="NAME.cert belongs beside NAME.key",
            )
    return None
