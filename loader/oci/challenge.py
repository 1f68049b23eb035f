"""WWW-Authenticate: hostile header values in, challenges out (RFC 9110 section 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

_MAX_HEADER = 16 * 2**10
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# "=" ends a token68 (RFC 9110 section 11.2), which none of our schemes has in a challenge.
_SPACE = re.compile(r"[ \t,=]*")
_PARAMETER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"=]+))")


@dataclass(frozen=True)
class Challenge:
    """One way in that a server offers; ``scheme`` and the parameters' names are lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(values: Sequence[str]) -> tuple[Challenge, ...]:
    """Return the challenges of all ``WWW-Authenticate`` headers in order; what cannot be read is left out."""
    return tuple(found for value in values for found in _parse(value[:_MAX_HEADER]))


def _parse(text: str) -> Iterator[Challenge]:
    position = 0
    scheme: Optional[str] = None
    parameters: dict[str, str] = {}
    while True:
        position = _end(_SPACE, text, position)
        parameter = _PARAMETER.match(text, position)
        if parameter is not None and scheme is not None:
            quoted, bare = parameter[2], parameter[3]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
            parameters.setdefault(parameter[1].lower(), value)
            position = parameter.end()
            continue
        if scheme is not None:
            yield Challenge(scheme, parameters)
        name = _TOKEN.match(text, position)
        if name is None:
            return
        scheme, parameters = name[0].lower(), {}
        position = name.end()


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    match = pattern.match(text, position)
    return match.end() if match else position
