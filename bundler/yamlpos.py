"""Strict YAML with line numbers: events of PyYAML's safe loader, built into a tree without recursion.

Refused: tags, duplicate keys, keys that are not strings, aliases to what encloses them, and more bytes, depth or
nodes (aliases counted in full) than the caps allow. Anchors and merge keys work.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Union

import yaml

Scalar = Union[str, int, float, bool, None]

_STR, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
# Read as they are written: a date is its text here, and "=" is not a value of its own.
_AS_TEXT = frozenset({"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"})
# The libyaml parser is the same grammar, about 20 times faster; a wheel without it still works.
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Plain scalars that YAML 1.1 (PyYAML) and the parser of kubectl read differently.
_AMBIGUOUS = re.compile(
    r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|[-+]?[0-9.]+[eE][-+]?[0-9]+|0[0-9]*[89][0-9]*|0o[0-7]+|[yYnN]"
)


@dataclass(frozen=True)
class Caps:
    """Bounds of one document: bytes before parsing, nesting depth, nodes with every alias counted in full."""

    size: int
    depth: int
    nodes: int


@dataclass(frozen=True)
class Node:
    """A value and its line (from 1): a scalar, a tuple of nodes, or a dict of nodes by key.

    ``text`` is a scalar as it was written, ``plain`` whether it stood without quotes. ``key_lines`` has the line
    of each key of a mapping.
    """

    value: Scalar | tuple[Node, ...] | dict[str, Node]
    line: int
    text: str = ""
    plain: bool = False
    nodes: int = 1
    height: int = 1
    key_lines: dict[str, int] = field(default_factory=dict)

    def data(self) -> object:
        """Return the value as plain lists, dicts and scalars."""
        if isinstance(self.value, dict):
            return {key: item.data() for key, item in self.value.items()}
        if isinstance(self.value, tuple):
            return [item.data() for item in self.value]
        return self.value


@dataclass(frozen=True)
class Fault:
    """What is wrong in one line of a YAML text."""

    line: int
    problem: str


@dataclass(frozen=True)
class Parsed:
    """The documents of a text, empty ones left out, and every fault; no documents where reading had to stop."""

    documents: tuple[Node, ...]
    faults: tuple[Fault, ...]


class _Stop(Exception):
    """The rest of the text cannot be read."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.fault = Fault(line, problem)


def parse(data: bytes, caps: Caps) -> Parsed:
    """Read ``data`` (YAML 1.1, UTF-8) and return its documents with all faults found; raises nothing."""
    faults: list[Fault] = []
    try:
        return Parsed(tuple(_documents(_text(data, caps), caps, faults)), tuple(faults))
    except _Stop as error:
        return Parsed((), (*faults, error.fault))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        stop = Fault(mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")
    except yaml.YAMLError as error:
        stop = Fault(1, f"not YAML: {str(error).splitlines()[0]}")
    return Parsed((), (*faults, stop))


def _text(data: bytes, caps: Caps) -> str:
    if len(data) > caps.size:
        raise _Stop(1, f"the file is larger than {caps.size} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Stop(line, f"byte {error.start} is not UTF-8") from error


def _documents(text: str, caps: Caps, faults: list[Fault]) -> Iterator[Node]:
    loader = _PARSER(text)
    try:
        builder = _Builder(loader, caps, faults)
        while loader.check_event():
            event = loader.get_event()
            if isinstance(event, yaml.DocumentStartEvent):
                builder = _Builder(loader, caps, faults)
            elif isinstance(event, yaml.DocumentEndEvent):
                root = builder.root
                if root is not None and root.value is not None:
                    yield root
            else:
                builder.take(event)
    finally:
        loader.dispose()


@dataclass
class _Open:
    """A list or mapping whose end has not come yet."""

    line: int
    is_mapping: bool
    anchor: str | None
    items: list[Node] = field(default_factory=list)


# Both parsers share the rules of YAML 1.1 for plain scalars.
_RESOLVER = yaml.resolver.Resolver()


@functools.lru_cache(maxsize=8192)
def _tag_of(text: str) -> str:
    """Return the tag that a plain scalar has by its form; the words of manifests repeat."""
    return str(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)))  # type: ignore[no-untyped-call] # not in its stubs


