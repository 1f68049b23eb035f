"""One strict decoder: canonical JSON bytes to frozen dataclasses and back.

Canonical is exactly ``json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True)``
and a line feed, strings printable ASCII, integers 0 to 2**53-1, depth at most 32. Decoding then
encoding must give the same bytes, which refuses duplicate keys, floats, NaN, spaces and any other
second spelling in one rule (facts: ``json.loads`` accepts all of them).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
import sys
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Optional, TypeVar, Union

from loader.bundle.errors import FormatError

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 32
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
# One scan for nesting before json.loads, whose recursion error is not a ValueError. The closing quote is
# optional so that an unterminated string is taken once, not tried again from each of its quotes.
_TOKENS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)

_BATCH = 512
# Words such as raw, that stand in every entry, are kept once; names and digests are longer.
_SHORT = 16

_SCALARS = frozenset({str, int, bool, type(None)})

T = TypeVar("T")


def encode(value: object) -> bytes:
    """Return the canonical bytes of a dataclass made of dataclasses, tuples, strings, integers, booleans and None."""
    return "".join(_pieces(value)).encode("ascii")


def _pieces(value: object) -> Iterator[str]:
    """Yield the canonical text in pieces: a long list is never there twice as a whole."""
    kind: Any = type(value)
    for number, (attribute, key) in enumerate(sorted(_names(kind) or (), key=lambda pair: pair[1])):
        yield f'{"," if number else "{"}"{key}":'
        item = getattr(value, attribute)
        if not isinstance(item, tuple):
            yield _text(item)
            continue
        for start in range(0, len(item), _BATCH):
            yield f"{',' if start else '['}{_text(item[start : start + _BATCH])[1:-1]}"
        yield "]" if item else "[]"
    yield "}\n" if _names(kind) else f"{_text(value)}\n"


def _text(value: object) -> str:
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _is_canonical(value: object, data: bytes) -> bool:
    position = 0
    for piece in _pieces(value):
        if not data.startswith(piece.encode("ascii"), position):
            return False
        position += len(piece)
    return position == len(data)


def to_plain(value: object) -> Any:
    """Turn dataclasses into dicts with camel-case keys and tuples into lists."""
    if isinstance(value, tuple):
        return [to_plain(item) for item in value]
    kind: Any = type(value)
    names = _names(kind)
    if names is None:
        return value
    plain = {}
    for attribute, key in names:
        item = getattr(value, attribute)
        # Most values: not asked what they are once more.
        plain[key] = item if item.__class__ in _SCALARS else to_plain(item)
    return plain


@functools.cache
def _names(cls: type) -> Optional[tuple[tuple[str, str], ...]]:
    """(attribute, JSON name) of a dataclass's fields; None for every other type. There may be 200,000 values."""
    return (
        tuple((f.name, json_name(f.name)) for f in dataclasses.fields(cls)) if dataclasses.is_dataclass(cls) else None
    )


def decode(cls: type[T], data: bytes, what: str) -> T:
    """Decode canonical ``data`` into ``cls``; ``what`` names the file in errors.

    Raises ``FormatError`` for anything that is not the one canonical form of a valid ``cls``.
    """
    hashable: Any = cls
    value = _build(cls, _parsed(data, what, MAX_DEPTH, _leaves(hashable)), what)
    if not _is_canonical(value, data):
        raise FormatError(f"{what} is not in canonical form", why="decoding and encoding again gives other bytes")
    return typing.cast(T, value)


