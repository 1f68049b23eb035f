"""Choosing platforms of an image: which children of an index are taken, and the index rewritten to them; pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bundler.settings import Value
from loader.bundle.ocimanifest import ParsedManifest
from loader.oci.platforms import is_platform, matches

_NONE = frozenset({None, "unknown/unknown"})
# How buildkit ties an attestation to the child that it is about.
_ATTESTED = "vnd.docker.reference.digest"


def read_platforms(value: Value) -> tuple[str, ...]:
    """Read ``all`` (as an empty tuple) or a list of platforms."""
    if not isinstance(value.node.value, tuple):
        value.choice(("all",))
        return ()
    found = [item.matching(is_platform, "os/architecture[/variant] such as linux/arm/v7") for item in value.items()]
    if not found:
        value.fault("lists no platform; write all for every one")
    return tuple(dict.fromkeys(platform for platform in found if platform))


def kept_children(data: bytes, parsed: ParsedManifest, wanted: Sequence[str]) -> frozenset[str]:
    """Return the digests of the children of an index to take: those of ``wanted``, and what attests them.

    A child without a platform that attests nothing is taken: it may be anything. No match at all gives nothing.
    """
    if not wanted or not parsed.is_index:
        return frozenset(child.digest for child in parsed.children)
    about = _attested(data)
    # One child may be listed for several platforms.
    named = {(child.digest, child.platform) for child in parsed.children if child.platform not in _NONE}
    kept = {digest for digest, platform in named if platform and matches(platform, wanted)}
    if not kept:
        return frozenset()
    loose = {child.digest for child in parsed.children} - {digest for digest, _ in named}
    return frozenset(kept | {digest for digest in loose if about.get(digest) is None or about[digest] in kept})


def _attested(data: bytes) -> dict[str, str]:
    """Return which child each attestation manifest of an index is about."""
    found = {}
    for item in json.loads(data).get("manifests") or []:
        annotations = item.get("annotations")
        about = annotations.get(_ATTESTED) if isinstance(annotations, dict) else None
        if isinstance(about, str):
            found[item["digest"]] = about
    return found


def rewritten_index(data: bytes, kept: frozenset[str]) -> bytes:
    """Return an index with the ``kept`` children alone, in their order and with all that was said of them."""
    plain = json.loads(data)
    plain["manifests"] = [item for item in plain["manifests"] if item["digest"] in kept]
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=True).encode("ascii")
