"""Reading one value of a config: type and form are checked, and every fault is kept with its place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Optional, TypeVar

from bundler.yamlpos import Fault, Node
from loader.bundle.errors import AirgapError
from loader.oci.model import ImageRef

T = TypeVar("T")


@dataclass
class Faults:
    """Everything wrong with a config, told at once and in the order of its lines."""

    found: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, line: int, place: str, problem: str) -> None:
        """Keep one fault; ``place`` is the YAML path, empty for the file itself."""
        self.found.append((line, place, problem))

    def add_all(self, faults: Sequence[Fault]) -> None:
        """Keep the faults of the YAML itself."""
        for fault in faults:
            self.add(fault.line, "", fault.problem)

    def listed(self) -> tuple[tuple[str, str], ...]:
        """Return (place with line, problem), sorted by line."""
        ordered = sorted(self.found, key=lambda fault: fault[0])
        return tuple(
            (f"{place} (line {line})" if place else f"line {line}", problem) for line, place, problem in ordered
        )


@dataclass(frozen=True)
class Value:
    """A node, its YAML path, and where its faults go. Every reader returns None after a fault."""

    node: Node
    path: str
    faults: Faults

    def fault(self, problem: str) -> None:
        """Keep a fault of this value."""
        self.faults.add(self.node.line, self.path, problem)

    def string(self) -> Optional[str]:
        """Return a string; a number or a word that YAML took for something else is explained."""
        value = self.node.value
        if isinstance(value, str):
            return value
        if isinstance(value, (tuple, dict)) or value is None:
            self._wrong("a string")
        else:
            self.fault(f'YAML reads {self.node.text} as {_kind(value)}; put it in quotes: "{self.node.text}"')
        return None

    def boolean(self) -> Optional[bool]:
        """Return true or false."""
        if isinstance(self.node.value, bool):
            return self.node.value
        self._wrong("true or false")
        return None

    def integer(self, most: int) -> Optional[int]:
        """Return a whole number from 0 to ``most``."""
        value = self.node.value
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong("a whole number")
            return None
        if not 0 <= value <= most:
            self.fault(f"{value} is not from 0 to {most}")
            return None
        return value

    def choice(self, words: Sequence[str]) -> Optional[str]:
        """Return one of ``words``."""
        text = self.string()
        if text is not None and text not in words:
            self.fault(f"{text[:80]!a} is not one of {', '.join(words)}{_suggestion(text, words)}")
            return None
        return text

    def matching(self, check: Callable[[str], bool], form: str) -> Optional[str]:
        """Return a string that ``check`` accepts; ``form`` says in words what it must be."""
        text = self.string()
        if text is not None and not check(text):
            self.fault(f"{text[:200]!a} is not {form}")
            return None
        return text

    def parsed(self, parse: Callable[[str], T]) -> Optional[T]:
        """Return what ``parse`` makes of a string; its error is the fault."""
        text = self.string()
        return None if text is None else self.attempt(lambda: parse(text))

    def attempt(self, action: Callable[[], T]) -> Optional[T]:
        """Return what ``action`` gives; its error is this value's fault."""
        try:
            return action()
        except AirgapError as error:
            self.fault(str(error))
            return None

    def image(self) -> Optional[ImageRef]:
        """Return an image reference."""
        return self.parsed(ImageRef.parse)

    def items(self) -> Iterator[Value]:
        """Yield the items of a list."""
        if isinstance(self.node.value, tuple):
            for index, item in enumerate(self.node.value):
                yield Value(item, f"{self.path}[{index}]", self.faults)
        else:
            self._wrong("a list")

    def section(self, known: Sequence[str], required: Sequence[str] = ()) -> Mapping[str, Value]:
        """Return the values of a mapping by key; unknown and missing keys are faults."""
        if not isinstance(self.node.value, dict):
            self._wrong("a mapping")
            return {}
        values = {}
        for key, node in self.node.value.items():
            if key in known:
                values[key] = Value(node, self._below(key), self.faults)
            else:
                shown = key if key.isprintable() and key.isascii() else ascii(key)
                problem = f"unknown key{_suggestion(key, known)}"
                self.faults.add(self.node.key_lines[key], self._below(shown[:80]), problem)
        for key in required:
            if key not in self.node.value:
                self.faults.add(self.node.line, self._below(key), "is missing")
        return values

    def _below(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def _wrong(self, wanted: str) -> None:
        self.fault(f"must be {wanted}, not {_kind(self.node.value)}")


def _suggestion(word: str, words: Sequence[str]) -> str:
    # Long words are cut first: difflib is quadratic.
    lower = {name.lower(): name for name in words}
    close = difflib.get_close_matches(word[:40].lower(), lower, n=1)
    return f"; did you mean `{lower[close[0]]}`?" if close else ""


def _kind(value: object) -> str:
    names = {tuple: "a list", dict: "a mapping", type(None): "empty", bool: "a boolean", str: "a string"}
    return names.get(type(value), "a number")
