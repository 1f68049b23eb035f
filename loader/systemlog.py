"""One line to the system's log for each verify and load, good or bad: what the host's auditors collect."""

from __future__ import annotations

import os
import socket
from typing import Optional

from loader.bundle.errors import AirgapError
from loader.bundle.verify import VerifiedBundle
from loader.cluster.failures import printable

SOCKET = "/dev/log"
_PRIORITY = {True: 10 * 8 + 6, False: 10 * 8 + 4}  # facility authpriv (RFC 5424 section 6.2.1); info, or warning


class Audit:
    """The line of one run of ``verb``; ``subject`` is what was given, until a bundle says what it is."""

    def __init__(self, verb: str, subject: str, user: str, *, path: str = SOCKET) -> None:
        self._verb = verb
        self._subject = subject
        self._user = user
        self._path = path

    def verified(self, bundle: VerifiedBundle) -> None:
        """Name the bundle, its id and its signers from now on."""
        manifest = bundle.manifest
        signers = ", ".join(f"{signer.key.name} {signer.key.fingerprint}" for signer in bundle.signers)
        self._subject = (
            f"{manifest.name} {manifest.version} sequence {manifest.sequence} id {bundle.id} signed by {signers}"
        )

    def line(self, error: Optional[AirgapError]) -> str:
        """The text of the line: printable ASCII, so that no name can forge a second one."""
        ended = "ok" if error is None else f"FAILED (exit {error.exit_code}: {error})"
        return printable(f"{self._verb} {ended}: {self._subject} (user {self._user})")

    def send(self, error: Optional[AirgapError] = None) -> None:
        """Write the line; a host without a log loses it, not the run."""
        text = f"<{_PRIORITY[error is None]}>airgap-loader[{os.getpid()}]: {self.line(error)}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
                log.settimeout(1)
                log.sendto(text.encode("ascii"), self._path)
        except OSError:
            return
