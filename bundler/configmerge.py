"""Images added to a ``bundle.yaml`` that a person wrote: nothing of theirs is changed, comments included; pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Optional

from bundler.config import CAPS
from bundler.yamlpos import Node, parse, walk
from loader.bundle.errors import ConfigError
from loader.oci.model import ImageRef

_ITEM = re.compile(r"( *)- ")
_EMPTY = re.compile(r"images:[ \t]*(?:\[[ \t]*\]|null|~)?[ \t]*(#.*)?\r?\n?")


@dataclass(frozen=True)
class Merged:
    """The config as it is now, the images added to it, and (image, why) of those left as the person has them."""

    data: bytes
    added: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()


def with_images(data: bytes, images: Sequence[tuple[str, str]], what: str) -> Merged:
    """Return the config with the (image, comment) that it lacks behind its last one.

    An image whose name and tag are listed is left as it is listed, whatever its digest. Raises ``ConfigError`` where
    ``what`` has no list of images written one below the other, or an empty one.
    """
    listed = _images(data, what)
    known = {str(name): name for item in listed for name in _name(item)}
    by_tag = {str(replace(name, digest=None)): name for name in known.values() if name.tag}
    missing: list[tuple[str, str]] = []
    left: list[tuple[str, str]] = []
    for image, comment in images:
        name = ImageRef.parse(image)
        there = by_tag.get(str(replace(name, digest=None))) if name.tag else None
        if there is not None and name.digest not in {None, there.digest}:
            left.append((image, f"{there} is listed, {'with another' if there.digest else 'without its'} digest"))
        elif there is None and image not in known:
            missing.append((image, comment))
    if not missing:
        return Merged(data, (), tuple(left))
    merged = _inserted(data, listed, missing, what).encode("utf-8")
    added = tuple(image for image, _ in missing)
    if [item.data() for item in _images(merged, what)] != [*(item.data() for item in listed), *added]:
        raise ConfigError(
            f"{what}: its images cannot be added to by lines",
            why="the list would not be the old one and the new images",
            hint="write one image a line",
        )
    return Merged(merged, added, tuple(left))


def _inserted(data: bytes, listed: Sequence[Node], missing: Sequence[tuple[str, str]], what: str) -> str:
    lines = data.decode("utf-8").splitlines(keepends=True)
    if listed:
        start = _ITEM.match(lines[listed[0].line - 1])
        after = max(node.line for node in walk(listed[-1]))
    else:
        # Nothing is listed yet: the key's own line goes on as it is, but for the brackets.
        after = next((number for number, line in enumerate(lines, 1) if _EMPTY.fullmatch(line)), 0)
        start = _ITEM.match("- ") if after else None
    if start is None:
        raise ConfigError(
            f"{what}: images is not written as lines of '- NAME'",
            why="new ones are put behind the last line",
            hint="write one image a line",
        )
    if not listed:
        comment = _EMPTY.fullmatch(lines[after - 1])
        lines[after - 1] = f"images:{f' {comment[1].rstrip()}' if comment and comment[1] else ''}\n"
    if not lines[after - 1].endswith("\n"):
        lines[after - 1] += "\n"
    end = "\r\n" if lines[after - 1].endswith("\r\n") else "\n"
    lines[after:after] = [f"{start[1]}- {image:<60} # {_comment(comment)}{end}" for image, comment in missing]
    return "".join(lines)


def _images(data: bytes, what: str) -> tuple[Node, ...]:
    parsed = parse(data, CAPS)
    top = parsed.documents[0].value if len(parsed.documents) == 1 and not parsed.faults else None
    listed: Optional[Node] = top.get("images") if isinstance(top, dict) else None
    if listed is None or not (listed.value is None or isinstance(listed.value, tuple)):
        faults = [(f"line {fault.line}", fault.problem) for fault in parsed.faults]
        raise ConfigError(
            f"{what} is no config with a list of images", faults=faults, why="" if faults else "no images"
        )
    return listed.value or ()


def _name(item: Node) -> Iterator[ImageRef]:
    node = item.value.get("image") if isinstance(item.value, dict) else item
    if node is not None and isinstance(node.value, str):
        try:
            yield ImageRef.parse(node.value)
        except ConfigError:
            return


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:100]
