"""The ``console`` blocks of a document: what was typed, and what it says was answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

ELLIPSIS = "[…]"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run and means nothing.
_VARIABLE = (
    (re.compile(r"\b[0-9a-f]{64}\b"), "HASH"),
    (re.compile(r"\b[0-9a-f]{12}…"), "HASH…"),
    (re.compile(r"\b\d{10}\b"), "SEQUENCE"),
    (re.compile(r"\b\d+(\.\d+)? m?s\b"), "TIME"),
    (re.compile(r"https://127\.0\.0\.1:\d+"), "https://HOST"),
    (re.compile(r"Python/[\d.]+"), "Python"),
    (re.compile(r"Kubernetes v[\d.]+"), "Kubernetes"),
)


@dataclass(frozen=True)
class Typed:
    """A command line of a block and the output below it; ``line`` is its place in the document."""

    line: int
    command: str
    output: str


def fenced(text: str, language: str) -> Iterator[tuple[int, str]]:
    """Yield (line, content) of every block in ``language``."""
    for match in _FENCE.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start()) + 2, match[2]


def section(text: str, heading: str) -> str:
    """The part of a document under ``## heading``; fails unless there is one."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    (found,) = (part for part in parts if part.startswith(f"{heading}\n"))
    return found


def typed(text: str) -> Iterator[Typed]:
    """Yield every ``$ command`` of the ``console`` blocks of ``text``."""
    for start, block in fenced(text, "console"):
        place, command, answer = start, "", ""
        for number, line in enumerate(block.splitlines(keepends=True), start):
            if line.startswith("$ "):
                if command:
                    yield Typed(place, command, answer)
                place, command, answer = number, line[2:].rstrip("\n"), ""
            else:
                answer += line
        yield Typed(place, command, answer)


def normalised(text: str) -> str:
    """``text`` with all that differs from run to run replaced by words."""
    for pattern, word in _VARIABLE:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def agree(wanted: str, found: str) -> bool:
    """Whether an output is what the document says; a line ``[…]`` stands for any lines."""
    lines = normalised(wanted).splitlines()
    pattern = "".join("(?:.*\n)*?" if line == ELLIPSIS else f"{re.escape(line)}\n" for line in lines)
    given = "".join(f"{line}\n" for line in normalised(found).splitlines())
    return re.fullmatch(pattern, given) is not None
