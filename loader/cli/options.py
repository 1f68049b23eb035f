"""The options that several commands share, each with one meaning everywhere (cli.md)."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import dataclasses
import enum
import getpass
import os
import random
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader import __version__, interruption
from loader.bundle.errors import ConfigError
from loader.cli.console import Console

if TYPE_CHECKING:
    from loader.bundle.verify import Trust
    from loader.oci.connect import Registries
    from loader.systemlog import Audit


class Crypto(str, enum.Enum):
    """Who does the mathematics of signatures."""

    auto = "auto"
    openssl = "openssl"
    cryptography = "cryptography"


class YesNo(str, enum.Enum):
    """The two words of ``--tls-verify=``."""

    true = "true"
    false = "false"


Source = Annotated[
    list[Path],
    typer.Argument(metavar="SOURCE...", help="the archive, or folders, ISO files and devices of one media set"),
]
FilledSource = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        help="the archive, or folders, ISO files and devices of one media set; with a delta also its bases",
    ),
]
TrustOption = Annotated[
    Optional[Path], typer.Option("--trust", metavar="T", help="public key file, or directory of NAME.pub + policy.toml")
]
Signatures = Annotated[
    Optional[list[Path]],
    typer.Option("--signature", metavar="FILE", help="a further signature over SHA256SUMS (repeatable)"),
]
CryptoOption = Annotated[Crypto, typer.Option("--crypto", help="who checks signatures")]
JsonOption = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="no progress or messages")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="print requests, retries and kubectl lines")]
StateOption = Annotated[
    Optional[Path], typer.Option("--state", metavar="DIR", help="state folder (replay, history, logs)")
]
Authfile = Annotated[
    Optional[Path], typer.Option("--authfile", metavar="FILE", help="registry credentials (auth.json)")
]
CertDir = Annotated[
    Optional[Path], typer.Option("--cert-dir", metavar="DIR", help="*.crt, *.cert and *.key for the registry")
]
TlsVerify = Annotated[
    Optional[YesNo], typer.Option("--tls-verify", metavar="[=true|false]", help="check the registry's certificate")
]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="speak http to the registry")]
CaFile = Annotated[
    Optional[Path], typer.Option("--ca-file", metavar="FILE", help="extra CA for our own connections (PEM)")
]
ImageGlobs = Annotated[
    Optional[list[str]], typer.Option("--image", metavar="GLOB", help="only images of this name (repeatable)")
]
AllowOlder = Annotated[bool, typer.Option("--allow-older", help="take an older bundle; needs --reason")]
Reason = Annotated[Optional[str], typer.Option("--reason", metavar="TEXT", help="why, for the record")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, max=32, help="transfers at once")]
LimitRate = Annotated[
    Optional[str],
    typer.Option("--limit-rate", metavar="R", help="bytes per second over all connections (500k, 10M)"),
]


@dataclass(frozen=True)
class OutputFlags:
    """How a command speaks: every command takes these."""

    as_json: JsonOption = False
    quiet: Quiet = False
    verbose: Verbose = False

    def console(self) -> Console:
        """Return the console that speaks so."""
        return Console(as_json=self.as_json, quiet=self.quiet, verbose=self.verbose)


@dataclass(frozen=True)
class KeyFlags:
    """Whose signatures count, and who checks them."""

    trust: TrustOption = None
    crypto: CryptoOption = Crypto.auto

    def read(self) -> "Trust":
        """Read the trusted keys and choose the signature backend."""
        from loader.bundle.verify import Trust
        from loader.signing import find_check
        from loader.trust import find_trust, load_trust

        policy = load_trust(find_trust(str(self.trust) if self.trust else "", trust_places()))
        return Trust(policy, find_check(self.crypto.value), utc_now())


@dataclass(frozen=True)
class TrustFlags(KeyFlags):
    """The same, and signatures that stand elsewhere."""

    signature: Signatures = None

    @property
    def signatures(self) -> list[Path]:
        """The files of ``--signature``."""
        return self.signature or []


@dataclass(frozen=True)
class StateFlags:
    """Where this host keeps what it knows of earlier runs."""

    state: StateOption = None

    def folder(self) -> Path:
        """``--state``, else ``airgap-loader`` under ``XDG_STATE_HOME`` or ``~/.local/state``."""
        if self.state is not None:
            return self.state
        base = os.environ.get("XDG_STATE_HOME")
        return (Path(base) if base else home() / ".local/state") / "airgap-loader"


@dataclass(frozen=True)
class ImportFlags(StateFlags):
    """The same, and whether an older bundle is taken."""

    allow_older: AllowOlder = False
    reason: Reason = None

    def override(self) -> Optional[str]:
        """Why an older bundle is right, None where that is not said; the two options go together."""
        if self.allow_older != bool(self.reason):
            raise ConfigError("--allow-older and --reason TEXT go together", why="the reason is kept in the history")
        return self.reason


@dataclass(frozen=True)
class AccessFlags:
    """How a registry is reached."""

    authfile: Authfile = None
    cert_dir: CertDir = None
    tls_verify: TlsVerify = None
    plain_http: PlainHttp = False
    ca_file: CaFile = None

    @property
    def rate(self) -> Optional[str]:
        """Bytes per second at most, as typed."""
        return None


@dataclass(frozen=True)
class TransferFlags(AccessFlags):
    """The same, and how much at once."""

    jobs: Jobs = 3
    limit_rate: LimitRate = None

    @property
    def rate(self) -> Optional[str]:
        """Bytes per second at most, as typed."""
        return self.limit_rate


def home() -> Path:
    """The user's home folder."""
    return Path(os.environ.get("HOME") or "~").expanduser()


