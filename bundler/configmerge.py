"""Images added to a ``bundle.yaml`` that a person wrote: nothing of theirs is changed, comments included; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bundler.config import CAPS
from bundler.yamlpos import Node, parse, walk
from loader.bundle.errors import ConfigError
from loader.oci.model import ImageRef

_ITEM = re.compile(r"( *)- ")


def with_images(data: bytes, images: Sequence[tuple[str, str]], what: str) -> tuple[bytes, tuple[str, ...]]:
    """Return the config with the (image, comment) that it lacks behind its last one, and what was added.

    Raises ``ConfigError`` where ``what`` has no list of images written one below the other.
    """
    listed = _images(data, what)
    known = {name for item in listed for name in _name(item)}
    missing = [(image, comment) for image, comment in images if image not in known]
    if not missing:
        return data, ()
    lines = data.decode("utf-8").splitlines(keepends=True)
    start = _ITEM.match(lines[listed[0].line - 1])
    if start is None:
        raise ConfigError(f"{what}: images is not written as lines of '- NAME'", hint="write one image a line")
    after = max(node.line for node in walk(listed[-1]))
    if not lines[after - 1].endswith("\n"):
        lines[after - 1] += "\n"
    lines[after:after] = [f"{start[1]}- {image:<60} # {_comment(comment)}\n" for image, comment in missing]
    merged = "".join(lines).encode("utf-8")
    added = tuple(image for image, _ in missing)
    if [item.data() for item in _images(merged, what)] != [*(item.data() for item in listed), *added]:
        raise ConfigError(f"{what}: its images cannot be added to by lines", hint="write one image a line")
    return merged, added


def _images(data: bytes, what: str) -> tuple[Node, ...]:
    parsed = parse(data, CAPS)
    top = parsed.documents[0].value if len(parsed.documents) == 1 and not parsed.faults else None
    listed = top.get("images") if isinstance(top, dict) else None
    if listed is None or not isinstance(listed.value, tuple) or not listed.value:
        faults = [(f"line {fault.line}", fault.problem) for fault in parsed.faults]
        raise ConfigError(
            f"{what} is no config with a list of images", faults=faults, why="" if faults else "no images"
        )
    return listed.value


def _name(item: Node) -> list[str]:
    node = item.value.get("image") if isinstance(item.value, dict) else item
    try:
        return [str(ImageRef.parse(node.value))] if node is not None and isinstance(node.value, str) else []
    except ConfigError:
        return []


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:100]
