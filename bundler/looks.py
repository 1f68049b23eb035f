"""What only looks like an image in the texts of a cluster object: for a person to judge, listed apart; pure.

One word that has the form of an image with a host; and whatever else stands under a key called image. Of longer texts
(a file in a ConfigMap, a shell line, the examples of an operator) each word is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Union

Path = tuple[Union[str, int], ...]

_PATH = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_END = r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})"
_HOST = r"(?:[a-z0-9-]+\.)+[a-z0-9-]+(?::[0-9]{1,5})?"
# A name with a dotted host, a path, and a tag or digest: seldom anything else than an image. Words are bounded before
# they are matched, and no part can be matched in two ways.
_LOOKS = re.compile(rf"{_HOST}(?:/{_PATH})+{_END}")
# Where the key says that it is one, the host may be left out.
_CALLED = re.compile(rf"(?:{_HOST}/)?{_PATH}(?:/{_PATH})*{_END}|{_HOST}(?:/{_PATH})+")
_KEY = re.compile(r"(?:.*[^A-Za-z])?(?:image|IMAGE)|.*[a-z]Image")
_MAX_WORD = 512
# A ConfigMap holds 1 MiB.
_MAX_TEXT = 1 << 20
_WORD = re.compile(r"[^\s\"'`,;=<>(){}\[\]|\\]+")
# image: NAME in YAML, "image": "NAME" in JSON, IMAGE=NAME in a shell.
_KEYED = re.compile(r"(?:[iI]mage|IMAGE)[\"']?[ \t]*[:=][ \t]*[\"']?([^\s\"'`,;{}\[\]\\]+)")
# kubectl's copy of an object in its own annotation would name everything twice.
_COPY = "kubectl.kubernetes.io/last-applied-configuration"


def looks(value: object, path: Path = ()) -> Iterator[tuple[str, Path]]:
    """Yield (text, path of the string it stands in) for every word that looks like an image, in document order."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != _COPY and (path or key != "status"):
                yield from looks(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from looks(inner, (*path, index))
    elif isinstance(value, str):
        # --image=NAME is the usual form of an argument.
        text = value.rpartition("=")[2] if value.startswith("-") else value
        words = [text] if _is_image(text, called=_is_key(path)) else _words(value)
        yield from ((word, path) for word in words)


def _is_key(path: Path) -> bool:
    return bool(path) and isinstance(path[-1], str) and _KEY.fullmatch(path[-1]) is not None


def _is_image(word: str, *, called: bool) -> bool:
    return len(word) <= _MAX_WORD and (_CALLED if called else _LOOKS).fullmatch(word) is not None


def _words(text: str) -> list[str]:
    """Return the images in a text of several words, each once."""
    if len(text) > _MAX_TEXT or ("\n" not in text and " " not in text and "{" not in text):
        return []
    found = {word: None for word in (match[1].rstrip(".,") for match in _KEYED.finditer(text)) if _named(word)}
    words = (match[0].rstrip(".,:") for match in _WORD.finditer(text))
    found.update((word, None) for word in words if "/" in word and _is_image(word, called=False))
    return list(found)


def _named(word: str) -> bool:
    return _is_image(word, called=True)
