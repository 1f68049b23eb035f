"""What a load would do, for ``--dry-run``: as the JSON document of cli.md, and as lines."""

from __future__ import annotations

from typing import Any

from loader.loadstate import State


def effect_document(state: State) -> dict[str, Any]:
    """Blobs to send and to skip, tags that would move, objects with their diffs, findings.

    An image's ``endpoints`` are where nodes would ask for it, in order; none where the cluster does not tell.
    """
    plan = state.plan
    endpoints = {name.partition("@")[2]: places for name, places in (plan.endpoints if plan else {}).items()}
    return {
        "blobs": {"bytes": state.survey.bytes_to_send, "send": state.survey.send, "skip": state.survey.skip},
        "findings": [
            {"hint": finding.hint, "level": finding.level, "text": finding.text}
            for finding in (plan.findings if plan else ())
        ],
        "images": [
            {
                "digest": image.top.digest,
                "endpoints": list(endpoints.get(image.top.digest, ())),
                "repository": image.repository,
                "tag": image.tag,
            }
            for image in state.push.images
        ],
        "nodes": [
            {"count": pool.count, "effect": pool.effect, "pool": pool.pool} for pool in (plan.nodes if plan else ())
        ],
        "objects": [
            {
                "action": change.action,
                "diff": change.diff,
                "kind": change.kind,
                "name": change.name,
                "namespace": change.namespace,
                "reason": change.reason,
            }
            for change in (plan.changes if plan else ())
        ],
        "rook": [
            {"count": effect.count, "part": effect.part, "text": effect.text} for effect in (plan.rook if plan else ())
        ],
        "tags": [
            {"from": move.before, "ref": f"{state.target.host}/{move.repository}:{move.tag}", "to": move.after}
            for move in state.survey.tags
            if move.before != move.after
        ],
    }


def effect_lines(state: State) -> str:
    """The same for a person: one line a tag and an object, the diffs below."""
    document = effect_document(state)
    lines = [f"tag       {move['ref']}: {move['from'] or 'new'} -> {move['to']}" for move in document["tags"]]
    for item in document["objects"]:
        where = f" in {item['namespace']}" if item["namespace"] else ""
        reason = f" ({item['reason']})" if item["reason"] else ""
        lines.append(f"object    {item['kind']}/{item['name']}{where}: {item['action']}{reason}")
        lines += [f"  {line}" for line in item["diff"].splitlines()]
    why = {pool.pool: pool.why for pool in (state.plan.nodes if state.plan else ())}
    for item in document["nodes"]:
        reason = f" ({why[item['pool']]})" if why[item["pool"]] else ""
        what = "nothing on" if item["effect"] == "none" else f"{item['effect']} of"
        lines.append(f"nodes     {item['pool']}: {what} {item['count']}{reason}")
    lines += [f"rook      {item['text']}" for item in document["rook"]]
    endpoints = state.plan.endpoints if state.plan else {}
    lines += [f"pulls     {name}: {', '.join(places) or 'from nowhere'}" for name, places in endpoints.items()]
    lines.append("dry run   nothing was written")
    return "\n".join(lines)
