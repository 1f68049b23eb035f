"""The signature check by the host's own ``/usr/bin/openssl``: the validated one where FIPS is on."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Optional

from loader.bundle.errors import StorageError
from loader.bundle.keys import HASHES, PublicKey

# Absolute: a hostile PATH must not choose who judges signatures.
PROGRAM = "/usr/bin/openssl"
_TIMEOUT = 60.0


class OpensslCheck:
    """``openssl dgst -verify``, with key and signature in private temporary files and the message on stdin."""

    name = "openssl"

    def __init__(self, program: str = PROGRAM, directory: Optional[str] = None) -> None:
        self._program = program
        self._directory = directory

    def verify(self, key: PublicKey, signature: bytes, message: bytes) -> bool:
        """Whether openssl says ``Verified OK``; raises ``StorageError`` when it can't be run."""
        try:
            with tempfile.TemporaryDirectory(prefix="airgap-", dir=self._directory) as folder:
                public, detached = Path(folder, "key.pub"), Path(folder, "signature")
                public.write_bytes(key.pem)
                detached.write_bytes(signature)
                done = subprocess.run(
                    [
                        self._program,
                        "dgst",
                        f"-{HASHES[key.algorithm]}",
                        "-verify",
                        str(public),
                        "-signature",
                        str(detached),
                    ],
                    input=message,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    timeout=_TIMEOUT,
                    check=False,
                    env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StorageError(
                f"cannot run {self._program}", why=str(error), hint="install openssl, or use --crypto cryptography"
            ) from error
        return done.returncode == 0 and b"Verified OK" in done.stdout
