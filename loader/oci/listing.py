"""What a repository lists: its tags, and what refers to a manifest (distribution spec 1.1, "Content Discovery").

Both are optional in registries. That one does not exist is told apart from that it could not be asked.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

from loader.bundle.digest import is_digest
from loader.bundle.errors import AirgapError, RegistryError
from loader.bundle.ocimanifest import MAX_MANIFEST, OCI_INDEX, bare_type
from loader.oci.messages import Request

if TYPE_CHECKING:  # what a plan reads from a lock needs no client
    from loader.oci.exchange import Exchange, Reply

# A signed and attested image has a handful; an index of more does not come from signing.
MAX_REFERRERS = 1000
_MAX_PAGES = 100
# Tags asked for at once. A repository with more is asked by name instead.
_PAGE = 2000
# How registries say that they have no such API: the spec's 404, and what others give for a route they don't know.
_NO_API = frozenset({404, 405, 501})
_NEXT = re.compile(r'<([^<>]+)>\s*;\s*rel="?next"?')


def referrers(exchange: Exchange, scopes: Sequence[str], repository: str, subject: str) -> Optional[tuple[str, ...]]:
    """Return the digests of what refers to ``subject``, every page of them; None where there is no referrers API.

    ``RegistryError`` where it cannot be asked, and for more than ``MAX_REFERRERS``.
    """
    what = f"what refers to {exchange.host}/{repository}@{subject}"
    url = exchange.url(f"/v2/{repository}/referrers/{subject}")
    found: dict[str, None] = {}
    for page in range(_MAX_PAGES):
        reply = exchange.call(Request("GET", url, {"Accept": OCI_INDEX}), scopes, repository, cap=MAX_MANIFEST)
        if page == 0 and _is_no_api(reply):
            return None
        if reply.status != 200:
            raise reply.failure(f"cannot list {what}")
        found.update(dict.fromkeys(referring(reply.body, f"the list of {what}")))
        following = _following(exchange, reply)
        if following is None:
            return tuple(found)
        url = following
    raise RegistryError(f"cannot list {what}", why=f"more than {_MAX_PAGES} pages")


def has_referrers(exchange: Exchange, scopes: Sequence[str], repository: str, subject: str) -> Optional[bool]:
    """Tell whether there is a referrers API; None where the answer is of something else, such as an unknown repository.

    Raises ``RegistryError`` where it cannot be asked.
    """
    url = exchange.url(f"/v2/{repository}/referrers/{subject}")
    reply = exchange.call(Request("GET", url, {"Accept": OCI_INDEX}), scopes, repository, cap=MAX_MANIFEST)
    if _is_no_api(reply):
        return None if "NAME_UNKNOWN" in reply.codes else False
    return True if reply.status == 200 else None


def referring(data: bytes, what: str) -> tuple[str, ...]:
    """Return the digests that an index of referrers names, each once."""
    try:
        # Go registries write an empty list as null.
        items = json.loads(data)["manifests"] or []
        digests = [item["digest"] for item in items]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RegistryError(f"{what} cannot be read", why=f"not an index: {type(error).__name__}") from error
    if len(digests) > MAX_REFERRERS:
        raise RegistryError(f"{what} is too long", why=f"{len(digests)} entries, more than {MAX_REFERRERS}")
    bad = next((digest for digest in digests if not isinstance(digest, str) or not is_digest(digest)), None)
    if bad is not None:
        raise RegistryError(f"{what} cannot be read", why=f"{str(bad)[:80]!a} is no digest")
    return tuple(dict.fromkeys(digests))


def tags(exchange: Exchange, scopes: Sequence[str], repository: str) -> Optional[frozenset[str]]:
    """Return all tags, None unless the registry answers with the whole list at once."""
    url = exchange.url(f"/v2/{repository}/tags/list?n={_PAGE}")
    try:
        reply = exchange.call(Request("GET", url, {"Accept": "application/json"}), scopes, repository, cap=MAX_MANIFEST)
        plain: Any = json.loads(reply.body) if reply.status == 200 and not reply.header("Link") else None
    except (AirgapError, ValueError, RecursionError):
        # Whatever is wrong with the list: asking for a tag by its name will say it better.
        return None
    listed = plain.get("tags") if isinstance(plain, dict) else None
    if not isinstance(listed, list) or not all(isinstance(tag, str) for tag in listed):
        return None
    return frozenset(listed)


def _is_no_api(reply: Reply) -> bool:
    if reply.status == 200:
        # A front end that answers every path with a page, or with a list of something else.
        return bare_type(reply.header("Content-Type")) != OCI_INDEX
    return reply.status in _NO_API or (reply.status == 400 and "UNSUPPORTED" in reply.codes)


def _following(exchange: Exchange, reply: Reply) -> Optional[str]:
    match = _NEXT.search(reply.header("Link"))
    if match is None:
        return None
    url = str(urllib.parse.urljoin(reply.url, match[1]))
    if not exchange.is_ours(url):
        raise RegistryError(f"{exchange.host} continues its list elsewhere", why="the next page is on another host")
    return url
