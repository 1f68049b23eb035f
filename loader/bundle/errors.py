"""The error tree of both programs (drawn in :mod:`loader`).

An error carries three lines for a person: what failed with the object's name, why in the other
side's own words, and what to do next. ``exit_code`` is the contract of the command line.
"""

from __future__ import annotations

from collections.abc import Sequence


class AirgapError(Exception):
    """Base of everything a user can cause or meet; ``retryable`` says whether trying again can help."""

    exit_code = 1

    def __init__(self, message: str, *, why: str = "", hint: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.message}: {self.why}" if self.why else self.message


class ConfigError(AirgapError):
    """A config or a command line is wrong; ``faults`` lists every (place, problem) found."""

    exit_code = 2

    def __init__(self, message: str, *, faults: Sequence[tuple[str, str]] = (), why: str = "", hint: str = "") -> None:
        super().__init__(message, why=why, hint=hint)
        self.faults = tuple(faults)


class BundleError(AirgapError):
    """The bundle is wrong: never retried, never downgraded to a warning."""


class TrustError(BundleError):
    """Signature, unknown key, threshold, replay, or a hash that does not match."""

    exit_code = 3


class FormatError(BundleError):
    """Not our format: a cap exceeded, an unsafe name, truncated, or not decodable."""

    exit_code = 4


class MissingVolume(BundleError):
    """A disc of a media set is not there or not readable."""

    exit_code = 5


class StorageError(AirgapError):
    """Local disk or permissions: the path, and what the system said."""

    exit_code = 1


class RegistryError(AirgapError):
    """A registry refused or did not answer; ``status`` is the HTTP status, 0 when there was none."""

    exit_code = 6

    def __init__(
        self, message: str, *, status: int = 0, why: str = "", hint: str = "", retryable: bool = False
    ) -> None:
        super().__init__(message, why=why, hint=hint, retryable=retryable)
        self.status = status


class ClusterError(AirgapError):
    """oc or kubectl failed: the command line without secrets, exit status, last lines of stderr."""

    exit_code = 7


class Pending(ClusterError):
    """Applied, but a wait is not finished (timeout, paused pool): the same command goes on."""

    exit_code = 8


class Interrupted(AirgapError):
    """The user said no at a prompt or pressed Ctrl-C."""

    exit_code = 130
