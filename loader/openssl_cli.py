"""The signature check by the host's own ``/usr/bin/openssl``: the validated one where FIPS is on."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from loader.bundle.errors import StorageError
from loader.bundle.keys import HASHES, PublicKey
from loader.memory import anonymous_file

# Absolute: a hostile PATH must not choose who judges signatures.
PROGRAM = "/usr/bin/openssl"
_TIMEOUT = 60.0


class OpensslCheck:
    """``openssl dgst -verify``, with key and signature in files without a name and the message on stdin.

    ``directory``: a folder for private temporary files instead, as they are needed where ``/proc`` is not there.
    """

    name = "openssl"

    def __init__(self, program: str = PROGRAM, directory: Optional[str] = None) -> None:
        self._program = program
        self._directory = directory

    def verify(self, key: PublicKey, signature: bytes, message: bytes) -> bool:
        """Whether openssl says ``Verified OK``; raises ``StorageError`` when it can't be run."""
        try:
            with contextlib.ExitStack() as stack:
                public = stack.enter_context(self._file(key.pem))
                detached = stack.enter_context(self._file(signature))
                argv = ["dgst", f"-{HASHES[key.algorithm]}", "-verify", public.name, "-signature", detached.name]
                done = subprocess.run(
                    [self._program, *argv],
                    input=message,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=_TIMEOUT,
                    check=False,
                    env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                    pass_fds=[file.descriptor for file in (public, detached) if file.descriptor is not None],
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StorageError(
                f"cannot run {self._program}", why=str(error), hint="install openssl, or use --crypto cryptography"
            ) from error
        return done.returncode == 0 and b"Verified OK" in done.stdout

    @contextlib.contextmanager
    def _file(self, content: bytes) -> Iterator[_Readable]:
        """A file that openssl can open by its name while the block lasts."""
        if self._directory is None and Path("/proc/self/fd").is_dir():
            with anonymous_file() as file:
                file.write(content)
                yield _Readable(f"/proc/self/fd/{file.fileno()}", file.fileno())
        else:
            with tempfile.NamedTemporaryFile(prefix="airgap-", dir=self._directory, buffering=0) as named:
                named.write(content)
                yield _Readable(named.name)


@dataclass(frozen=True)
class _Readable:
    """A name to open, and the descriptor that the other program must inherit for it."""

    name: str
    descriptor: Optional[int] = None
