"""The options that several commands of the builder share, each with one meaning everywhere (cli.md)."""

# No "annotations" from __future__ here: on Python 3.9 typer reads the options only from annotations that are objects.
# ruff: noqa: FA100

import enum
import getpass
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from loader.bundle.errors import ConfigError
from loader.cli.options import now

if TYPE_CHECKING:
    from bundler.lock import Lock
    from loader.signing import Signer

_LAST_SECOND = 253402300799
KEY_HELP = "signing key: a path, file:PATH, env:VARIABLE or pkcs11:URI"
KeyOption = Annotated[Optional[str], typer.Option("--key", metavar="KEY", help=KEY_HELP)]
SignerOption = Annotated[
    Optional[str],
    typer.Option("--signer", metavar="NAME", help="label of the signature (default: key's file stem)"),
]
Passphrase = Annotated[
    Optional[Path],
    typer.Option("--passphrase-file", metavar="F", help="file with the key's passphrase or the token's PIN"),
]


LockedOption = Annotated[bool, typer.Option("--locked", help="any change of the lock is an error")]
UpdateOption = Annotated[
    Optional[list[str]], typer.Option("--update", metavar="IMAGE", help="resolve this image anew (repeatable)")
]
UpdateAll = Annotated[bool, typer.Option("--update-all", help="resolve every image anew")]


class Also(str, enum.Enum):
    """Further forms of a signature."""

    sigstore = "sigstore"


AlsoOption = Annotated[
    Optional[list[Also]],
    typer.Option("--also", help="sigstore: a Sigstore bundle over the archive, for cosign verify-blob"),
]


@dataclass(frozen=True)
class SigningFlags:
    """The key that signs, if there is one here."""

    key: KeyOption = None
    signer: SignerOption = None
    passphrase_file: Passphrase = None

    def open(self) -> Optional["Signer"]:
        """Open the key; what it is locked with is asked for where there is a terminal."""
        return given_signer(self.key, self.signer, self.passphrase_file) if self.key is not None else None


@dataclass(frozen=True)
class LockFlags:
    """What may move in the lock."""

    locked: LockedOption = False
    update: UpdateOption = None
    update_all: UpdateAll = False

    @property
    def moves(self) -> bool:
        """Whether anything was said of the lock."""
        return self.locked or bool(self.update) or self.update_all

    def require_sense(self) -> None:
        """Raise ``ConfigError`` where one excludes the other."""
        if self.locked and (self.update or self.update_all):
            raise ConfigError("--locked and --update exclude each other", why="one forbids what the other asks for")

    def unlocked(self, lock: "Lock") -> "Lock":
        """Return ``lock`` without what is resolved anew."""
        from bundler.lock import unlocked

        return unlocked(lock, tuple(self.update or ()), everything=self.update_all)


Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="the archive NAME-VERSION.tar.zst")]


def given_signer(key: str, label: Optional[str], passphrase_file: Optional[Path]) -> "Signer":
    """Open ``--key``; what it is locked with is asked for where there is a terminal."""
    from bundler.sign import open_signer

    if not key:
        raise ConfigError("--key is empty", why="it may be a variable that was never set", hint="--key FILE")
    ask = getpass.getpass if sys.stdin.isatty() else None
    return open_signer(key, label=label, environ=os.environ, passphrase_file=passphrase_file, ask=ask)


def source_date() -> int:
    """Seconds since the epoch: SOURCE_DATE_EPOCH where it is set, else now."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if not given:
        return now()
    if not (given.isascii() and given.isdigit() and len(given) <= 12 and int(given) <= _LAST_SECOND):
        raise ConfigError(
            "SOURCE_DATE_EPOCH is not a number of seconds that a date has",
            why=f"{given[:60]!a}; the last is {_LAST_SECOND}, in the year 9999",
        )
    return int(given)
