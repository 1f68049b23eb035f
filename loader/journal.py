"""Every object a load changes, written down before it is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

from loader.cluster.apply import Outcome
from loader.cluster.diff import essence
from loader.cluster.failures import printable
from loader.cluster.objects import JsonObject, text
from loader.cluster.plan import Change
from loader.cluster.pullsecret import closed, opened
from loader.cluster.revert import taken_back
from loader.vault import Vault

Row = dict[str, Any]
_Name = tuple[Optional[str], str, Optional[str], str]


class ObjectJournal:
    """The ``objects`` of a report; ``write`` puts the report on disk.

    What was there before an object's first change stays, whatever later runs do; but what others changed between two
    runs is theirs, and an object that someone made anew has a past of its own.
    """

    def __init__(self, rows: list[Row], vault: Vault, write: Callable[[], None]) -> None:
        self._rows = rows
        self._vault = vault
        self._write = write
        self._fresh: set[int] = set()

    def begin(self, changes: Sequence[Change], *, again: bool = False) -> None:
        """Write down what is there and what is about to be sent; ``StorageError`` where that fails."""
        for change in changes:
            self._forget_former(change)
            row = self._row(change)
            if row is None:
                row = _new_row(change)
                row["before"] = self._first_before(change)
                self._rows.append(row)
                self._fresh.add(id(row))
            elif again and id(row) in self._fresh:
                row["before"] = self._snapshot(change.before)
            else:
                row["before"] = self._without_ours(row, change)
            row["action"] = "create" if row["before"] is None else "patch"
            row.update(after=self._snapshot(change.after), confirmed=False)
        self._write()

    def done(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what is stored now."""
        for outcome in outcomes:
            self._forget_former(outcome.change)
            row = self._row(outcome.change)
            if row is None:
                row = _new_row(outcome.change)
                self._forget(outcome.change)
                self._rows.append(row)
            elif outcome.applied.action in {"create", "patch"}:
                self._confirm(row, outcome.stored)
            elif id(row) in self._fresh:
                row.update(action="unchanged", before=None, after=None, confirmed=True)
            elif not row["confirmed"]:
                # The run before this one ended between the write and its answer: the write was made.
                self._confirm(row, outcome.stored)
        if outcomes:
            self._write()

    def _confirm(self, row: Row, stored: Optional[JsonObject]) -> None:
        row.update(after=self._snapshot(stored), confirmed=True, uid=text(stored, "metadata", "uid") or None)
        row["resourceVersion"]["after"] = text(stored, "metadata", "resourceVersion") or None

    def _row(self, change: Change) -> Optional[Row]:
        """Return the row of an earlier write of the same document to the same object."""
        name = _name_of(change)
        rows = (row for row in self._rows if row["document"] == change.document and _row_name(row) == name)
        return next((row for row in rows if row["action"] in {"create", "patch"}), None)

    def _forget_former(self, change: Change) -> None:
        """Drop the rows of an object that is gone, where another of its name is there now."""
        uid, name = text(change.before, "metadata", "uid"), _name_of(change)
        kept = [row for row in self._rows if not uid or row["uid"] in {None, uid} or _row_name(row) != name]
        self._rows[:] = kept

    def _forget(self, change: Change) -> None:
        """Drop the row of an earlier run in which nothing was written either."""
        name = _name_of(change)
        kept = [row for row in self._rows if row["document"] != change.document or _row_name(row) != name]
        self._rows[:] = kept

    def _first_before(self, change: Change) -> Optional[dict[str, Any]]:
        """Return what is there; where another document of the bundle has just changed it, what that one left."""
        name = _name_of(change)
        wrote = [row for row in self._rows if _row_name(row) == name and row["action"] in {"create", "patch"}]
        self._forget(change)
        return wrote[-1]["after"] if wrote else self._snapshot(change.before)

    def _without_ours(self, row: Row, change: Change) -> Optional[dict[str, Any]]:
        """Return what is there now with the changes of earlier runs taken back, for the first row of its object."""
        name = _name_of(change)
        wrote = [each for each in self._rows if _row_name(each) == name and each["action"] in {"create", "patch"}]
        before, after = (self._state(item, change.kind) for item in (wrote[0]["before"], wrote[-1]["after"]))
        if row is not wrote[0] or change.wish is None or change.before is None or before is None or after is None:
            found: Optional[dict[str, Any]] = row["before"]
            return found
        key = change.wish.key
        three = [opened(key, item) for item in (essence(change.before), before, after)]
        return self._snapshot(closed(key, taken_back(*three).item, before))

    def _state(self, item: Optional[dict[str, Any]], kind: str) -> Optional[dict[str, Any]]:
        return self._vault.kept(item["sha256"]) if item is not None and kind == "Secret" else item

    def _snapshot(self, item: Optional[Mapping[str, Any]]) -> Optional[dict[str, Any]]:
        if item is None:
            return None
        found = essence(item)
        return {"sha256": self._vault.keep(found)} if found.get("kind") == "Secret" else found


def _new_row(change: Change) -> Row:
    ran = text(change.before, "status", "version", "version") if change.kind == "CephCluster" else ""
    return {
        "action": change.action,
        "after": None,
        "apiVersion": _name_of(change)[0],
        "before": None,
        "cephVersion": printable(ran) or None,
        "confirmed": True,
        "document": change.document,
        "kind": change.kind,
        "name": change.name,
        "namespace": change.namespace,
        "reason": printable(change.reason),
        "resourceVersion": {"after": change.resource_version, "before": change.resource_version},
        "restored": False,
        "uid": None,
    }


def _name_of(change: Change) -> _Name:
    return change.wish.key.api_version if change.wish else None, change.kind, change.namespace, change.name


def _row_name(row: Row) -> _Name:
    return row["apiVersion"], row["kind"], row["namespace"], row["name"]
