"""What oc and kubectl print on stdout: JSON objects, with a wrapper's warnings before them; pure."""

from __future__ import annotations

import json
import re
from typing import Any

from loader.bundle.errors import ClusterError
from loader.cluster.failures import is_warning, printable
from loader.cluster.process import Finished

_BLANK = re.compile(r"\s*")
_MAX_WARNINGS = 100


def json_objects(finished: Finished, what: str, *, flatten: bool = True) -> tuple[dict[str, Any], ...]:
    """Return the JSON objects on stdout: ``create`` prints one after another, ``get`` and ``apply`` one List."""
    found: list[dict[str, Any]] = []
    try:
        printed = _without_warnings(finished.stdout.decode("utf-8"))
        position = _skip(printed, 0)
        while position < len(printed):
            value, position = json.JSONDecoder().raw_decode(printed, position)
            position = _skip(printed, position)
            items = value.get("items") if flatten and isinstance(value, dict) and value.get("kind") == "List" else None
            found += items if isinstance(items, list) else [value]
    except (ValueError, RecursionError) as error:
        raise garbage(finished, what, str(error)) from error
    if not all(isinstance(item, dict) for item in found):
        raise garbage(finished, what, "something else than JSON objects")
    return tuple(found)


def _without_warnings(printed: str) -> str:
    """Return ``printed`` from its first line on that is no warning: wrappers of a client print theirs to stdout."""
    for _ in range(_MAX_WARNINGS):
        first, _, rest = printed.lstrip().partition("\n")
        if not is_warning(first):
            break
        printed = rest
    return printed


def _skip(printed: str, position: int) -> int:
    match = _BLANK.match(printed, position)
    return match.end() if match else position


def garbage(finished: Finished, what: str, why: str) -> ClusterError:
    """Return the error for an answer that cannot be used; it shows how the answer begins."""
    start = printable(finished.stdout[:120].decode("utf-8", "replace"))
    return ClusterError(
        f"{what} gave an answer that is not what was asked",
        why=f"{printable(why)}; it starts with {start!r}",
        hint="check that oc or kubectl on PATH is the real program and its server the API server",
    )
