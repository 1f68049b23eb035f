"""Names of hosts, repositories and tags: one grammar for bundles, configs and registries.

The grammar is the distribution spec's ("Pulling manifests") and distribution/reference's. Every check is a
length bound, then a regular expression that is linear and matched in full.
"""

from __future__ import annotations

import re

MAX_REPOSITORY = 255
MAX_HOST = 253
MAX_REGISTRY = 512
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LABEL = re.compile(r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*")
_PORT = re.compile(r"[0-9]{1,5}")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]")


def is_repository(text: str) -> bool:
    """Tell whether ``text`` is a repository name without host."""
    return len(text) <= MAX_REPOSITORY and all(_COMPONENT.fullmatch(part) for part in text.split("/"))


def is_tag(text: str) -> bool:
    """Tell whether ``text`` is a tag."""
    return _TAG.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Tell whether ``text`` is a DNS name or address (IPv6 in brackets) with an optional port."""
    if len(text) > MAX_HOST + 6:
        return False
    name, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = text, "1"
    if _PORT.fullmatch(port) is None or not 0 < int(port) < 65536:
        return False
    return _IPV6.fullmatch(name) is not None or all(_LABEL.fullmatch(label) for label in name.split("."))


def is_registry(text: str) -> bool:
    """Tell whether ``text`` is ``host[:port][/prefix]``."""
    host, slash, prefix = text.partition("/")
    return len(text) <= MAX_REGISTRY and is_host(host) and (not slash or is_repository(prefix))
