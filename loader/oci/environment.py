"""The part of the process environment that registry access depends on, as one value.

The command line builds it; nothing below reads ``os.environ``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional


@dataclass(frozen=True)
class Environment:
    """Places and proxies. ``etc`` and ``run`` are the roots of system files, so that tests can move them."""

    home: Path
    uid: int
    registry_auth_file: Optional[Path] = None
    xdg_runtime_dir: Optional[Path] = None
    xdg_config_home: Optional[Path] = None
    docker_config: Optional[Path] = None
    registries_conf: Optional[Path] = None
    ssl_cert_file: Optional[Path] = None
    ssl_cert_dir: Optional[Path] = None
    # A proxy URL may hold a password: never shown.
    http_proxy: str = field(default="", repr=False)
    https_proxy: str = field(default="", repr=False)
    no_proxy: str = ""
    etc: Path = Path("/etc")
    run: Path = Path("/run")

    @classmethod
    def from_mapping(cls, environ: Mapping[str, str], *, home: Path, uid: int) -> Environment:
        """Pick what we read from ``environ``; an empty variable counts as unset.

        ``home`` is used where ``HOME`` is unset; ``uid`` names ``/run/containers/<uid>``. Proxy variables count
        in lower case before upper case, as curl and Go's net/http read them.
        """

        def path(name: str) -> Optional[Path]:
            return Path(environ[name]) if environ.get(name) else None

        def either(name: str) -> str:
            return environ.get(name.lower()) or environ.get(name) or ""

        # CGI hands a client's "Proxy:" header over as HTTP_PROXY (httpoxy, CVE-2016-5385).
        http = environ.get("http_proxy") or ("" if "REQUEST_METHOD" in environ else environ.get("HTTP_PROXY", ""))
        return cls(
            home=path("HOME") or home,
            uid=uid,
            registry_auth_file=path("REGISTRY_AUTH_FILE"),
            xdg_runtime_dir=path("XDG_RUNTIME_DIR"),
            xdg_config_home=path("XDG_CONFIG_HOME"),
            docker_config=path("DOCKER_CONFIG"),
            registries_conf=path("CONTAINERS_REGISTRIES_CONF"),
            ssl_cert_file=path("SSL_CERT_FILE"),
            ssl_cert_dir=path("SSL_CERT_DIR"),
            http_proxy=http,
            https_proxy=either("HTTPS_PROXY"),
            no_proxy=either("NO_PROXY"),
        )

    @property
    def config_home(self) -> Path:
        """``XDG_CONFIG_HOME`` or ``~/.config``."""
        return self.xdg_config_home or self.home / ".config"

    @property
    def containers_config(self) -> Path:
        """Return where skopeo and podman keep a user's registries.conf and certs.d."""
        return self.config_home / "containers"


@dataclass(frozen=True)
class AccessOptions:
    """The registry options of a command line; they mean what they mean for skopeo (cli.md).

    ``tls_verify``: ``None`` when not given, so that registries.conf may decide.
    ``timeout``: seconds in which at least one byte must move.
    """

    authfile: Optional[Path] = None
    cert_dir: Optional[Path] = None
    tls_verify: Optional[bool] = None
    plain_http: bool = False
    ca_file: Optional[Path] = None
    timeout: float = 60.0
