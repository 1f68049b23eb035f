"""What oc and kubectl say when they fail, and what a person can do about it; pure."""

from __future__ import annotations

import enum
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

_LINES = 6
_WIDTH = 600
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_SECRET = re.compile(
    r"(?i)(\b(?:token|password|passwd|secret|authorization|client-key-data)[\"']?\s*[=:]\s*(?:(?:bearer|basic)\s+)?"
    r"|\bbearer\s+)\S+"
)
_WARNING = re.compile(r"(?i)\s*(?:warning:|\[warning\]|W\d{4} )")
_FAILURE = re.compile(r"(?i)error\b|unable to|the connection to|the \S+ \"[^\"]*\" is invalid")
# What follows is kubectl's general advice on server-side apply, --force-conflicts first: not ours to give.
_ADVICE = re.compile(r"Please review the fields above")
_OWNER = re.compile(r'conflicts? with "([^"]*)"')
_INFO = re.compile(r"(?m)^I\d{4} .*\n?")
_NOISE = re.compile(r"(?:[EIW]\d{4} .*memcache\.go.*|I\d{4} .*|See '.*--help' for usage\.)")


class Cause(enum.Enum):
    """Why a call failed, as far as the words on stderr tell."""

    DENIED = "denied by an admission check"
    NO_FLAG = "a flag this client does not know"
    NO_CONFIG = "no usable kubeconfig"
    UNTRUSTED = "certificate not trusted"
    UNREACHABLE = "no API server"
    UNAUTHORIZED = "login not accepted"
    FORBIDDEN = "not permitted"
    LEAVING = "its namespace is being deleted"
    EXISTS = "already exists"
    CONFLICT = "changed by someone else"
    NO_MATCH = "kind not served"
    NOT_FOUND = "not found"
    INVALID = "refused by validation"
    BUSY = "server busy"
    OTHER = "other"


@dataclass(frozen=True)
class Rule:
    """Words that give a cause away, and what to do next."""

    cause: Cause
    pattern: re.Pattern[str]
    hint: str


def _rule(cause: Cause, pattern: str, hint: str) -> Rule:
    return Rule(cause, re.compile(pattern, re.IGNORECASE), hint)


# The first match wins: a webhook's denial also says Forbidden, and may quote anything after that.
_RULES = (
    _rule(
        Cause.DENIED,
        r"admission webhook \S+ denied|ValidatingAdmissionPolicy \S+ .*denied|denied request:",
        "a policy of this cluster refuses the object; show its message to the cluster's administrator",
    ),
    _rule(Cause.NO_FLAG, r"unknown (?:shorthand )?flag", "install a newer oc or kubectl"),
    _rule(
        Cause.NO_CONFIG,
        r"localhost:8080|no configuration has been provided|current-context must exist|context \S+ does not exist"
        r"|cannot locate context|context was not found|error loading config file|stat \S+: no such file",
        "log in with `oc login`, or name a kubeconfig with --kubeconfig and a context with --context",
    ),
    _rule(
        Cause.UNTRUSTED,
        r"x509:|tls: failed to verify|certificate signed by unknown",
        "the certificate-authority in the kubeconfig does not fit this API server: log in again or correct it",
    ),
    _rule(
        Cause.UNREACHABLE,
        r"connection refused|Unable to connect to the server|was refused|no such host|i/o timeout"
        r"|no route to host|network is unreachable|TLS handshake timeout|connection reset|unexpected EOF"
        r"|context deadline exceeded|Client\.Timeout exceeded|http2: client connection lost",
        "check that the API server of this kubeconfig is up and reachable; --no-apply writes the documents instead",
    ),
    _rule(
        Cause.UNAUTHORIZED,
        # Without any credentials the client prompts for a user name and meets the end of stdin.
        r"must be logged in|\bUnauthorized\b|provide credentials|getting credentials: exec|\Aerror: EOF\s*\Z",
        "the login is missing, has expired or is not accepted: run `oc login` (or renew the kubeconfig) and try again",
    ),
    _rule(
        Cause.LEAVING,
        # NamespaceLifecycle says Forbidden too, to whoever asks.
        r"because it is being terminated",
        "wait until that namespace is gone (oc get namespaces), then run the same command again",
    ),
    _rule(
        Cause.FORBIDDEN, r"\(Forbidden\)|is forbidden|cannot \w+ resource", "ask a cluster-admin for this permission"
    ),
    _rule(Cause.EXISTS, r"\(AlreadyExists\)|already exists", "run the same command again: it compares anew"),
    _rule(
        Cause.CONFLICT,
        r"\(Conflict\)|the object has been modified|Apply failed with \d+ conflict",
        "someone else owns or just changed these fields; settle who does, then run the same command again",
    ),
    _rule(
        Cause.NO_MATCH,
        r"no matches for kind|doesn't have a resource type|ensure CRDs are installed first"
        r"|could not find the requested resource",
        "this cluster does not serve the kind: install its CRDs or operator first, or use --only to leave it out",
    ),
    _rule(Cause.NOT_FOUND, r"\(NotFound\)|not found", "check that the object's namespace exists on this cluster"),
    _rule(
        Cause.INVALID,
        r"Too long: (?:must have|may not be)|RequestEntityTooLarge|[Rr]equest entity too large|request is too large"
        r"|trying to send message larger than",
        "the object is larger than the API server stores: split it, or leave what is not needed out",
    ),
    _rule(
        Cause.INVALID,
        r"\(Invalid\)|\bis invalid\b|\(BadRequest\)|strict decoding error",
        "the API server's schema refuses the object: see its words above",
    ),
    _rule(
        Cause.BUSY,
        r"\(ServiceUnavailable\)|\(TooManyRequests\)|\(InternalError\)|\(ServerTimeout\)|\(Timeout\)"
        r"|etcdserver:|failed calling webhook|currently unable to handle",
        "the API server or one of its webhooks is not ready: wait a little and run the same command again",
    ),
)
RETRYABLE = frozenset({Cause.UNREACHABLE, Cause.BUSY})
_FORBIDDEN = re.compile(r'cannot (?P<verb>\w+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"')