class _Builder:
    """Builds one document from events with a stack of its own: no input can exhaust Python's."""

    def __init__(self, loader: yaml.SafeLoader, caps: Caps, faults: list[Fault]) -> None:
        self.root: Node | None = None
        self._loader = loader
        self._caps = caps
        self._faults = faults
        self._stack: list[_Open] = []
        # None marks an anchor whose node is still open.
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 1
        # The most frequent first: a manifest of thousands of objects is a million events.
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_tag(event, line)
            node = self._scalar(event, line)
            if event.anchor:
                self._anchors[event.anchor] = node
            self._add(node, node.line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.CollectionStartEvent):
            self._refuse_tag(event, line)
            self._open(event, line)
        elif isinstance(event, yaml.AliasEvent) and event.anchor:
            self._alias(event.anchor, line)

    def _refuse_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent, line: int) -> None:
        if event.tag is not None:
            self._fault(line, f"tag {event.tag!a} is not allowed; write the value without it, in quotes if need be")

    def _open(self, event: yaml.CollectionStartEvent, line: int) -> None:
        if len(self._stack) >= self._caps.depth:
            raise _Stop(line, f"nested more than {self._caps.depth} levels deep")
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Open(line, isinstance(event, yaml.MappingStartEvent), event.anchor))

    def _close(self) -> None:
        done = self._stack.pop()
        nodes = 1 + sum(item.nodes for item in done.items)
        height = 1 + max((item.height for item in done.items), default=0)
        if done.is_mapping:
            pairs, lines = self._pairs(done.items)
            node = Node(pairs, done.line, nodes=nodes, height=height, key_lines=lines)
        else:
            node = Node(tuple(done.items), done.line, nodes=nodes, height=height)
        if done.anchor:
            self._anchors[done.anchor] = node
        self._nodes -= nodes - 1
        self._add(node, node.line)

    def _alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise _Stop(line, f"alias *{anchor} has no anchor before it")
        node = self._anchors[anchor]
        if node is None:
            raise _Stop(line, f"alias *{anchor} stands inside what it names")
        if len(self._stack) + node.height > self._caps.depth:
            raise _Stop(line, f"alias *{anchor} nests more than {self._caps.depth} levels deep")
        self._add(node, line)

    def _add(self, node: Node, line: int) -> None:
        self._nodes += node.nodes
        if self._nodes > self._caps.nodes:
            raise _Stop(line, f"more than {self._caps.nodes} values, aliases counted in full")
        if self._stack:
            self._stack[-1].items.append(node)
        else:
            self.root = node

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Node:
        # The first flag says plain; the style differs between the two parsers.
        if not event.implicit[0]:
            return Node(event.value, line, text=event.value)
        tag = _tag_of(event.value)
        if tag in _AS_TEXT or tag in (_STR, _MERGE):
            return Node(event.value, line, text=event.value, plain=True)
        try:
            value = self._loader.construct_object(yaml.ScalarNode(tag, event.value))
        except ValueError:
            value = math.nan
        if isinstance(value, (int, float)) and not abs(value) < 2**64:
            self._fault(line, f"{event.value[:80]!a} is not a finite number of 64 bits")
        return Node(value, line, text=event.value, plain=True)

    def _pairs(self, items: list[Node]) -> tuple[dict[str, Node], dict[str, int]]:
        """Pair keys and values; merged mappings (``<<``) give only what is not written out."""
        own: dict[str, Node] = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for key, value in zip(items[::2], items[1::2]):
            if key.plain and key.value == "<<":
                merged += value.value if isinstance(value.value, tuple) else (value,)
            elif not isinstance(key.value, str):
                self._fault(key.line, f"key {key.text[:80]!a} is not a string; put it in quotes")
            elif key.value in own:
                self._fault(key.line, f"key {key.value[:80]!a} occurs twice, first in line {lines[key.value]}")
            else:
                own[key.value] = value
                lines[key.value] = key.line
        for source in merged:
            if isinstance(source.value, dict):
                own = {**source.value, **own}
                lines = {**source.key_lines, **lines}
            else:
                self._fault(source.line, "only a mapping can be merged with <<")
        return own, lines

    def _fault(self, line: int, problem: str) -> None:
        self._faults.append(Fault(line, problem))


def ambiguous(node: Node) -> bool:
    """Tell whether a plain scalar reads differently in YAML 1.1 and in kubectl (sexagesimals, ``1e3``, ``y``)."""
    return node.plain and _AMBIGUOUS.fullmatch(node.text) is not None


def line_at(node: Node, path: Sequence[Union[str, int]]) -> int:
    """Return the line of what stands at ``path``, of the innermost that is there if that is not."""
    for key in path:
        value = node.value
        inner = value.get(str(key)) if isinstance(value, dict) else None
        if isinstance(value, tuple) and isinstance(key, int):
            inner = value[key]
        if inner is None:
            break
        node = inner
    return node.line


def walk(node: Node) -> Iterator[Node]:
    """Yield ``node`` and everything below it, depth first."""
    stack = [node]
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item.value, dict):
            stack += reversed(item.value.values())
        elif isinstance(item.value, tuple):
            stack += reversed(item.value)
