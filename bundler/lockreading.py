"""``bundle.lock`` read back: every value is checked, and all that is wrong is told at once, with its line.

A person may have edited the file, or merged two of them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Callable, Union

from bundler.config import read_file
from bundler.lock import Beside, Last, Lock, Locked
from bundler.yamlpos import Caps, line_at, parse
from loader.bundle.digest import digest_of, is_digest, is_hex
from loader.bundle.errors import ConfigError, FormatError
from loader.bundle.ocimanifest import KNOWN_TYPES
from loader.bundle.strictjson import MAX_INTEGER, loads
from loader.presence import is_named

_MAX_LOCK = 64 * 2**20
# JSON is YAML, whose reader knows lines; only a lock with faults is read so.
_CAPS = Caps(size=_MAX_LOCK, depth=40, nodes=5_000_000)

_Place = tuple[Union[str, int], ...]
_Fault = tuple[_Place, str]
_Rule = tuple[Callable[[Any], bool], str]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER


_DIGEST: _Rule = (lambda value: _is_text(value) and is_digest(value), "sha256: and 64 lower-case hex digits")
_COUNT: _Rule = (_is_count, "a whole number")
_TEXT: _Rule = (_is_text, "a text")
_OBJECT: _Rule = (lambda value: isinstance(value, dict), "an object")
_LIST: _Rule = (lambda value: isinstance(value, list), "a list")
_TEXTS: _Rule = (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a list of texts")

_TOP: Mapping[str, _Rule] = {
    "formatVersion": (lambda value: value == 1 and value is not True, "1, the one version there is"),
    "images": _OBJECT,
    "last": (lambda value: value is None or isinstance(value, dict), "null or an object"),
}
_LAST: Mapping[str, _Rule] = {
    "id": (lambda value: _is_text(value) and is_hex(value), "64 lower-case hex digits"),
    "sequence": _COUNT,
}
_ENTRY: Mapping[str, _Rule] = {
    "digest": _DIGEST,
    "mediaType": (lambda value: _is_text(value) and value in KNOWN_TYPES, "a media type of images"),
    "platforms": _TEXTS,
    "resolved": _TEXT,
    "size": _COUNT,
}
_MAY_HAVE: Mapping[str, _Rule] = {"attached": _OBJECT, "documents": _OBJECT, "madeFrom": _TEXT}
_BESIDE: Mapping[str, _Rule] = {
    "digest": _DIGEST,
    "kind": _TEXT,
    "tag": (lambda value: value is None or _is_text(value), "null or a text"),
}


def read_lock(path: Path) -> Lock:
    """Return the lock at ``path``, an empty one if there is none; ``ConfigError`` if it was edited into nonsense."""
    if not is_named(path):
        return Lock()
    data = read_file(path, _MAX_LOCK)
    try:
        plain = loads(data, str(path))
    except FormatError as error:
        raise _no_lock(path, (), _merged(data) or str(error)) from error
    faults = list(_faults(plain))
    if faults:
        raise _no_lock(path, _listed(data, faults))
    last = plain["last"]
    return Lock(
        {name: _locked(entry) for name, entry in plain["images"].items()},
        None if last is None else Last(last["sequence"], last["id"]),
    )


def _no_lock(path: Path, faults: tuple[tuple[str, str], ...], why: str = "") -> ConfigError:
    return ConfigError(
        f"{path} is not a lock file of this program",
        faults=faults,
        why=why,
        hint="take the committed one back; without it, every tag is resolved anew",
    )


def _merged(data: bytes) -> str:
    mark = re.search(rb"^(?:<<<<<<<|=======|>>>>>>>)", data, re.MULTILINE)
    return f"line {data.count(10, 0, mark.start()) + 1} has a mark of a merge with conflicts" if mark else ""


def _listed(data: bytes, faults: list[_Fault]) -> tuple[tuple[str, str], ...]:
    documents = parse(data, _CAPS).documents
    lines = [line_at(documents[0], place) if documents else 0 for place, _ in faults]
    told = sorted(zip(lines, faults), key=lambda item: item[0])
    return tuple(
        (f"{_shown(place)} (line {line})" if place and line else _shown(place) or f"line {line}", problem)
        for line, (place, problem) in told
    )


def _shown(place: _Place) -> str:
    text = ".".join(map(str, place))
    return (text if text.isprintable() else ascii(text))[:300]


def _faults(plain: Any) -> Iterator[_Fault]:
    yield from _checked(plain, (), _TOP)
    if not isinstance(plain, dict):
        return
    if isinstance(plain.get("last"), dict):
        yield from _checked(plain["last"], ("last",), _LAST)
    images = plain.get("images")
    for name, entry in images.items() if isinstance(images, dict) else ():
        yield from _entry_faults(entry, ("images", name))


def _checked(
    value: Any, place: _Place, rules: Mapping[str, _Rule], may_have: Mapping[str, _Rule] = {}
) -> Iterator[_Fault]:
    """Yield what is wrong with an object: keys that are missing or unknown, values that break their rule."""
    if not isinstance(value, dict):
        yield place, f"is not an object with {', '.join(rules)}"
        return
    yield from ((place, f"has no {key}") for key in rules if key not in value)
    for key, item in value.items():
        rule = rules.get(key) or may_have.get(key)
        if rule is None:
            near = difflib.get_close_matches(key, [*rules, *may_have], 1)
            yield (*place, key), f"is no key of a lock{f'; did you mean {near[0]}?' if near else ''}"
        elif not rule[0](item):
            yield (*place, key), f"is not {rule[1]}"


def _entry_faults(entry: Any, place: _Place) -> Iterator[_Fault]:
    found = list(_checked(entry, place, _ENTRY, _MAY_HAVE))
    yield from found
    if found:
        return
    for digest, text in entry.get("documents", {}).items():
        if not _is_text(text) or _digest_of(text) != digest:
            yield (*place, "documents", digest), "is a text with another digest: it was changed"
    top = entry.get("documents", {}).get(entry["digest"])
    if _is_text(top) and len(top.encode("utf-8", "replace")) != entry["size"]:
        yield (*place, "size"), "is not that of the manifest under documents"
    for subject, items in entry.get("attached", {}).items():
        inside = (*place, "attached", subject)
        if not _DIGEST[0](subject) or not _LIST[0](items):
            yield inside, "is not a manifest's digest with a list"
            continue
        for index, item in enumerate(items):
            yield from _checked(item, (*inside, index), _BESIDE)


def _digest_of(text: str) -> str:
    try:
        return digest_of(text.encode())
    except UnicodeEncodeError:
        return ""


def _locked(entry: Mapping[str, Any]) -> Locked:
    """Make what was checked into an entry."""
    return Locked(
        entry["digest"],
        entry["mediaType"],
        entry["size"],
        tuple(entry["platforms"]),
        entry["resolved"],
        entry.get("madeFrom", ""),
        {
            subject: tuple(Beside(item["kind"], item["digest"], item["tag"]) for item in items)
            for subject, items in entry.get("attached", {}).items()
        },
        dict(entry.get("documents", {})),
    )