def diagnose(stderr: str) -> tuple[Cause, str]:
    """Return the cause that ``stderr`` tells and a hint for a person."""
    stderr = _INFO.sub("", stderr)
    for rule in _RULES:
        if rule.pattern.search(stderr):
            return rule.cause, _permission(stderr) if rule.cause is Cause.FORBIDDEN else rule.hint
    return Cause.OTHER, "run again with -v to see every call"


def _permission(stderr: str) -> str:
    match = _FORBIDDEN.search(stderr)
    if match is None:
        return "ask a cluster-admin for this permission"
    resource = match["resource"] + (f".{match['group']}" if match["group"] else "")
    return f"ask a cluster-admin to let this login `{match['verb']}` `{printable(resource)}`"


def last_words(stderr: str) -> str:
    """Return what ``stderr`` says of the failure as one line: printable ASCII, capped, secrets and warnings removed.

    Programs print the failure last; from its first line on, six lines are kept.
    """
    lines = [printable(line.strip()) for line in _ADVICE.split(stderr)[0].splitlines() if line.strip()]
    spoken = [line for line in lines if not _WARNING.match(line) and not _NOISE.fullmatch(line)] or lines
    # klog repeats itself while it retries; the same sentence twice tells nothing.
    distinct = list(dict.fromkeys(spoken))
    start = next(
        (number for number, line in enumerate(distinct) if _FAILURE.match(line)), max(0, len(distinct) - _LINES)
    )
    return " | ".join(distinct[start : start + _LINES]) or "it said nothing"


def owners_in_conflict(stderr: str) -> frozenset[str]:
    """Return the field managers that a refused server-side apply names."""
    return frozenset(_OWNER.findall(stderr))


def warnings(stderr: str) -> tuple[str, ...]:
    """Return the lines of ``stderr`` with which a client or server warns (kept for -v)."""
    return tuple(printable(line.strip()) for line in stderr.splitlines() if is_warning(line))


def is_warning(line: str) -> bool:
    """Tell whether a client or server warns with ``line``."""
    return _WARNING.match(line) is not None


def printable(text: str) -> str:
    """Return ``text`` as printable ASCII without secrets, at most 600 characters."""
    clean = _SECRET.sub(r"\1(hidden)", _UNPRINTABLE.sub("?", text))
    return clean if len(clean) <= _WIDTH else clean[: _WIDTH - 3] + "..."


def shell_line(argv: Iterable[str]) -> str:
    """Return ``argv`` as a person would type it, printable and without secrets."""
    return " ".join(printable(shlex.quote(part)) for part in argv)
