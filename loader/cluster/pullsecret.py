"""The global pull secret opened, so that its logins are compared and taken back one by one; pure.

They are secrets: what is opened here is never printed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from loader.cluster.imageconfig import DOCKERCONFIG
from loader.cluster.nodeside import PULL_SECRET
from loader.cluster.objects import Key, field, text


def opened(key: Key, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``item`` with its logins as JSON values; as it is where it is no pull secret, or holds no JSON object."""
    found = _logins(item) if key == PULL_SECRET else None
    return dict(item) if found is None else _with(item, found)


def closed(key: Key, item: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """Return what :func:`opened` made ``item`` of; where ``like`` has the same logins, in its very bytes."""
    found = field(item, "data", DOCKERCONFIG)
    if key != PULL_SECRET or not isinstance(found, Mapping):
        return dict(item)
    if found == _logins(like):
        return _with(item, like["data"][DOCKERCONFIG])
    plain = json.dumps(found, separators=(",", ":"), ensure_ascii=True)
    return _with(item, base64.b64encode(plain.encode("ascii")).decode("ascii"))


def _logins(item: Mapping[str, Any]) -> object:
    try:
        plain = json.loads(base64.b64decode(text(item, "data", DOCKERCONFIG), validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return plain if isinstance(plain, dict) else None


def _with(item: Mapping[str, Any], logins: object) -> dict[str, Any]:
    return {**item, "data": {**item["data"], DOCKERCONFIG: logins}}
