"""The record of a load as a page for the people who file it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Optional

from loader.cluster.diff import object_diff
from loader.cluster.objects import Key
from loader.page import Page, listed, opened, table
from loader.units import duration


def load_page(record: dict[str, Any]) -> str:
    """The record as a page."""
    bundle = record["bundle"]
    page = Page(f"{bundle['name']} {bundle['version']}: load {record['state']}")
    page.facts(
        [
            ("bundle id", bundle["id"]),
            *_archive_facts(record["archive"]),
            ("sequence", str(bundle["sequence"])),
            ("created", bundle["created"]),
            ("registry", record["registry"]),
            *_cluster_facts(record["cluster"]),
            ("signed by", ", ".join(f"{s['name']} {s['fingerprint']}" for s in record["signers"])),
            ("by", f"{record['user']} on {record['host']}, {record['loader']} ({record['loaderSha256']})"),
            ("started", record["started"]),
            ("finished", record["finished"]),
        ]
    )
    if record["error"]:
        page.section("What failed", table(["what", "why"], [[record["error"]["message"], record["error"]["why"]]]))
    if record["warnings"]:
        page.section("Warnings before the first write", listed(record["warnings"]))
    _add_effects(page, record)
    _add_history(page, record)
    return page.html()


def _add_effects(page: Page, record: dict[str, Any]) -> None:
    page.section(
        "Images",
        table(
            ["repository", "tag", "digest", "state"],
            [[i["repository"], i["tag"] or "", i["digest"], _state(i)] for i in record["images"]],
        ),
    )
    page.section(
        "Cluster objects",
        table(
            ["kind", "namespace", "name", "action"],
            [[o["kind"], o["namespace"] or "", o["name"], _action(o)] for o in record["objects"]],
        ),
        *(opened(f"{row['kind']}/{row['name']}", diff) for row in record["objects"] for diff in [_diff(row)] if diff),
    )


def _action(row: Mapping[str, Any]) -> str:
    words = [row["action"], *([row["reason"]] if row["reason"] else []), *(["put back"] if row["restored"] else [])]
    return ", ".join(words)


def _diff(row: Mapping[str, Any]) -> str:
    """Return before and after of a write; of a Secret the report has hashes alone."""
    if row["action"] not in {"create", "patch"}:
        return ""
    key = Key(row["apiVersion"] or "", row["kind"], row["namespace"], row["name"])
    return object_diff(key, row["before"], row["after"], ("before", "after"))


def _state(image: Mapping[str, Any]) -> str:
    return image["error"] or ("confirmed, tag moved" if image["tagMoved"] else "confirmed")


def _add_history(page: Page, record: dict[str, Any]) -> None:
    page.section(
        "Waits",
        table(
            ["for", "took", "ended", "last seen"],
            [[w["name"], duration(w["seconds"]), w["state"], w["text"]] for w in record["waits"]],
        ),
    )
    page.section(
        "Runs",
        table(
            ["run", "by", "started", "finished", "state"],
            [
                [r["verb"], f"{r['user']} on {r['host']}", r["started"], r["finished"] or "", r["state"]]
                for r in record["runs"]
            ],
        ),
    )


def _archive_facts(archive: Optional[Mapping[str, Any]]) -> list[tuple[str, str]]:
    if archive is None:
        return []
    return [("archive", f"{archive['name']}, SHA-256 {archive['sha256'] or 'not known'}")]


def _cluster_facts(cluster: Optional[Mapping[str, str]]) -> list[tuple[str, str]]:
    if cluster is None:
        return []
    return [
        ("cluster", f"{cluster['server']} ({cluster['version']}), context {cluster['context']}, user {cluster['user']}")
    ]
