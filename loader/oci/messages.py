"""Requests to a registry as values, and what may be shown of the two sides' words."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Optional, Union

OpenBody = Callable[[], AbstractContextManager[Iterator[memoryview]]]
"""Opens a body from its first byte, again for every attempt."""

MAX_ERROR_BODY = 64 * 2**10
_MAX_WORDS = 400
_MAX_ERRORS = 3
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_TAGS = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Upload:
    """A body that is streamed: ``size`` bytes from ``open``."""

    size: int
    open: OpenBody


@dataclass(frozen=True)
class Request:
    """One HTTP request. Headers and query may hold secrets: never shown.

    ``closes``: bytes of the upload that it ends, sent before it.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Optional[Union[bytes, Upload]] = field(default=None, repr=False)
    closes: int = 0

    @property
    def to_store(self) -> int:
        """Bytes that may have to be put away somewhere before there is an answer."""
        return self.body.size if isinstance(self.body, Upload) else self.closes

    def with_header(self, name: str, value: str) -> Request:
        """Return the same request with one more header."""
        return replace(self, headers={**self.headers, name: value})

    def without_header(self, name: str) -> Request:
        """Return the same request without the header ``name``."""
        kept = {key: value for key, value in self.headers.items() if key.lower() != name.lower()}
        return replace(self, headers=kept)

    def with_body(self, body: Upload) -> Request:
        """Return the same request with ``body``."""
        return replace(self, body=body)

    def to(self, url: str) -> Request:
        """Return the same request to another URL."""
        return replace(self, url=url)


def origin(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of ``url``: the border credentials do not cross; ``ValueError`` if it has none."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http or https URL")
    return parts.scheme, parts.hostname.lower(), parts.port or (443 if parts.scheme == "https" else 80)


def shown_url(url: str) -> str:
    """Return ``url`` for people: without user, query and fragment, which may be secrets (signed CDN links)."""
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "a URL that cannot be read"
    return printable(f"{parts.scheme}://{host}{parts.path}", 300)


def printable(text: str, most: int = _MAX_WORDS) -> str:
    """Return ``text`` on one line of printable ASCII, cut to ``most`` characters."""
    line = _UNPRINTABLE.sub(" ", text[: most * 4]).strip()
    return line if len(line) <= most else line[:most] + "..."


def error_codes(body: bytes) -> tuple[str, ...]:
    """Return the codes of the distribution spec's error document; empty when it is something else."""
    return tuple(str(error.get("code", "")) for error in _errors(body))


def registry_words(body: bytes) -> str:
    """Return what an error body says, ready to be shown: codes and messages, or the text of a page."""
    said = []
    for error in _errors(body)[:_MAX_ERRORS]:
        words = [str(error[name]) for name in ("code", "message") if isinstance(error.get(name), (str, int))]
        detail = error.get("detail")
        if detail and isinstance(detail, (str, int)):
            words.append(f"({detail})")
        said.append(" ".join(words))
    text = "; ".join(said) if said else _TAGS.sub(" ", body[:4096].decode("utf-8", "replace"))
    return printable(" ".join(text.split()))


def _errors(body: bytes) -> list[dict[str, Any]]:
    try:
        plain = json.loads(body)
    except (ValueError, RecursionError):
        return []
    if not isinstance(plain, dict):
        return []
    errors = plain.get("errors")
    if not isinstance(errors, list):
        # Token servers use RFC 6749 names, some gateways a bare message.
        words = {"code": plain.get("error") or plain.get("code"), "message": plain.get("error_description")}
        words["message"] = words["message"] or plain.get("message") or plain.get("details")
        errors = [words] if any(words.values()) else []
    return [error for error in errors if isinstance(error, dict)]