def loads(data: bytes, what: str, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse hostile JSON: depth is measured first, duplicate keys and non-finite numbers are refused."""
    return _parsed(data, what, max_depth, {})


def _parsed(data: bytes, what: str, max_depth: int, leaves: Mapping[tuple[str, ...], type]) -> Any:
    """As :func:`loads`; an object with the keys of one of ``leaves``, in order, and right values is made into it."""
    depth = 0
    # Fewer brackets than levels cannot nest too deeply: most manifests are that small, and plans read thousands.
    flat = data.count(b"[") + data.count(b"{") <= max_depth
    for token in () if flat else _TOKENS.finditer(data):
        char = token[0]
        if char in b"[{":
            depth += 1
            if depth > max_depth:
                raise FormatError(f"{what} is nested too deeply", why=f"more than {max_depth} levels")
        elif char in b"]}":
            depth -= 1
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=functools.partial(_object, what, leaves),
            parse_constant=functools.partial(_no_constant, what),
        )
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what} is not JSON", why=str(error)) from error


def _object(what: str, leaves: Mapping[tuple[str, ...], type], pairs: list[tuple[str, Any]]) -> Any:
    leaf = leaves.get(tuple(key for key, _ in pairs)) if leaves else None
    result = dict(pairs)
    if leaf is not None:
        # What is wrong with it is told where its place is known.
        with contextlib.suppress(FormatError):
            return _build_object(leaf, result, what)
    if len(result) != len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise FormatError(f"{what} has a duplicate key", why=f"{twice!a} occurs twice in one object")
    return result


def _no_constant(what: str, name: str) -> Any:
    raise FormatError(f"{what} has a number that is not finite", why=name)


@functools.cache
def json_name(name: str) -> str:
    """The JSON name of a field: camel case."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@functools.cache
def _schema(cls: type) -> Mapping[str, tuple[str, Any]]:
    hints = typing.get_type_hints(cls)
    return {json_name(f.name): (f.name, hints[f.name]) for f in dataclasses.fields(cls)}


@functools.cache
def _leaves(cls: type) -> Mapping[tuple[str, ...], type]:
    """Return the classes below ``cls`` that hold scalars alone, by their sorted keys.

    There may be 200,000 of one: as dicts first they would take four times the memory.
    """
    found: dict[tuple[str, ...], set[type]] = {}
    left, seen = [cls], {cls}
    while left:
        one = left.pop()
        hints = [hint for _, hint in _schema(one).values()]
        below = {inner for hint in hints for inner in _classes(hint)}
        if not below and not any(typing.get_origin(hint) is tuple for hint in hints):
            found.setdefault(tuple(sorted(_schema(one))), set()).add(one)
        left += below - seen
        seen |= below
    return {keys: classes.pop() for keys, classes in found.items() if len(classes) == 1}


def _classes(hint: Any) -> Iterator[type]:
    """Yield the dataclasses that a hint names."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        yield hint
    for inner in typing.get_args(hint):
        yield from _classes(inner)


def _build(hint: Any, plain: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build_object(hint, plain, where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(plain, list):
            raise _wrong(where, "a list", plain)
        item_hint = typing.get_args(hint)[0]
        return tuple(_build(item_hint, item, f"{where}[{i}]") for i, item in enumerate(plain))
    if origin is Union:
        if plain is None:
            return None
        return _build(next(arg for arg in typing.get_args(hint) if arg is not type(None)), plain, where)
    return _build_scalar(hint, plain, where)


def _build_object(cls: type, plain: Any, where: str) -> Any:
    if type(plain) is cls:
        return plain
    if not isinstance(plain, dict):
        raise _wrong(where, "an object", plain)
    schema = _schema(cls)
    if plain.keys() != schema.keys():
        unknown = sorted(plain.keys() - schema.keys())
        missing = sorted(schema.keys() - plain.keys())
        why = "; ".join(
            f"{word} {', '.join(f'{n[:60]!a}' for n in names[:5])}"
            for word, names in (("unknown field", unknown), ("missing field", missing))
            if names
        )
        raise FormatError(f"{where} does not have exactly the fields of this format version", why=why)
    return cls(**{attr: _build(hint, plain[key], f"{where}.{key}") for key, (attr, hint) in schema.items()})


def _build_scalar(hint: Any, plain: Any, where: str) -> Any:
    if hint is str:
        if not isinstance(plain, str):
            raise _wrong(where, "a string", plain)
        if _PRINTABLE.fullmatch(plain) is None:
            raise FormatError(f"{where} has a character that is not printable ASCII", why=ascii(plain[:80]))
        return sys.intern(plain) if len(plain) <= _SHORT else plain
    if hint is bool:
        if not isinstance(plain, bool):
            raise _wrong(where, "true or false", plain)
        return plain
    if hint is int:
        if isinstance(plain, bool) or not isinstance(plain, int):
            raise _wrong(where, "an integer", plain)
        if not 0 <= plain <= MAX_INTEGER:
            raise FormatError(f"{where} is out of range", why=f"integers are 0 to {MAX_INTEGER}")
        return plain
    raise RuntimeError(f"no rule for type {hint!r} at {where}")


def _wrong(where: str, wanted: str, plain: Any) -> FormatError:
    return FormatError(f"{where} is not {wanted}", why=f"it is {type(plain).__name__}")