def trust_places() -> list[Path]:
    """Where keys are looked for without ``--trust``."""
    given = os.environ.get("AIRGAP_TRUST")  # beats the others even where nothing is there
    return [Path(given)] if given else [home() / ".config/airgap-loader/trust", Path("/etc/airgap-loader/trust")]


def trust_folder(given: Optional[Path]) -> Path:
    """The folder of keys that ``trust`` changes: the one a load would read, or the user's own where there is none."""
    from loader.bundle.errors import TrustError
    from loader.trust import find_trust

    places = trust_places()
    try:
        return find_trust(str(given) if given else "", places)
    except TrustError:
        return places[0]


def now() -> int:
    """Seconds since the epoch."""
    return int(time.time())


def utc_now() -> str:
    """The time now as ``YYYY-MM-DDTHH:MM:SSZ``."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def user_name() -> str:
    """Who runs this, by name or number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def who() -> dict[str, str]:
    """The facts of a run: who, where, and which loader."""
    from loader.identity import own_sha256

    return {
        "host": socket.gethostname(),
        "loader": f"airgap-loader {__version__}",
        "loaderSha256": own_sha256(sys.argv[0]),
        "user": user_name(),
    }


def log_file(state: Path) -> Path:
    """The log of this run in the state folder."""
    return state / "logs" / f"{utc_now().replace(':', '')}-{os.getpid()}.log"


def open_audit(verb: str, sources: Sequence[Path]) -> "Audit":
    """The line that this run leaves in the system's log."""
    from loader.systemlog import Audit

    return Audit(verb, " ".join(map(str, sources)), user_name())


def open_registries(
    flags: AccessFlags, trace: Callable[[str], None] = lambda _: None, *, kept_logins: bool = True
) -> "Registries":
    """Return the registry clients for these options and this environment; ``trace`` gets their requests.

    Without ``kept_logins`` the auth file need not be there, as before the first login.
    """
    from loader.oci.connect import Registries
    from loader.oci.credentials import run_helper
    from loader.oci.environment import AccessOptions, Environment
    from loader.oci.rate import RateLimit, parse_rate
    from loader.oci.retry import RetryPolicy
    from loader.presence import is_named

    # Now, and not once the registry is asked: a bundle is read in full before that.
    for option, path in (("--ca-file", flags.ca_file), ("--cert-dir", flags.cert_dir)):
        if path is not None and not is_named(path):
            raise ConfigError(f"{option} {path} is not there", why="nothing has that name")
    options = AccessOptions(
        authfile=flags.authfile,
        cert_dir=flags.cert_dir,
        tls_verify=None if flags.tls_verify is None else flags.tls_verify is YesNo.true,
        plain_http=flags.plain_http,
        ca_file=flags.ca_file,
    )
    environment = Environment.from_mapping(os.environ, home=home(), uid=os.getuid())
    if not kept_logins:
        environment = dataclasses.replace(environment, registry_auth_file=None)
    retry = RetryPolicy(sleep=interruption.sleep, random=random.random, now=time.time)
    rate = parse_rate(flags.rate) if flags.rate is not None else None
    registries = Registries(
        options,
        environment,
        retry=retry,
        clock=time.monotonic,
        run_helper=run_helper,
        trace=trace,
        limit=RateLimit(rate, clock=time.monotonic, sleep=interruption.sleep) if rate is not None else None,
    )
    interruption.tell(registries.hang_up)
    return registries


def spread_flags(argv: Sequence[str]) -> list[str]:
    """Give a bare ``--tls-verify`` its value: as for skopeo, it takes one only behind ``=``."""
    return ["--tls-verify=true" if arg == "--tls-verify" else arg for arg in argv]
