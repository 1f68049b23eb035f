"""The evidence of a refusal: what was offered, why it was not taken, by which loader and with which keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from loader.bundle.errors import AirgapError
from loader.bundle.verify import Trust
from loader.cluster.failures import printable
from loader.durable import write_report
from loader.page import Page, table

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def refusal(
    sources: Sequence[Path], error: AirgapError, trust: Optional[Trust], facts: Mapping[str, str], now: str
) -> dict[str, Any]:
    """Return the refusal as a JSON value; ``facts`` are those of a load's report: who, where, which loader."""
    keys = trust.policy.usable if trust is not None else ()
    return {
        **{name: printable(value) for name, value in facts.items()},
        "checkedAt": now,
        "error": {
            "code": error.exit_code,
            "hint": printable(error.hint),
            "message": printable(error.message),
            "why": printable(error.why),
        },
        "formatVersion": 1,
        "keysTried": [{"fingerprint": key.fingerprint, "name": printable(key.name)} for key in keys],
        "policySha256": trust.policy.sha256 if trust is not None else None,
        "sources": [printable(str(source)) for source in sources],
        "verified": False,
    }


def write_refusal(folder: Path, found: dict[str, Any], source: Path) -> list[Path]:
    """Write ``NAME.refused.json`` and ``.html`` into ``folder``; NAME is the source's own, made harmless."""
    name = source.absolute().name.removesuffix(".zst").removesuffix(".tar")
    stem = _UNSAFE.sub("_", name).strip(".")[:100] or "bundle"
    paths = [folder / f"{stem}.refused.json", folder / f"{stem}.refused.html"]
    write_report(paths[0], (json.dumps(found, indent=2, sort_keys=True) + "\n").encode())
    write_report(paths[1], _page(stem, found).encode())
    return paths


def _page(stem: str, found: dict[str, Any]) -> str:
    page = Page(f"{stem}: REFUSED")
    page.facts(
        [
            ("what", ", ".join(found["sources"])),
            ("refused because", found["error"]["message"]),
            ("why", found["error"]["why"]),
            ("exit code", str(found["error"]["code"])),
            ("checked", found["checkedAt"]),
            ("by", f"{found['user']} on {found['host']}, {found['loader']} ({found['loaderSha256']})"),
            ("policy.toml", found["policySha256"] or "none"),
        ]
    )
    page.section(
        "Keys tried", table(["name", "fingerprint"], [[key["name"], key["fingerprint"]] for key in found["keysTried"]])
    )
    return page.html()
